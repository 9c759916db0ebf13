"""Directory files and wg-quick files, merged into one directory.

A name in a directory file takes precedence over a name in a wg-quick file. If several wg-quick files give
names to one key, each name holds on the interface that its file configures, and the first one everywhere
else.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from exporter.directory.directoryfile import DirectoryFile
from exporter.directory.entry import Directory, Entry, Site
from exporter.directory.wgfile import NamesFile
from exporter.errors import InputError


def matches(patterns: Iterable[str]) -> list[Path]:
    """The files that match at least one of the shell patterns, sorted."""
    names = {name for pattern in patterns for name in glob.glob(pattern)}  # noqa: PTH207 (an absolute pattern)
    return [Path(name) for name in sorted(names)]


def merge(files: Iterable[DirectoryFile], names: Sequence[NamesFile]) -> Directory:
    """One directory of files that do not overlap."""
    entries: dict[str, Entry] = {}
    sites: dict[str, Site] = {}
    for file in files:
        entries.update(file.entries)
        sites.update(file.sites)
    lists_peers = bool(entries)
    first: dict[str, Entry] = {}
    own: dict[tuple[str, str], Entry] = {}
    for source in names:
        for naming in source.namings:
            key = naming.public_key
            listed = entries.get(key) or Entry(key)
            entry = replace(listed, name=listed.name or naming.name, extra=naming.extra)
            if first.setdefault(key, entry) != entry:
                own.setdefault((source.interface, key), entry)
    return Directory(entries | first, sites, lists_peers=lists_peers, by_interface=own)


def refuse_overlap(before: Iterable[DirectoryFile], file: DirectoryFile) -> None:
    """Raises `InputError` if an earlier directory file has a peer or a site of this one."""
    for other in before:
        for key in file.entries.keys() & other.entries.keys():
            problem = f"the peer is already written at {other.path}:{other.line_of(key)}"
            line = file.line_of(key)
            raise InputError(str(file.path), line, f"peers.{key}", problem, "remove one of the two")
        for name in file.sites.keys() & other.sites.keys():
            problem = f"the site is already written in {other.path}"
            raise InputError(str(file.path), 0, f"sites.{name}", problem, "remove one of the two")
