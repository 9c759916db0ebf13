"""How much room the spool has, by its quota and on its disk."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterable
from pathlib import Path

from exporter.store.spool.file import PAGE, code_of

RESERVE = 64 * PAGE  # bytes of the disk that frames leave free: taking them out writes something, too
OVERHEAD = 16  # pages that a frame touches besides its own, at most
SHRINK = 1024  # pages given back to the file system at once


def needed(sizes: Iterable[int]) -> int:
    """Bytes that blobs of these sizes take of the log, and again of the file when it is merged."""
    return PAGE * (OVERHEAD + sum(size // (PAGE - 64) + 1 for size in sizes))


def missing(connection: sqlite3.Connection, path: Path, quota: int, need: int) -> str:
    """What has no room for that many bytes; "" = there is room. What is free in the file is used first."""
    file, used = sizes(connection)
    log = _log_bytes(path)
    merged = max(file, used + need)
    if merged + log + need > quota:
        return f"its quota of {quota / 2**20:.4g} MiB"
    disk = os.statvfs(path.parent)
    if disk.f_bavail * disk.f_frsize < merged - path.stat().st_size + need + RESERVE:
        return "the disk"
    return ""


def sizes(connection: sqlite3.Connection) -> tuple[int, int]:
    """Bytes of the file with all that is in the log, and how many of them are in use."""
    pages: int = connection.execute("pragma page_count").fetchone()[0]
    free: int = connection.execute("pragma freelist_count").fetchone()[0]
    return pages * PAGE, (pages - free) * PAGE


def merge_log(connection: sqlite3.Connection) -> None:
    """The log goes into the file and gives its space back. Raises sqlite3.OperationalError."""
    connection.execute("pragma wal_checkpoint(truncate)").fetchall()


def shrink(connection: sqlite3.Connection, pages: int) -> None:
    """Gives back so many of the free pages, for each of which one that is used may have to move."""
    connection.executescript(f"pragma incremental_vacuum({pages})")  # execute() would stop after the first


def is_full(error: sqlite3.Error, path: Path) -> bool:
    """SQLite knows a full disk; a quota of the file system, or a limit, is just a failed write to it."""
    if code_of(error) == sqlite3.SQLITE_IOERR_WRITE:
        return _may_not_grow(path)
    return code_of(error) == sqlite3.SQLITE_FULL


def _may_not_grow(path: Path) -> bool:
    """Does a write beside the log, as far out as its end, meet a limit?"""
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
