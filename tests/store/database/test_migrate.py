"""Migration of the schema from any version to the latest: alone, simultaneous, interrupted, without
rights."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace

import asyncpg
import pytest

from exporter.recording import Work
from exporter.store.database import locks, migrate
from exporter.store.database.connection import Connection, close, connect
from exporter.store.database.migrate import Migration
from exporter.store.database.settings import Target
from exporter.store.errors import DatabaseRefused, SchemaMismatch
from exporter.store.progress import Progress
from tests.kit.servers.postgres import PostgresServer
from tests.kit.store.schema import migrated, populate, with_connection

ALL = list(range(1, migrate.latest() + 1))


def up(target: Target, progress: Progress | None = None) -> list[int]:
    """`migrate`, on its own connection."""

    async def work(connection: Connection) -> list[int]:
        return await migrate.migrate(connection, progress=progress or Progress())

    return with_connection(target, work)


def version(target: Target) -> int:
    return with_connection(target, migrate.version)


def test_migrations_are_numbered_without_gaps() -> None:
    """The files are numbered 1, 2, 3 …, and none is empty."""
    found = migrate.migrations()
    assert [migration.version for migration in found] == ALL
    assert all(migration.sql.strip() and migration.name for migration in found)


def test_a_fresh_database_gets_all_of_them_once(database: Target) -> None:
    """The first run applies every migration in order and reports each; the second run applies none."""
    said: list[str] = []
    progress = Progress(Work(), said.append)
    assert version(database) == 0
    assert up(database, progress) == ALL
    assert (progress.work.done, progress.work.goal) == (len(ALL), len(ALL))
    assert said[0] == "migration 1, scope: applied"
    assert len(said) == len(ALL)
    assert up(database) == []
    assert version(database) == migrate.latest()
    with_connection(database, migrate.check)


@pytest.mark.parametrize("name", ["15", "17"])
def test_a_login_that_may_make_roles_needs_no_administrator(
    private_postgres: Callable[..., PostgresServer], name: str
) -> None:
    """A login with CREATEROLE and its own database sets everything up and can act as a collector."""
    server = private_postgres(name)
    server.sql("create role argus login createrole", "create database argus owner argus")
    login = server.target("argus", "argus")
    assert up(login) == ALL
    with_connection(login, migrate.check, role="argus_collector")
    owners = server.sql(
        "select distinct relowner::regrole from pg_class where relnamespace = 'argus'::regnamespace",
        database="argus",
    )
    assert owners == "argus_owner"


@pytest.mark.parametrize("name", ["15", "17"])
def test_a_login_without_rights_gets_the_statements(
    private_postgres: Callable[..., PostgresServer], name: str
) -> None:
    """A login without rights changes nothing; after an administrator ran the statements of the error, it
    works."""
    server = private_postgres(name)
    server.sql('create role "Gate 1" login', "create database argus")
    login = server.target("argus", "Gate 1")
    with pytest.raises(DatabaseRefused) as caught:
        up(login)
    assert server.sql("select count(*) from pg_roles where rolname like 'argus%'") == "0"
    lines = str(caught.value).splitlines()
    assert "let an administrator run this in the database once" in lines[0]
    statements = [line.strip() for line in lines[1:]]
    assert 'grant argus_collector to "Gate 1";' in statements
    server.sql(*statements, database="argus")
    assert up(login) == ALL


def test_a_login_that_only_records_may_start(database: Target, postgres: PostgresServer) -> None:
    """A collector that is not the owner starts with an up-to-date schema; with an older one it gets the
    remedy."""
    migrated(database)
    postgres.sql("create role gateway login", "grant argus_collector to gateway")
    login = replace(database, user="gateway")

    async def start(connection: Connection) -> list[int]:
        return await migrate.ensure(connection, progress=Progress())

    try:
        assert with_connection(login, start) == []
        with_connection(login, migrate.check, role="argus_collector")
        postgres.sql(
            f"delete from argus.migration where version = {migrate.latest()}", database=database.database
        )
        with pytest.raises(DatabaseRefused, match="grant argus_owner to"):
            with_connection(login, start)
        with pytest.raises(
            SchemaMismatch, match=f"has version {migrate.latest() - 1}, .* run `argus-wg migrate`"
        ):
            with_connection(login, migrate.check)
    finally:
        postgres.sql("drop role gateway")


def test_a_start_migrates(database: Target) -> None:
    """`ensure` brings an empty database up to date."""

    async def start(connection: Connection) -> list[int]:
        return await migrate.ensure(connection, progress=Progress())

    assert with_connection(database, start) == ALL
    assert with_connection(database, start) == []


@pytest.mark.parametrize("old", ALL[:-1])
def test_rows_of_every_earlier_version_are_kept(
    database: Target, monkeypatch: pytest.MonkeyPatch, old: int
) -> None:
    """A populated database of any version is migrated, and each organisation still sees its rows."""
    every = migrate.migrations()
    monkeypatch.setattr(migrate, "migrations", lambda: every[:old])
    assert up(database) == ALL[:old]

    async def fill(connection: Connection) -> dict[str, int]:
        await connection.execute("set role argus_owner")
        await populate(connection, ["alpha", "beta"])
        return await count(connection)

    before = with_connection(database, fill)
    monkeypatch.setattr(migrate, "migrations", lambda: every)
    assert up(database) == ALL[old:]
    assert with_connection(database, count, role="argus_owner").items() >= before.items()

    async def read(connection: Connection) -> dict[str, int]:
        async with connection.transaction():
            await connection.execute("set local app.org_id = 2")
            await connection.execute("set local app.clearance = 0")
            return await count(connection)

    seen = with_connection(database, read, role="argus_reader")
    assert {table: seen[table] for table in before} == {table: rows // 2 for table, rows in before.items()}


async def count(connection: Connection) -> dict[str, int]:
    """Table → the number of visible rows, for each table with rows of organisations."""
    names = await connection.fetch(
        "select relname from pg_class where relnamespace = 'argus'::regnamespace and relkind in ('r', 'p') "
        "and not relispartition and relname <> 'migration'"
    )
    return {name: await connection.fetchval(f"select count(*) from argus.{name}") for (name,) in names}


def test_an_interrupted_run_is_continued(database: Target) -> None:
    """After a run that ended after its second migration, the next run applies the rest."""

    async def run() -> None:
        connection, killer = (
            await connect(database, application="test"),
            await connect(database, application="killer"),
        )
        pid = connection.get_server_pid()

        class Cut(Progress):
            def step(self, name: str = "", steps: int = 1) -> None:
                super().step(name, steps)
                if self.work.done == 2:
                    task.cancel()

        task = asyncio.create_task(migrate.migrate(connection, progress=Cut()))
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await killer.execute("select pg_terminate_backend($1)", pid)
        await close(connection)
        await close(killer)

    asyncio.run(run())
    assert version(database) == 2
    assert up(database) == ALL[2:]


def test_a_migration_is_atomic(database: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration interrupted in the middle leaves nothing, not even its lock, and the next run applies
    it."""
    every = migrate.migrations()
    slow = Migration(migrate.latest() + 1, "slow", "create table argus.half (); select pg_sleep(60)")
    monkeypatch.setattr(migrate, "migrations", lambda: [*every, slow])

    async def run() -> None:
        connection, other = (
            await connect(database, application="test"),
            await connect(database, application="other"),
        )
        task = asyncio.create_task(migrate.migrate(connection, progress=Progress()))
        query = (
            "select true from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
        )
        while not await other.fetchval(query):
            assert not task.done()
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await other.fetchval("select to_regclass('argus.half')") is None
        assert await other.fetchval(f"select pg_try_advisory_lock({locks.MIGRATION.key})")
        assert await connection.fetchval("select current_user = session_user")
        await close(connection)
        await close(other)

    asyncio.run(run())
    assert version(database) == len(every)
    monkeypatch.setattr(
        migrate, "migrations", lambda: [*every, replace(slow, sql="create table argus.half ()")]
    )
    assert up(database) == [slow.version]


