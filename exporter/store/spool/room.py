"""The room that the spool has: in its quota, and on its disk."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from exporter.store.spool.file import PAGE, code_of

RESERVE = 64 * PAGE  # bytes of the disk that frames leave free, because deleting frames writes as well
OVERHEAD = 16  # maximum number of pages that a frame changes beside its own
SHRINK = 1024  # pages returned to the file system at once
MAKE_ROOM = "make room on the disk of the spool"  # the remedy for a full disk


class Shortage(NamedTuple):
    """Of what the spool has too little: of "its quota of …" or of "the disk"."""

    of: str
    remedy: str


def needed(sizes: Iterable[int]) -> int:
    """Bytes that blobs of these sizes use in the log, and again in the file when the log is merged."""
    return PAGE * (OVERHEAD + sum(size // (PAGE - 64) + 1 for size in sizes))


def shortage(connection: sqlite3.Connection, path: Path, quota: int, need: int) -> Shortage | None:
    """What has no room for `need` more bytes; None = there is room."""
    file, used = sizes(connection)
    log = _log_bytes(path)
    merged = max(file, used + need)
    if merged + log + need > quota:
        remedy = "restore the database, or raise recording.spool_megabytes"
        return Shortage(f"its quota of {quota / 2**20:.4g} MiB", remedy)
    disk = os.statvfs(path.parent)
    if disk.f_bavail * disk.f_frsize < merged - path.stat().st_size + need + RESERVE:
        return Shortage("the disk", MAKE_ROOM)
    return None


def sizes(connection: sqlite3.Connection) -> tuple[int, int]:
    """(bytes of the file including its log, bytes in use)."""
    pages: int = connection.execute("pragma page_count").fetchone()[0]
    free: int = connection.execute("pragma freelist_count").fetchone()[0]
    return pages * PAGE, (pages - free) * PAGE


def merge_log(connection: sqlite3.Connection) -> None:
    """Merges the log into the file and truncates it. Raises sqlite3.OperationalError."""
    connection.execute("pragma wal_checkpoint(truncate)").fetchall()


def shrink(connection: sqlite3.Connection, pages: int) -> None:
    """Returns free pages to the file system. For each of them SQLite may have to move a used page."""
    connection.executescript(f"pragma incremental_vacuum({pages})")  # execute() would stop after one page


def is_full(error: sqlite3.Error, path: Path) -> bool:
    """Whether an error means a full disk, quota or limit. SQLite reports the last two as a failed write."""
    if code_of(error) == sqlite3.SQLITE_IOERR_WRITE:
        return _may_not_grow(path)
    return code_of(error) == sqlite3.SQLITE_FULL


def _may_not_grow(path: Path) -> bool:
    """Whether writing a file as large as the log meets a limit."""
    try:
        with tempfile.TemporaryFile(dir=path.parent) as file:
            os.pwrite(file.fileno(), bytes(PAGE), _log_bytes(path) + OVERHEAD * PAGE)
    except OSError as error:
        return error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    return False


def _log_bytes(path: Path) -> int:
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size
    except FileNotFoundError:
        return 0
