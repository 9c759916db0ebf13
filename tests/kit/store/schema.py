"""Databases with the schema, and work on connections to them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

from asyncpg import Record

from exporter.store.database import migrate
from exporter.store.database.connection import Connection, Role, close, connect, set_organisation
from exporter.store.database.settings import Target
from exporter.store.progress import Progress
from tests.kit.servers.postgres import PostgresServer, database

T = TypeVar("T")
ALPHA, BETA, NOBODY = 1, 2, 99  # the organisations of `scoped`, and a missing one
CLEARANCES = (0, 1, 2)
START = datetime(2026, 3, 28, 12, tzinfo=UTC)  # the first instant in these tests


def with_connection(
    target: Target, work: Callable[[Connection], Awaitable[T]], *, role: Role | None = None
) -> T:
    """The result of `work`, on a connection of its own."""

    async def run() -> T:
        connection = await connect(target, application="test", role=role)
        try:
            return await work(connection)
        finally:
            await close(connection)

    return asyncio.run(run())


def migrated(target: Target, login: str = "argus") -> Target:
    """The latest schema in a fresh database; the target for `login`, which is an owner and a collector."""

    async def start(connection: Connection) -> None:
        await migrate.bootstrap(connection, login)

    async def fill(connection: Connection) -> None:
        await migrate.migrate(connection, progress=Progress())

    with_connection(target, start)
    with_connection(replace(target, user=login), fill)
    return replace(target, user=login)


ALSO = ["sample_day.receive", "sample_day.transmit"]  # nullable, but then another column is not
ANY = {
    "bool": True,
    "uuid": UUID(int=7),
    "date": START.date(),
    "_text": ["10.0.0.1/32"],
    "_int4": [0],
    "_int8": [0],
    "_bool": [True],
}


async def populate(owner: Connection, organisations: Sequence[str], clearances: Sequence[int] = (0,)) -> None:
    """Insert a row into every table for each organisation and clearance, at any version of the schema.

    `owner`: acts as argus_owner. Values follow the types of the columns, references the foreign keys.
    """
    number = itertools.count(1)
    tables = await _tables(owner)
    for organisation in organisations:
        org_id = await owner.fetchval(
            "insert into argus.organisation (name) values ($1) returning org_id", organisation
        )
        for clearance in clearances:
            rows: dict[str, Record] = {}
            while len(rows) < len(tables):
                for table, columns in tables.items():
                    if table not in rows and all(c["target"] in rows for c in columns if c["target"]):
                        given = {"org_id": org_id, "clearance": clearance}
                        rows[table] = await _insert(owner, table, columns, given, rows, next(number))


async def _insert(
    owner: Connection,
    table: str,
    columns: Sequence[Record],
    given: Mapping[str, int],
    rows: Mapping[str, Record],
    number: int,
) -> Record:
    values: dict[str, object] = {}
    for column in columns:
        name, kind = column["name"], column["kind"]
        if name in given:
            values[name] = given[name]
        elif column["target"]:
            values[name] = rows[column["target"]][column["target_column"]]
        elif kind == "text":
            values[name] = f"{number:044d}"
        elif kind == "timestamptz":
            values[name] = START + timedelta(milliseconds=number)
        else:
            values[name] = ANY.get(kind, number)
    places = ", ".join(f"${place}" for place in range(1, len(values) + 1))
    query = f"insert into argus.{table} ({', '.join(values)}) values ({places}) returning *"
    row: Record | None = await owner.fetchrow(query, *values.values())
    assert row is not None
    return row


async def _tables(connection: Connection) -> dict[str, list[Record]]:
    """Table → its columns that need a value, for each table with rows of organisations."""
    found = await connection.fetch(
        """
        select c.relname as table, a.attname as name, t.typname as kind,
               r.relname as target, ra.attname as target_column
        from pg_class c
        join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        join pg_type t on t.oid = a.atttypid
        left join pg_constraint k on k.conrelid = c.oid and k.contype = 'f' and a.attnum = any(k.conkey)
                                     and a.attname <> 'org_id' and a.attnotnull
        left join pg_class r on r.oid = k.confrelid
        left join pg_attribute ra on ra.attrelid = r.oid
                                     and ra.attnum = k.confkey[array_position(k.conkey, a.attnum)]
        where c.relnamespace = 'argus'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
          and c.relname not in ('migration', 'organisation')
          and (a.attnotnull and not a.atthasdef and a.attidentity = '' or a.attname = 'clearance'
               or c.relname || '.' || a.attname = any ($1))
        order by c.oid, a.attnum""",
        ALSO,
    )
    return {table: list(rows) for table, rows in itertools.groupby(found, key=lambda row: str(row["table"]))}


@contextlib.contextmanager
def scoped(server: PostgresServer) -> Iterator[Target]:
    """The schema with partitions, and a row of each clearance in each table for alpha and beta."""
    with database(server) as target:
        migrated(target)

        async def fill(owner: Connection) -> None:
            await owner.fetchval(f"select argus.ensure_partitions('{START.date()}', 3)")
            await owner.fetchval(f"select argus.make_partition('argus.sample_day', '{START.date()}')")
            await populate(owner, ["alpha", "beta"], CLEARANCES)

        with_connection(target, fill, role="argus_owner")
        yield target


def ask(target: Target, query: str, *arguments: object) -> list[Record]:
    """The rows of a query by the superuser."""

    async def work(connection: Connection) -> list[Record]:
        return await connection.fetch(query, *arguments)

    return with_connection(target, work)


def act(
    target: Target,
    role: Role,
    work: Callable[[Connection], Awaitable[T]],
    org_id: int | None = ALPHA,
    clearance: int | None = None,
) -> T:
    """The result of `work` in a transaction of a role, in a scope or (None) without one; it is rolled
    back."""

    class Undo(Exception):
        pass

    async def run(connection: Connection) -> T:
        answers = []
        try:
            async with connection.transaction():
                if org_id is not None:
                    await set_organisation(connection, org_id)
                if clearance is not None:
                    await connection.execute(f"set local app.clearance = {clearance}")
                answers.append(await work(connection))
                raise Undo
        except Undo:
            return answers[0]

    return with_connection(target, run, role=role)


def touching(statement: str) -> Callable[[Connection], Awaitable[int]]:
    """The number of rows that a statement affects."""

    async def run(connection: Connection) -> int:
        return int((await connection.execute(statement)).split()[-1])

    return run


def rows_of(query: str) -> Callable[[Connection], Awaitable[list[Record]]]:
    """The rows of a query."""

    async def run(connection: Connection) -> list[Record]:
        return await connection.fetch(query)

    return run
