"""The schema: numbered SQL files, applied once each, in order.

Each migration and its row in `argus.migration` are one transaction, so an interrupted run continues with the
first missing one. The login acts as `argus_owner`, which owns the schema.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files

import asyncpg

from exporter.store.database import locks
from exporter.store.database.connection import Connection, one_line
from exporter.store.errors import DatabaseRefused, SchemaMismatch
from exporter.store.progress import Progress

OLDEST_SERVER = 15  # security_invoker on views
ROLES = ("argus_owner", "argus_collector", "argus_reader")

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
    """All migrations of this program, in order: 1, 2, 3 …"""
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
    """The version of the schema in this database; 0 = no schema. Every role of Argus may read it."""
    if not await connection.fetchval("select true from pg_namespace where nspname = 'argus'"):
        return 0
    if not await connection.fetchval("select to_regclass('argus.migration') is not null"):
        return 0
    return int(await connection.fetchval("select coalesce(max(version), 0) from argus.migration"))


async def check(connection: Connection) -> None:
    """Raises SchemaMismatch unless the schema has the version that this program needs."""
    _check_server(connection)
    found = await version(connection)
    _refuse_newer(found)
    if found < latest():
        what = f"has version {found}" if found else "does not exist"
        raise SchemaMismatch(
            f"the schema argus {what}, and version {latest()} is needed",
            "run `argus-wg migrate` with a login that is a member of argus_owner",
        )


async def migrate(connection: Connection, *, progress: Progress) -> list[int]:
    """Create the roles, bring the schema to `latest`, and return the versions that were applied.

    `connection`: without a role and without a statement timeout. Simultaneous callers wait for each other.
    Raises SchemaMismatch, DatabaseRefused, errors of the driver.
    """
    _check_server(connection)
    async with locks.held(connection, locks.MIGRATION, progress):
        await provision(connection)
        async with as_owner(connection):
            await connection.execute(TABLE)
            return await _apply(connection, progress)


async def ensure(connection: Connection, *, progress: Progress) -> list[int]:
    """`migrate`, unless the schema is up to date: then the login need not be a member of argus_owner."""
    if await version(connection) == latest():
        _check_server(connection)
        return []
    return await migrate(connection, progress=progress)


async def provision(connection: Connection) -> None:
    """Create the roles and the schema, and make this login a member of argus_owner and argus_collector.

    Only what is missing is created; with nothing missing the login needs no rights. Raises DatabaseRefused,
    with the statements for an administrator, if the login lacks a right; SchemaMismatch if another role owns
    the schema.
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
            one_line(error),
            f"let an administrator run this in the database once, then try again:{text}",
        ) from error


async def bootstrap(superuser: Connection, login: str) -> None:
    """Create the login, the roles and the empty schema in the private server, by its superuser."""
    if not await superuser.fetchval("select true from pg_roles where rolname = $1", login):
        await superuser.execute(f"create role {_quoted(login)} login")
    async with superuser.transaction():
        for statement in await _missing(superuser, login):
            await superuser.execute(statement)


async def _missing(connection: Connection, login: str) -> list[str]:
    """The statements that are still missing before `login` can migrate and record, in order."""
    owner = await connection.fetchval(
        "select nspowner::regrole::text from pg_namespace where nspname = 'argus'"
    )
    if owner not in (None, "argus_owner"):
        raise SchemaMismatch(
            f"this database has a schema argus that belongs to {owner} and not to argus_owner, so another "
            "program created it",
            "use another database, or drop the schema",
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
async def as_owner(connection: Connection) -> AsyncIterator[None]:
    """Act as argus_owner in the block.

    SET and not SET LOCAL, which Citus would also run on the connections of its own superuser.
    """
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
            f"the server is PostgreSQL {server.major}, and {OLDEST_SERVER} or later is needed", "upgrade it"
        )


def _refuse_newer(found: int) -> None:
    if found > latest():
        raise SchemaMismatch(
            f"the schema argus has version {found}, and this argus-wg supports versions up to {latest()}",
            "upgrade this argus-wg",
        )
