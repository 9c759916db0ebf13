"""Checks of the recording: the state directory, and the database for snapshots."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote

from exporter.check.finding import Finding, failed, good, warning
from exporter.check.remedies import user
from exporter.config import Config
from exporter.errors import InputError
from exporter.store.database import migrate
from exporter.store.database.connection import close, connect, errors
from exporter.store.database.settings import Target, target
from exporter.store.embedded.postgres import would_start
from exporter.store.errors import DatabaseRefused, SchemaMismatch, StoreError

RECORDS, STATE = "database", "state directory"
ELSEWHERE = "see docs/operations.md, When snapshots do not arrive"


def records(settings: Config, environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """What recording needs. Creates nothing and migrates nothing."""
    if not settings.recording.enabled:
        yield good(RECORDS, "none is needed: `recording.enabled` is false")
        return
    yield from _state_directory(settings)
    try:
        where = target(settings.database, environ)
    except InputError as error:
        yield failed(RECORDS, error.problem, error.remedy or "correct this setting")
        return
    try:
        yield asyncio.run(_configured(where) if where else _private(settings.state_directory))
    except StoreError as error:
        yield failed(RECORDS, error.problem, error.remedy or ELSEWHERE)
    except OSError as error:
        yield failed(RECORDS, str(error), ELSEWHERE)


def _state_directory(settings: Config) -> Iterator[Finding]:
    path, wanted = settings.state_directory, settings.recording.spool_megabytes << 20
    there = next(each for each in (path, *path.absolute().parents) if _is_seen(each))
    if not os.access(there, os.W_OK | os.X_OK, effective_ids=True) or not there.is_dir():
        remedy = f"run `install -d -o {user()} -m 711 {quote(str(path))}` as root, or set `state_directory`"
        yield failed(STATE, f"{user()} may not write to {there}", remedy)
        return
    free = shutil.disk_usage(there).free
    if free < wanted:
        yield warning(
            STATE,
            f"{there} has {free >> 20} MB free, and the spool may use {wanted >> 20} MB",
            "free space, or lower `recording.spool_megabytes`",
        )
        return
    yield good(STATE, str(path) if there == path else f"{path} is created at the start")


def _is_seen(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return False


async def _configured(where: Target) -> Finding:
    """The privileges that a daemon needs; without a schema, those to create one."""
    connection = await connect(where, application="argus-wg check", timeout=5, statement_timeout=10)
    try:
        with errors(where):
            found = await migrate.version(connection)
            may_migrate = await connection.fetchval(MAY_MIGRATE)
            if found < migrate.latest() and may_migrate:
                return good(
                    RECORDS,
                    f"{where}: `argus-wg serve` migrates the schema from {found} to {migrate.latest()}",
                )
            await migrate.check(connection)
            if not await connection.fetchval("select pg_has_role('argus_collector', 'member')"):
                raise DatabaseRefused(f"{where}: {where.user} may not record", "grant argus_collector to it")
    except SchemaMismatch as error:
        return failed(RECORDS, f"{where}: {error.problem}", error.remedy or "run `argus-wg migrate`")
    finally:
        await close(connection)
    if may_migrate:
        return good(RECORDS, f"{where}: the schema has version {found}")
    return warning(
        RECORDS,
        f"{where}: the schema has version {found}; {where.user} may record, but not compact or drop days",
        f"grant argus_owner to {where.user}, or run `argus-wg maintain` every day with a login that has it",
    )


MAY_MIGRATE = """
select exists (select from pg_roles r where r.rolname = 'argus_owner' and pg_has_role(r.oid, 'member'))
    or (select rolsuper or rolcreaterole from pg_roles where rolname = current_user)"""


async def _private(state_directory: Path) -> Finding:
    return good(RECORDS, f"a private one: {await would_start(state_directory)}")
