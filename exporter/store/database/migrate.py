"""The schema: numbered SQL files, applied once each, in order.

A migration and the row that says it was applied are one transaction: work that was interrupted goes on at
the first that is missing. The login acts as `argus_owner`, to whom all of it belongs.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files

import asyncpg

from exporter.store.database.connection import Connection, one_line
from exporter.store.errors import DatabaseRefused, SchemaMismatch
from exporter.store.progress import Progress

OLDEST_SERVER = 15  # security_invoker on views
ROLES = ("argus_owner", "argus_collector", "argus_reader")
LOCK = 0x6172677573  # any number that is always the same: "argus"
LOCK_AGAIN = 0.5  # seconds

TABLE = """
create table if not exists argus.migration (
    version    integer     primary key,
    name       text        not null,
    applied_at timestamptz not null default now()
)"""


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """All that this program knows, in order: 1, 2, 3 …"""
    found = []
    for file in files("exporter.store.database").joinpath("migrations").iterdir():
        match = re.fullmatch(r"([0-9]{4})_([a-z_]+)\.sql", file.name)
        if match:
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.version)


def latest() -> int:
    """The version of the schema that this program works with."""
    return migrations()[-1].version


async def version(connection: Connection) -> int:
    """The version of the schema in this database; 0 = there is none. Anyone with a role of Argus may ask."""
    if not await connection.fetchval("select true from pg_namespace where nspname = 'argus'"):
        return 0
    if not await connection.fetchval("select to_regclass('argus.migration') is not null"):
        return 0
    return int(await connection.fetchval("select coalesce(max(version), 0) from argus.migration"))


async def check(connection: Connection) -> None:
    """Raises `SchemaMismatch` when the schema is not the one that this program works with."""
    _check_server(connection)
    found = await version(connection)
    _refuse_newer(found)
    if found < latest():
        what = f"has version {found}" if found else "is not there"
        raise SchemaMismatch(
            f"the schema argus {what}, and version {latest()} is needed; run `argus-wg migrate` with a login "
            "that is a member of argus_owner"
        )


async def migrate(connection: Connection, *, progress: Progress) -> list[int]:
    """Bring the schema to `latest`, roles and all; the versions that were applied.

    `connection`: without a role, and without a statement timeout. Simultaneous callers wait for each other.
    Raises `SchemaMismatch`, `DatabaseRefused`, or what the driver does.
    """
    _check_server(connection)
    async with _alone(connection, progress):
        await provision(connection)
        async with as_owner(connection):
            await connection.execute(TABLE)
            return await _apply(connection, progress)


async def ensure(connection: Connection, *, progress: Progress) -> list[int]:
    """What a daemon does at its start: migrate if there is something to. With nothing to do the login need
    not be a member of argus_owner. As `migrate` otherwise."""
    if await version(connection) == latest():
        _check_server(connection)
        return []
    return await migrate(connection, progress=progress)


async def provision(connection: Connection) -> None:
    """The roles, the schema, and the right of this login to act as its owner and as a collector.

    Does what is missing; with nothing missing it needs no rights. Raises `DatabaseRefused` with the
    statements for an administrator when this login may not, `SchemaMismatch` when the schema is another's.
    """
    statements = await _missing(connection, await connection.fetchval("select session_user"))
    if not statements:
        return
    try:
        async with connection.transaction():
            for statement in statements:
                await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError as error:
        text = "".join(f"\n    {statement};" for statement in statements)
        raise DatabaseRefused(
            f"{one_line(error)}. Let an administrator run this in the database once, then try again:{text}"
        ) from error


async def bootstrap(superuser: Connection, login: str) -> None:
    """Everything for a server of our own: the login, the roles, the schema."""
    if not await superuser.fetchval("select true from pg_roles where rolname = $1", login):
        await superuser.execute(f"create role {_quoted(login)} login")
    async with superuser.transaction():
        for statement in await _missing(superuser, login):
            await superuser.execute(statement)


async def _missing(connection: Connection, login: str) -> list[str]:
    """The statements that are still needed so that `login` can migrate and record, in order."""
    owner = await connection.fetchval(
        "select nspowner::regrole::text from pg_namespace where nspname = 'argus'"
    )
    if owner not in (None, "argus_owner"):
        raise SchemaMismatch(
            f"this database has a schema argus that belongs to {owner} and not to argus_owner, so it is not "
            "ours; use another database, or drop it"
        )
    there = {
        row[0]
        for row in await connection.fetch("select rolname from pg_roles where rolname = any($1)", ROLES)
    }
    statements = [f"create role {role} nologin" for role in ROLES if role not in there]
    statements += [
        f"grant {role} to {_quoted(login)}"
        for role in ("argus_owner", "argus_collector")
        if role not in there
        or not await connection.fetchval("select pg_has_role($1, $2, 'member')", login, role)
    ]
    if owner is None:
        statements.append("create schema argus authorization argus_owner")
    if (
        owner is None
        or not there.issuperset(ROLES)
        or not await connection.fetchval(
            "select bool_and(has_schema_privilege(r, 'argus', 'usage')) from unnest($1::text[]) r", ROLES
        )
    ):
        statements.append("grant usage on schema argus to argus_collector, argus_reader")
    return statements


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


async def _apply(connection: Connection, progress: Progress) -> list[int]:
    found = await version(connection)
    _refuse_newer(found)
    pending = [migration for migration in migrations() if migration.version > found]
    progress.expect(len(pending))
    for migration in pending:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(
                "insert into argus.migration (version, name) values ($1, $2)",
                migration.version,
                migration.name,
            )
        progress.step(f"migration {migration.version}, {migration.name.replace('_', ' ')}: applied")
    return [migration.version for migration in pending]


@asynccontextmanager
async def _alone(connection: Connection, progress: Progress) -> AsyncIterator[None]:
    """Hold the lock of all who migrate this database. It ends with the session if not before."""
    waiting = False
    while not await connection.fetchval("select pg_try_advisory_lock($1)", LOCK):
        if not waiting:
            progress.say("another argus-wg is migrating this database; waiting for it")
            waiting = True
        await asyncio.sleep(LOCK_AGAIN)
    try:
        yield
    finally:
        with contextlib.suppress(asyncpg.InterfaceError, asyncpg.PostgresError, OSError):
            await connection.fetchval("select pg_advisory_unlock($1)", LOCK)


@asynccontextmanager
async def as_owner(connection: Connection) -> AsyncIterator[None]:
    """For the session and not SET LOCAL: Citus would send that on to the connections of its own superuser."""
    await connection.execute("set role argus_owner")
    try:
        yield
    finally:
        with contextlib.suppress(asyncpg.InterfaceError, asyncpg.PostgresError, OSError):
            await connection.execute("reset role")


def _check_server(connection: Connection) -> None:
    server = connection.get_server_version()
    if server.major < OLDEST_SERVER:
        raise SchemaMismatch(
            f"the server is PostgreSQL {server.major}, and {OLDEST_SERVER} or later is needed; upgrade it"
        )


def _refuse_newer(found: int) -> None:
    if found > latest():
        raise SchemaMismatch(
            f"the schema argus has version {found}, and this argus-wg knows it up to {latest()}: a newer one "
            "was here; upgrade this argus-wg"
        )
