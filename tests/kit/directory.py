"""Directory files for tests."""

from __future__ import annotations

import base64
import itertools
import os
from pathlib import Path

from exporter.directory.entry import Directory

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
