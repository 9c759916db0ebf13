"""The spool's file: creates, opens and checks it, and replaces it when it cannot be read."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from exporter.store.errors import SpoolBroken

APPLICATION_ID = 0x41726777  # "Argw", in the header of the SQLite file
VERSION = 1
PAGE = 4096  # bytes
LOG_PAGES = 1000  # SQLite merges a longer write-ahead log into the file

# Instants are UNIX milliseconds. An epoch and its keys stay after its frames are deleted, until there is a
# newer epoch: later frames need them. `ended_at` is 0 while the gap continues.
SCHEMA = """
create table meta (
    installation blob    not null,
    last_instant integer not null
) strict;
create table epoch (
    id       integer primary key autoincrement,
    run      blob    not null,
    sequence integer not null,
    unique (run, sequence)
) strict;
create table frame (
    id       integer primary key autoincrement,
    epoch    integer not null,
    sequence integer not null,
    taken_at integer not null,
    crc      integer not null,
    data     blob    not null,
    unique (epoch, sequence)
) strict;
create table keys (
    epoch integer not null,
    frame integer not null,
    label blob    not null,
    crc   integer not null,
    keys  blob    not null,
    primary key (epoch, frame, label)
) strict, without rowid;
create table lost (
    id         integer primary key,
    started_at integer not null,
    ended_at   integer not null,
    reason     text    not null,
    snapshots  integer not null
) strict;
"""

_log = logging.getLogger(__name__)


def open_spool(path: Path) -> tuple[sqlite3.Connection, Path | None]:
    """Opens the spool at `path` for this process alone, or creates it. Raises SpoolBroken.

    The whole file is checked, which takes half a second per gigabyte. A file that cannot be read is moved and
    replaced; its new path is the second value.
    """
    try:
        try:
            return _open(path), None
        except sqlite3.DatabaseError as error:
            if not is_malformed(error):
                raise
            aside = replace_malformed(path, str(error))
            return _open(path), aside
    except (OSError, sqlite3.Error) as error:
        raise _broken(path, error) from error


def is_malformed(error: sqlite3.Error) -> bool:
    """Whether the file itself is damaged and must be replaced."""
    return code_of(error) & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def code_of(error: sqlite3.Error) -> int:
    """SQLite's extended result code; 0 for an error of Python's own module."""
    return getattr(error, "sqlite_errorcode", 0)


def replace_malformed(path: Path, why: str) -> Path:
    """Moves a malformed file, creates a new spool, and returns the new path of the old file.

    The new spool takes over everything that can still be read: the installation, the last instant and the
    noted gaps. The frames of the old file are noted as a gap.
    """
    aside = _set_aside(path)
    _log.error("%s: %s: the file was moved to %s and a new spool was created", path, why, aside.name)
    with contextlib.closing(_open(path)) as new, contextlib.closing(sqlite3.connect(aside)) as old:
        _inherit(new, old, aside.stat().st_mtime)
    return aside


def _open(path: Path) -> sqlite3.Connection:
    _make_private(path)
    # Several threads use the connection, one at a time.
    connection = sqlite3.connect(path, timeout=1, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_private(path: Path) -> None:
    """Creates the file with mode 0600; SQLite gives its other files the same mode."""
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)  # the name must survive a loss of power, like the contents
        finally:
            os.close(directory)
    path.chmod(0o600)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Sets the pragmas. Exclusive locking keeps a second daemon out, and needs no file of shared memory."""
    connection.execute("pragma locking_mode = exclusive")
    new = _is_new(connection, path)
    if new:
        connection.execute(f"pragma page_size = {PAGE}")
        connection.execute("pragma auto_vacuum = incremental")
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    connection.execute("pragma secure_delete = off")  # Debian's default overwrites deleted rows with zeros
    connection.execute(f"pragma wal_autocheckpoint = {LOG_PAGES}")
    connection.execute(f"pragma journal_size_limit = {LOG_PAGES * PAGE}")
    if new:
        _create(connection)
    else:
        _check(connection)


def _is_new(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is empty. Raises SpoolBroken for another program's database or a newer format."""
    application, version, tables = (
        connection.execute(query).fetchone()[0]
        for query in ("pragma application_id", "pragma user_version", "select count(*) from sqlite_schema")
    )
    if not application and not tables:
        return True
    if application != APPLICATION_ID:
        raise SpoolBroken(
            f"{path}: this is a database of another program", "move it, or name another state directory"
        )
    if version > VERSION:
        problem = f"the file was written by a newer argus-wg (format {version}, this one reads {VERSION})"
        raise SpoolBroken(
            f"{path}: {problem}", "start the newer version, or move the file and lose its contents"
        )
    return False


def _create(connection: sqlite3.Connection) -> None:
    connection.executescript(
        f"begin immediate; {SCHEMA} insert into meta values (x'{uuid4().hex}', 0);"  # noqa: S608
        f"pragma application_id = {APPLICATION_ID}; pragma user_version = {VERSION}; commit"
    )


def _check(connection: sqlite3.Connection) -> None:
    found = connection.execute("pragma quick_check(1)").fetchone()[0]
    if found != "ok":
        error = sqlite3.DatabaseError(found)
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def _set_aside(path: Path) -> Path:
    """Moves the file first and its log second, so that the log never belongs to a new file."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = path.with_name(f"{path.name}.broken-{stamp}")
    while aside.exists():
        aside = aside.with_name(f"{aside.name}-again")
    path.rename(aside)
    log = path.with_name(f"{path.name}-wal")
    if log.exists():
        log.rename(aside.with_name(f"{aside.name}-wal"))
    return aside


def _inherit(new: sqlite3.Connection, old: sqlite3.Connection, written_at: float) -> None:
    meta = _salvage(old, "select installation, last_instant from meta")
    gaps = _salvage(old, "select started_at, ended_at, reason, snapshots from lost order by id")
    frames = _salvage(old, "select count(*) from frame")
    oldest = _salvage(old, "select taken_at from frame order by id limit 1")
    since = (oldest or [(round(written_at * 1000),)])[0][0]
    with new:
        new.execute("begin immediate")
        new.executemany("update meta set installation = ?, last_instant = ?", meta)
        gaps.append((since, 0, SpoolBroken.reason, frames[0][0] if frames else 0))
        new.executemany(
            "insert into lost (started_at, ended_at, reason, snapshots) values (?, ?, ?, ?)", gaps
        )


def _salvage(old: sqlite3.Connection, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query, or no rows if the file cannot be read."""
    try:
        return old.execute(query).fetchall()
    except sqlite3.DatabaseError:
        return []


def _broken(path: Path, error: OSError | sqlite3.Error) -> SpoolBroken:
    if isinstance(error, OSError):
        return SpoolBroken(f"{path}: cannot be opened: {error.strerror}")
    if code_of(error) & 0xFF == sqlite3.SQLITE_BUSY:
        return SpoolBroken(
            f"{path}: another process has opened it", "each daemon needs its own state directory"
        )
    return SpoolBroken(f"{path}: cannot be opened: {error}")
