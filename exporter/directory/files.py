"""Who a public key is: directory files and the comments of wg-quick files, reloaded when they change.

    defaults:                       # of every peer in this file
      expected: always-on
    sites:                          # where the sites are, for a map
      berlin: {latitude: 52.5, longitude: 13.4}
    peers:
      B2pxAD6SUcyGV7Zk7BIr2fc18geNNu/VYx+/mXJJVmY=:
        name: branch-7
        site: berlin
        stale_after: 10m

A name in a directory file wins over one in a wg-quick file; the latter gives names to the others.
"""

from __future__ import annotations

import glob
import logging
import threading
import time
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from exporter import yamlfile
from exporter.directory import wgquick
from exporter.errors import InputError
from exporter.filestamp import Stamp, stamp
from exporter.liveness import Expected
from exporter.yamlfile import Section

Criticality = Literal["low", "normal", "high"]

MAX_BYTES = 256 << 20  # 1,000,000 entries
MAX_STALE_AFTER = 365 * 86400


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one public key; "" and None = not stated."""

    public_key: str  # base64, canonical
    name: str = ""
    site: str = ""
    role: str = ""
    owner: str = ""
    organisation: str = ""
    clearance: int = 0  # what a reader must have to see the peer; 0 = nothing
    expected: Expected | None = None
    criticality: Criticality = "normal"
    stale_after: int | None = None  # seconds
    extra: tuple[tuple[str, str], ...] = ()  # the keys of a friendly_json, sorted


@dataclass(frozen=True, slots=True)
class Site:
    """Where a site is, in degrees: north and east are positive."""

    name: str
    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Directory:
    """All that is known of all peers."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    sites: Mapping[str, Site] = field(default_factory=dict)
    lists_peers: bool = False  # a directory file lists some: a key without an entry is one nobody knows

    def get(self, public_key: str) -> Entry | None:
        """The entry of a public key; None = nobody wrote one."""
        return self.entries.get(public_key)

    @classmethod
    def load(cls, files: Iterable[Path] = (), wg_quick_globs: Iterable[str] = ()) -> Directory:
        """Reads everything; raises `InputError` at the first mistake. A glob without a match is none."""
        return _merge(map(_read_yaml, files), map(wgquick.read, _matches(wg_quick_globs)))


@dataclass(frozen=True, slots=True)
class _File:
    """One directory file. `lines` has the line of each entry, in their order."""

    path: Path
    entries: dict[str, Entry]
    lines: array[int]
    sites: dict[str, Site]


class DirectoryWatch:
    """A directory that follows its files.

    `current` is the last good one (empty until there is one), `generation` counts how often it was
    replaced, `loaded_at` is when (UNIX seconds), `error` is why the files as they are now were refused
    (None = `current` is what the files say). Reading takes seconds for 100,000 entries, so call from a
    thread; calls wait for one another. Who caches by `generation` reads it before `current`.
    """

    def __init__(self, files: Sequence[Path], globs: Sequence[str], log: logging.Logger) -> None:
        self._files = tuple(files)
        self._globs = tuple(globs)
        self._log = log
        self._lock = threading.Lock()
        self._seen: dict[Path, Stamp] = {}
        self._yaml: dict[Path, _File] = {}
        self._wg_quick: dict[Path, list[wgquick.Naming]] = {}
        self.current = Directory()
        self.generation = 0
        self.error: InputError | None = None
        self.loaded_at = 0.0
        self.reload()

    def poll(self) -> bool:
        """Reads the files that changed since the last look, if any; true = `current` was replaced.

        Cheap when nothing changed. A change is a file's stat (also through a symlink), a new or a
        removed match of a glob.
        """
        with self._lock:
            seen = self._look()
            if seen == self._seen:
                return False
            for path in self._seen.keys() | seen.keys():
                if seen.get(path) != self._seen.get(path):
                    self._yaml.pop(path, None)
                    self._wg_quick.pop(path, None)
            return self._read(seen)

    def reload(self) -> bool:
        """Reads every file again; true = `current` was replaced."""
        with self._lock:
            self._yaml.clear()
            self._wg_quick.clear()
            return self._read(self._look())

    def _look(self) -> dict[Path, Stamp]:
        return {path: stamp(path) for path in (*self._files, *_matches(self._globs))}

    def _read(self, seen: dict[Path, Stamp]) -> bool:
        self._seen = seen
        try:
            directory = self._load([path for path in seen if path not in self._files])
        except InputError as error:
            self._refuse(error)
            return False
        if self.error is not None:
            self._log.info("the directory is good again: %d peers", len(directory.entries))
        self.current, self.error = directory, None
        self.generation += 1
        self.loaded_at = time.time()
        return True

    def _load(self, wg_quick: Sequence[Path]) -> Directory:
        for path in self._files:
            if path not in self._yaml:
                self._yaml[path] = _read_yaml(path)
        for path in wg_quick:
            if path not in self._wg_quick:
                self._wg_quick[path] = wgquick.read(path)
        return _merge((self._yaml[path] for path in self._files), (self._wg_quick[path] for path in wg_quick))

    def _refuse(self, error: InputError) -> None:
        if str(error) != str(self.error):
            self._log.error("the directory stays as it was: %s", error)
        # A copy: the error itself holds its traceback, and that the bytes of a file with private keys.
        self.error = InputError(error.file, error.line, error.field, error.detail, error.remedy)