def test_simultaneous_runs_wait_for_each_other(database: Target) -> None:
    """Of simultaneous callers one migrates and the others wait; a waiting one says so once."""

    async def run() -> None:
        connections = [await connect(database, application=f"test {number}") for number in range(3)]
        said: list[str] = []
        waiting = asyncio.Event()

        def say(text: str) -> None:
            said.append(text)
            waiting.set()

        holder, first, second = connections
        await holder.fetchval(f"select pg_advisory_lock({locks.MIGRATION.key})")
        one = asyncio.create_task(migrate.migrate(first, progress=Progress(say=say)))
        two = asyncio.create_task(migrate.migrate(second, progress=Progress()))
        await waiting.wait()
        assert not await holder.fetchval("select true from pg_namespace where nspname = 'argus'")
        await holder.fetchval(f"select pg_advisory_unlock({locks.MIGRATION.key})")
        done = await asyncio.gather(one, two)
        assert sorted(done) == [[], ALL]
        assert said[0] == "another argus-wg is migrating this database; waiting for it"
        assert said.count(said[0]) == 1
        for connection in connections:
            await close(connection)

    asyncio.run(run())


def test_a_newer_schema_is_refused(database: Target, postgres: PostgresServer) -> None:
    """A newer schema is refused with both versions, by `migrate` and by `check`."""
    migrated(database)
    postgres.sql("insert into argus.migration values (999, 'later')", database=database.database)
    expected = f"version 999, and this argus-wg supports versions up to {migrate.latest()}; upgrade"
    for work in (up, lambda target: with_connection(target, migrate.check)):
        with pytest.raises(SchemaMismatch, match=expected):
            work(database)


def test_a_database_without_the_schema(database: Target) -> None:
    """Without a schema, `check` says to run `argus-wg migrate`."""
    with pytest.raises(SchemaMismatch, match=r"the schema argus does not exist, .* run `argus-wg migrate`"):
        with_connection(database, migrate.check)


def test_a_schema_of_another_owner_is_refused(database: Target, postgres: PostgresServer) -> None:
    """A schema argus that does not belong to argus_owner is not changed."""
    postgres.sql("create schema argus", database=database.database)
    with pytest.raises(SchemaMismatch, match="belongs to postgres and not to argus_owner"):
        up(database)


def test_an_old_server_is_refused(database: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is too old is refused before anything is done."""
    monkeypatch.setattr(migrate, "OLDEST_SERVER", 99)
    for work in (up, lambda target: with_connection(target, migrate.check)):
        with pytest.raises(SchemaMismatch, match="and 99 or later is needed"):
            work(database)
    assert version(database) == 0


def test_a_private_server_is_set_up_for_its_login(database: Target) -> None:
    """Bootstrap creates the login with its rights, also when run twice, and applies no migration."""

    async def work(connection: Connection) -> None:
        await migrate.bootstrap(connection, "daemon")
        await migrate.bootstrap(connection, "daemon")

    with_connection(database, work)
    login = replace(database, user="daemon")
    assert version(login) == 0
    assert up(login) == ALL

    async def rights(connection: Connection) -> tuple[object, ...]:
        query = (
            "select rolsuper, rolcreaterole, rolcreatedb, rolbypassrls from pg_roles where rolname = 'daemon'"
        )
        return tuple(await connection.fetchrow(query) or ())

    assert with_connection(database, rights) == (False, False, False, False)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        with_connection(login, lambda connection: connection.execute("create role another"))
