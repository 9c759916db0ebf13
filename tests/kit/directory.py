"""Directory files for tests, and a directory read in one go."""

from __future__ import annotations

import base64
import itertools
import os
from collections.abc import Iterable
from pathlib import Path

from exporter.directory import directoryfile, wgfile
from exporter.directory.directoryfile import DirectoryFile
from exporter.directory.entry import Directory
from exporter.directory.merge import matches, merge, refuse_overlap

KEYS = [base64.b64encode(bytes([n] * 32)).decode() for n in range(1, 9)]
SECRET = base64.b64encode(bytes(range(32))).decode()
SECONDS = itertools.count(1_700_000_000)


def write(path: Path, names: dict[str, str]) -> Path:
    """A directory file. Each is a second newer than the previous: file systems' clocks are coarse."""
    lines = [f"  {key}: {{name: {name}}}\n" for key, name in names.items()]
    path.write_text("peers:\n" + "".join(lines))
    now = next(SECONDS)
    os.utime(path, (now, now))
    return path


def names(directory: Directory) -> dict[str, str]:
    return {key: entry.name for key, entry in directory.entries.items()}


def load_directory(files: Iterable[Path] = (), wg_quick: Iterable[str] = ()) -> Directory:
    """The directory of these files and patterns. Raises `InputError` at the first mistake of any file."""
    named = [wgfile.read(path) for path in matches(wg_quick)]
    for problem in (problem for file in named for problem in file.problems):
        raise problem
    read: list[DirectoryFile] = []
    for path in files:
        file = directoryfile.read(path)
        refuse_overlap(read, file)
        read.append(file)
    return merge(read, named)
