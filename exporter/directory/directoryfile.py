"""Reads a directory file:

defaults:                       # of every peer in this file
  expected: always-on
sites:                          # the positions of sites, for a map
  berlin: {latitude: 52.5, longitude: 13.4}
peers:
  B2pxAD6SUcyGV7Zk7BIr2fc18geNNu/VYx+/mXJJVmY=:
    name: branch-7
    site: berlin
    stale_after: 10m
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from exporter.directory.entry import Criticality, Entry, Site
from exporter.directory.publickey import is_public_key
from exporter.input import yamlfile
from exporter.input.yamlfile import Section
from exporter.liveness import Expected

MAX_BYTES = 256 << 20  # 1,000,000 entries
MAX_STALE_AFTER = 365 * 86400

_EXPECTED: tuple[Expected, ...] = get_args(Expected)
_CRITICALITY: tuple[Criticality, ...] = get_args(Criticality)


@dataclass(frozen=True, slots=True)
class DirectoryFile:
    """One directory file. `lines` has the line of each entry, in the order of `entries`."""

    path: Path
    entries: dict[str, Entry]
    lines: array[int]
    sites: dict[str, Site]

    def line_of(self, public_key: str) -> int:
        """The line of an entry, counted from 1."""
        return self.lines[list(self.entries).index(public_key)]


def read(path: Path) -> DirectoryFile:
    """The entries and sites of a file. Raises `InputError` at the first mistake."""
    root = yamlfile.load(path, MAX_BYTES)
    default = _defaults(root.section("defaults"))
    sites = {site.name: site for site in _sites(root.section("sites"))}
    peers = root.section("peers")
    root.finish()
    entries = {key: _entry(peers, key, default) for key in peers.keys()}  # noqa: SIM118 (no dict)
    return DirectoryFile(path, entries, array("l", map(peers.line_of, entries)), sites)


def _sites(section: Section) -> Iterable[Site]:
    for name in section.keys():  # noqa: SIM118 (no dict)
        site = section.section(name)
        latitude = site.number("latitude", None, -90, 90)
        longitude = site.number("longitude", None, -180, 180)
        site.finish()
        if latitude is None or longitude is None:
            raise section.error(name, "needs latitude and longitude, in degrees such as 52.5")
        yield Site(name, latitude, longitude)


def _defaults(section: Section) -> Entry:
    """The defaults of a file, as an entry without a key. There is no default name: names are unique."""
    default = _fields(section, Entry(""), "")
    section.finish()
    return default


def _entry(peers: Section, key: str, default: Entry) -> Entry:
    if not is_public_key(key):
        problem = "the key of an entry must be a public key: the base64 of 32 bytes, as `wg show` prints it"
        raise peers.error(key, problem)
    section = peers.section(key)
    entry = _fields(section, default, key, section.string("name", ""))
    section.finish()
    return entry


def _fields(section: Section, default: Entry, public_key: str, name: str = "") -> Entry:
    return Entry(
        public_key=public_key,
        name=name,
        site=section.string("site", default.site),
        role=section.string("role", default.role),
        owner=section.string("owner", default.owner),
        organisation=section.string("organisation", default.organisation),
        clearance=section.integer("clearance", default.clearance, 0, 32767),
        expected=section.choice("expected", _EXPECTED, default.expected),
        criticality=section.choice("criticality", _CRITICALITY, default.criticality),
        stale_after=_stale_after(section, default.stale_after),
    )


def _stale_after(section: Section, default: int | None) -> int | None:
    value = section.seconds("stale_after", default, 1, MAX_STALE_AFTER)
    if value is None:
        return None
    if value != int(value):
        raise section.error("stale_after", "must be whole seconds, such as 10m")
    return int(value)