def _matches(globs: Iterable[str]) -> list[Path]:
    names = {name for pattern in globs for name in glob.glob(pattern)}  # noqa: PTH207 (an absolute pattern)
    return [Path(name) for name in sorted(names)]


def _merge(files: Iterable[_File], wg_quick: Iterable[Iterable[wgquick.Naming]]) -> Directory:
    """One directory of all: directory files must not overlap; of several wg-quick files, the first names."""
    entries: dict[str, Entry] = {}
    sites: dict[str, Site] = {}
    before: list[_File] = []
    for file in files:
        _refuse_overlap(before, file)
        before.append(file)
        entries.update(file.entries)
        sites.update(file.sites)
    lists_peers = bool(entries)
    named: set[str] = set()
    for naming in (naming for namings in wg_quick for naming in namings):
        if naming.public_key not in named:
            named.add(naming.public_key)
            entry = entries.get(naming.public_key) or Entry(naming.public_key)
            entries[naming.public_key] = replace(entry, name=entry.name or naming.name, extra=naming.extra)
    return Directory(entries, sites, lists_peers=lists_peers)


def _refuse_overlap(before: Iterable[_File], file: _File) -> None:
    for other in before:
        for key in file.entries.keys() & other.entries.keys():
            place = f"{other.path}:{_line(other, key)}"
            problem = f"the peer is already written at {place}; remove one of the two"
            raise InputError(str(file.path), _line(file, key), f"peers.{key}", problem)
        for name in file.sites.keys() & other.sites.keys():
            problem = f"the site is already written in {other.path}; remove one of the two"
            raise InputError(str(file.path), 0, f"sites.{name}", problem)


def _line(file: _File, key: str) -> int:
    return file.lines[list(file.entries).index(key)]


def _read_yaml(path: Path) -> _File:
    root = yamlfile.load(path, MAX_BYTES)
    default = _defaults(root.section("defaults"))
    sites = {site.name: site for site in _sites(root.section("sites"))}
    peers = root.section("peers")
    root.finish()
    entries = {key: _entry(peers, key, default) for key in peers.keys()}  # noqa: SIM118 (no dict)
    return _File(path, entries, array("l", map(peers.line_of, entries)), sites)


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
    """The defaults of a file, in the shape of an entry without a key; nobody shares a name."""
    default = _fields(section, Entry(""), "")
    section.finish()
    return default


def _entry(peers: Section, key: str, default: Entry) -> Entry:
    if not wgquick.is_public_key(key):
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


_EXPECTED: tuple[Expected, ...] = get_args(Expected)
_CRITICALITY: tuple[Criticality, ...] = get_args(Criticality)


def _stale_after(section: Section, default: int | None) -> int | None:
    value = section.seconds("stale_after", default, 1, MAX_STALE_AFTER)
    if value is None:
        return None
    if value != int(value):
        raise section.error("stale_after", "must be whole seconds, such as 10m")
    return int(value)
