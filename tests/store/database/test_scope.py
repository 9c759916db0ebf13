"""What each role may read and write: every table and verb, allowed and denied.

A policy that hides rows raises no error, so the tests compare the numbers of rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from exporter.store.database import migrate
from exporter.store.database.connection import Connection, Role, scope, set_organisation
from exporter.store.database.settings import Target
from tests.kit.servers.postgres import PostgresServer
from tests.kit.store.schema import (
    ALPHA,
    BETA,
    CLEARANCES,
    NOBODY,
    START,
    act,
    ask,
    rows_of,
    scoped,
    touching,
    with_connection,
)

# The verbs of a collector on the rows of its organisation. Readers may select, and no role may delete.
COLLECTOR = {
    "gateway": "select insert update",
    "interface": "select insert update",
    "interface_config": "select insert update",
    "peer": "select insert update",
    "peer_config": "select insert update",
    "peer_state": "select insert update",
    "snapshot": "select insert",
    "sample": "select insert update",
    "sample_day": "",
    "gap": "select insert update",
    "audit_event": "insert",
}
TABLES = tuple(COLLECTOR)
VIEWS = ("peer_history", "peer_latest", "key_seen")


@pytest.fixture(scope="module", params=["15", "17"])
def database(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A database as `scoped` gives it; changes by a test are rolled back."""
    server: PostgresServer = request.getfixturevalue(f"postgres{request.param}")
    with scoped(server) as target:
        yield target


STATEMENTS = {  # each affects every visible row
    "select": "select from argus.{}",
    "update": "update argus.{} set clearance = clearance",
    "delete": "delete from argus.{}",
}
LATER = START + timedelta(hours=1)
NEW: dict[str, dict[str, Any]] = {  # changes that turn an existing row into a new one
    "gateway": {"gateway_id": 1_000_000, "name": "new"},
    "interface": {"interface_id": 1_000_000, "name": "new"},
    "interface_config": {"valid_from": LATER, "valid_to": LATER},
    "peer": {"peer_id": 1_000_000, "public_key": "=" * 44},
    "peer_config": {"valid_from": LATER, "valid_to": LATER},
    "peer_state": {"peer_id": 1_000_000},
    "snapshot": {"sequence": 1_000_000},
    "sample": {"taken_at": LATER},
    "sample_day": {"peer_id": 1_000_000},
    "gap": {"gap_id": 1_000_000},
    "audit_event": {"event_id": 1_000_000},
}


def new_row(database: Target, table: str) -> tuple[str, list[object]]:
    """An insert of a new row of alpha, and its values."""
    (row,) = ask(database, f"select * from argus.{table} where org_id = $1 limit 1", ALPHA)
    values: dict[str, object] = dict(row) | NEW[table]
    names, places = ", ".join(values), ", ".join(f"${n}" for n in range(1, len(values) + 1))
    query = f"insert into argus.{table} ({names}) overriding system value values ({places})"
    return query, list(values.values())


def inserting(database: Target, table: str) -> Callable[[Connection], Awaitable[int]]:
    """Inserts a new row of alpha, and before it the row that it refers to if that must be new."""
    wanted = [new_row(database, name) for name in (("peer", table) if table == "peer_state" else (table,))]

    async def insert(connection: Connection) -> int:
        for query, values in wanted:
            await connection.execute(query, *values)
        return 1

    return insert


@pytest.mark.parametrize(("table", "verb"), list(itertools.product(TABLES, STATEMENTS)))
def test_a_collector_has_its_verbs_on_its_own_rows(database: Target, table: str, verb: str) -> None:
    """A granted verb affects the rows of the collector's organisation, and none without a scope; others are
    denied."""
    work = touching(STATEMENTS[verb].format(table))
    if verb in COLLECTOR[table]:
        assert act(database, "argus_collector", work, ALPHA) == len(CLEARANCES)
        assert act(database, "argus_collector", work, NOBODY) == 0
        assert act(database, "argus_collector", work, None) == 0
    else:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
            act(database, "argus_collector", work, ALPHA)


@pytest.mark.parametrize("table", TABLES)
def test_a_collector_adds_rows_only_to_its_organisation(database: Target, table: str) -> None:
    """A new row is accepted in the scope of its organisation, and refused in another scope or without one."""
    work = inserting(database, table)
    if "insert" not in COLLECTOR[table]:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
            act(database, "argus_collector", work, ALPHA)
        return
    assert act(database, "argus_collector", work, ALPHA) == 1
    for scope_of in (BETA, None):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="violates row-level security policy"):
            act(database, "argus_collector", work, scope_of)


