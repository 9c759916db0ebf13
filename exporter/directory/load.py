"""Directory files and wg-quick files, merged into one directory.

A name in a directory file takes precedence over a name in a wg-quick file.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from exporter.directory import directoryfile, wgquick
from exporter.directory.directoryfile import DirectoryFile
from exporter.directory.entry import Directory, Entry, Site
from exporter.directory.wgquick import Naming
from exporter.errors import InputError


def load_directory(files: Iterable[Path] = (), wg_quick: Iterable[str] = ()) -> Directory:
    """Reads directory files, and the wg-quick files that match the patterns. A pattern may match no file.

    Raises `InputError` at the first mistake.
    """
    return merge(map(directoryfile.read, files), map(wgquick.read, matches(wg_quick)))


def matches(patterns: Iterable[str]) -> list[Path]:
    """The files that match at least one of the shell patterns, sorted."""
    names = {name for pattern in patterns for name in glob.glob(pattern)}  # noqa: PTH207 (an absolute pattern)
    return [Path(name) for name in sorted(names)]


def merge(files: Iterable[DirectoryFile], wg_quick: Iterable[Iterable[Naming]]) -> Directory:
    """Raises `InputError` when two directory files have the same peer or site. When several wg-quick files
    name a peer, the first one counts."""
    entries: dict[str, Entry] = {}
    sites: dict[str, Site] = {}
    before: list[DirectoryFile] = []
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


def _refuse_overlap(before: Iterable[DirectoryFile], file: DirectoryFile) -> None:
    for other in before:
        for key in file.entries.keys() & other.entries.keys():
            problem = f"the peer is already written at {other.path}:{other.line_of(key)}"
            line = file.line_of(key)
            raise InputError(str(file.path), line, f"peers.{key}", problem, "remove one of the two")
        for name in file.sites.keys() & other.sites.keys():
            problem = f"the site is already written in {other.path}"
            raise InputError(str(file.path), 0, f"sites.{name}", problem, "remove one of the two")