@pytest.mark.parametrize("table", [table for table in TABLES if "update" in COLLECTOR[table]])
def test_a_collector_moves_no_row(database: Target, table: str) -> None:
    """An update that would move a row into another organisation is refused."""
    work = touching(f"update argus.{table} set org_id = {BETA}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="violates row-level security policy"):
        act(database, "argus_collector", work, ALPHA)


@pytest.mark.parametrize("table", TABLES)
def test_a_reader_sees_its_organisation_up_to_its_clearance(database: Target, table: str) -> None:
    """Of three rows, clearance n shows n + 1; without a clearance or a scope there is none."""
    for org_id, clearance, rows in (
        (ALPHA, 0, 1),
        (ALPHA, 1, 2),
        (ALPHA, 2, 3),
        (BETA, 9, 3),
        (ALPHA, -1, 0),
        (ALPHA, None, 0),
        (None, 9, 0),
        (NOBODY, 9, 0),
    ):
        seen = act(
            database,
            "argus_reader",
            rows_of(f"select org_id, clearance from argus.{table}"),
            org_id,
            clearance,
        )
        assert len(seen) == rows, (org_id, clearance)
        assert all(row["org_id"] == org_id and row["clearance"] <= (clearance or 0) for row in seen)


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_limited_as_its_tables(database: Target, view: str) -> None:
    """A reader sees more rows of a view with a higher clearance, none without, and none of another
    organisation."""
    shown = [
        act(database, "argus_reader", rows_of(f"select org_id from argus.{view}"), ALPHA, clearance)
        for clearance in (None, 0, 1, 2)
    ]
    each = (
        2 if view in ("peer_history", "key_seen") else 1
    )  # samples and days; a peer's and an interface's keys
    assert [len(rows) for rows in shown] == [0, each, 2 * each, 3 * each]
    assert {row["org_id"] for rows in shown for row in rows} == {ALPHA}
    assert act(database, "argus_reader", rows_of(f"select * from argus.{view}"), None, 9) == []


@pytest.mark.parametrize("table", TABLES)
def test_a_reader_changes_nothing(database: Target, table: str) -> None:
    """Insert, update and delete are denied to a reader in every scope."""
    for work in (
        inserting(database, table),
        touching(STATEMENTS["update"].format(table)),
        touching(STATEMENTS["delete"].format(table)),
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
            act(database, "argus_reader", work, ALPHA, 9)


@pytest.mark.parametrize("table", [*TABLES, "organisation"])
def test_the_owner_sees_every_organisation(database: Target, table: str) -> None:
    """The owner sees all rows without a scope."""
    rows = act(database, "argus_owner", rows_of(f"select org_id from argus.{table}"), None)
    assert {row["org_id"] for row in rows} == {ALPHA, BETA}


def test_audit_events_are_append_only(database: Target) -> None:
    """Not even the owner can change or delete an audit event."""
    for verb in ("update", "delete"):
        assert act(database, "argus_owner", touching(STATEMENTS[verb].format("audit_event")), None) == 0
    assert act(database, "argus_owner", inserting(database, "audit_event"), None) == 1


@pytest.mark.parametrize("role", ["argus_collector", "argus_reader"])
def test_other_organisations_are_hidden(database: Target, role: Role) -> None:
    """A role sees only the name of its own organisation, and cannot change it."""
    names = "select name from argus.organisation"
    assert [row[0] for row in act(database, role, rows_of(names), BETA)] == ["beta"]
    assert act(database, role, rows_of(names), None) == []
    for statement in ("update argus.organisation set name = 'x'", "delete from argus.organisation"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
            act(database, role, touching(statement), ALPHA)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
        act(database, role, touching("insert into argus.organisation (name) values ('x')"), ALPHA)


@pytest.mark.parametrize("role", ["argus_collector", "argus_reader"])
def test_the_version_is_read_and_not_written(database: Target, role: Role) -> None:
    """Every role may read the version of the schema, and only the owner may write it."""
    assert len(act(database, role, rows_of("select from argus.migration"), None)) == migrate.latest()
    for statement in ("insert into argus.migration values (999, 'x')", "delete from argus.migration"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
            act(database, role, touching(statement), ALPHA)


def test_a_collector_gets_the_number_of_an_organisation(database: Target) -> None:
    """A collector gets the number of an organisation by name, also of a new one; a reader does not."""

    async def work(connection: Connection) -> list[int]:
        query = "select argus.organisation_id($1)"
        return [await connection.fetchval(query, name) for name in ("beta", "gamma", "gamma", "alpha")]

    beta, gamma, again, alpha = act(database, "argus_collector", work, None)
    assert (beta, again, alpha) == (BETA, gamma, ALPHA)
    assert gamma not in (ALPHA, BETA)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
        act(database, "argus_reader", work, None)


@pytest.mark.parametrize("role", ["argus_collector", "argus_reader"])
def test_partitions_are_not_accessible(database: Target, role: Role) -> None:
    """A query on a partition is denied, though its parent shows the rows."""
    partitions = ask(
        database,
        "select relname from pg_class where relnamespace = 'argus'::regnamespace "
        "and relispartition and relkind = 'r'",
    )
    assert len(partitions) == 3 + 3 * 2 + 1
    for (name,) in partitions:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
            act(database, role, rows_of(f"select from argus.{name}"), ALPHA, 9)


def test_a_login_without_a_role_is_denied(database: Target) -> None:
    """The schema is closed to a login that is a member of none of its roles."""
    (server_role,) = ask(database, "select 'stranger_' || current_database()")[0]
    ask(database, f"create role {server_role} login")
    try:
        for table in (*TABLES, *VIEWS, "organisation", "migration"):
            with pytest.raises(
                asyncpg.InsufficientPrivilegeError, match="permission denied for schema argus"
            ):
                ask(replace(database, user=server_role), f"select from argus.{table}")
    finally:
        ask(database, f"drop role {server_role}")


def test_scopes_of_a_shared_connection_are_separate(database: Target) -> None:
    """Scopes that follow each other on one connection, after commit or rollback, see only their own rows."""

    async def work(connection: Connection) -> None:
        async def seen() -> set[int]:
            return {row[0] for row in await connection.fetch("select org_id from argus.peer")}

        async def fail() -> None:
            async with scope(connection, BETA, 2):
                assert await seen() == {BETA}
                raise LookupError

        assert await seen() == set()
        async with scope(connection, ALPHA, 2):
            assert await seen() == {ALPHA}
        assert await seen() == set()
        with pytest.raises(LookupError):
            await fail()
        assert await seen() == set()
        async with scope(connection, ALPHA):
            assert await seen() == set()
        async with scope(connection, ALPHA, 0):
            async with connection.transaction():
                await set_organisation(connection, BETA)
                assert await seen() == {BETA}
            assert await seen() == {BETA}  # until the outer one ends

        assert await seen() == set()

    with_connection(database, work, role="argus_reader")


@pytest.mark.parametrize("value", ["", "null", "'x'", "'1 or true'", "'-2147483648'"])
def test_a_wrong_setting_shows_nothing(database: Target, value: str) -> None:
    """A scope that is not the number of an organisation shows no rows, or is an error."""

    async def work(connection: Connection) -> int:
        await connection.execute(f"set local app.org_id = {value or default_value}")
        await connection.execute("set local app.clearance = 9")
        return len(await connection.fetch("select from argus.peer"))

    default_value = "''"
    try:
        assert act(database, "argus_reader", work, None) == 0
    except (asyncpg.InvalidTextRepresentationError, asyncpg.PostgresSyntaxError):
        assert value in ("null", "'x'", "'1 or true'")


def test_new_partitions_take_rows_of_the_default(database: Target) -> None:
    """Rows in a default partition move into the new partition of their day."""

    async def work(connection: Connection) -> tuple[int, int, int, int, list[str]]:
        await connection.execute(
            "insert into argus.sample select org_id, peer_id, '2027-01-01 23:59:59.999+00', 1, 1, null, "
            "clearance, true from argus.peer"
        )
        await connection.execute(
            "insert into argus.sample_day select org_id, peer_id, '2027-01-01', 0, 0, 0, 0, 0, '{0}', '{0}', "
            "'{0}', null, null, '{0}', '{}' from argus.peer"
        )
        strays = await connection.fetchval("select argus.default_partition_rows()")
        made = await connection.fetchval("select argus.ensure_partitions('2027-01-01', 2)")
        again = await connection.fetchval("select argus.ensure_partitions('2027-01-01', 2)")
        await connection.fetchval("select argus.make_partition('argus.sample_day', '2027-01-01')")
        left = await connection.fetchval("select argus.default_partition_rows()")
        rows = await connection.fetch(
            "select distinct tableoid::regclass::text from argus.sample where taken_at >= '2027-01-01' "
            "union all "
            "select distinct tableoid::regclass::text from argus.sample_day where day = '2027-01-01'"
        )
        return strays, made, again, left, [row[0] for row in rows]

    assert act(database, "argus_owner", work, None) == (
        12,
        4,
        0,
        0,
        ["argus.sample_20270101", "argus.sample_day_20270101"],
    )


@pytest.mark.parametrize("days", [0, 32])
def test_partitions_are_limited_to_a_month(database: Target, days: int) -> None:
    """A collector creates at most a month of partitions in one call, so it cannot fill the disk with them."""

    def work(connection: Connection) -> Awaitable[int]:
        return touching(f"select argus.ensure_partitions('2027-02-01', {days})")(connection)

    with pytest.raises(asyncpg.RaiseError, match="days must be from 1 to 31"):
        act(database, "argus_collector", work, None)
