"""Distributes the schema over a Citus cluster: `argus-wg migrate --distribute`.

All rows of an organisation are on one worker: every worker has a copy of the table `organisation`, and the
other tables are distributed by org_id and colocated. `migration` stays on the coordinator, where Argus
connects.

Requirements of Citus, from the sources of version 13 (src/backend/distributed/commands):

- Citus connects to its workers as the current user, so the roles must be able to log in there
  (https://github.com/citusdata/citus/issues/7719). They have no password, so pg_hba.conf must allow it.
- Citus moves rows by COPY, which forced row security refuses even to the owner. For a table with rows it is
  therefore not forced during the move, and forced again in the same transaction.
- Citus refuses foreign keys between a distributed and a local table. All foreign keys are therefore dropped
  first; their definitions are kept in a table, from which an interrupted run restores them. A foreign key to
  the copied table is created sequentially, because its shards would otherwise wait for each other.

Each step is one transaction. A step that was done is skipped.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from exporter.store.database.connection import Connection, one_line
from exporter.store.database.migrate import ROLES, as_owner
from exporter.store.errors import DatabaseRefused, SchemaMismatch
from exporter.store.progress import Progress

OLDEST_CITUS = 12  # for identity columns, security_invoker and row security
REFERENCE = "organisation"
ANCHOR = "gateway"  # the other tables are colocated with it
WAITING = "argus.foreign_key_waiting"


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose rows belong to organisations; `partitions` are qualified names."""

    name: str
    distributed: bool
    has_rows: bool
    partitions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """`table` is a qualified name."""

    table: str
    name: str
    definition: str


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction."""

    title: str
    statements: tuple[str, ...]


async def distribute(connection: Connection, *, progress: Progress) -> int:
    """Do the steps that are left; the number of tables that were distributed. The schema must be the latest.

    `connection`: without a role and without a statement timeout. Raises SchemaMismatch if this is not the
    coordinator of a cluster; DatabaseRefused, with the statements for an administrator, if a right is
    missing.
    """
    await check_cluster(connection)
    await _let_log_in(connection)
    # SET LOCAL below applies to this node only, not to the connections that Citus opens as superuser.
    await connection.execute("set citus.propagate_set_commands = 'none'")
    await connection.execute("set search_path = pg_catalog")  # so that the catalogue shows qualified names
    try:
        async with as_owner(connection):
            return await _run(connection, progress)
    finally:
        with contextlib.suppress(asyncpg.InterfaceError, asyncpg.PostgresError, OSError):
            await connection.execute("reset citus.propagate_set_commands")
            await connection.execute("reset search_path")


async def check_cluster(connection: Connection) -> None:
    """Raises SchemaMismatch unless this is the coordinator of a Citus cluster with a worker."""
    version = await connection.fetchval("select extversion from pg_extension where extname = 'citus'")
    if version is None:
        raise SchemaMismatch(
            "--distribute is for a Citus cluster, and this database does not have the extension citus",
            "on one server run `argus-wg migrate` without it",
        )
    major = re.match("[0-9]+", version)
    if not major or int(major[0]) < OLDEST_CITUS:
        raise SchemaMismatch(f"this is Citus {version}, and {OLDEST_CITUS} or later is needed", "upgrade it")
    if await connection.fetchval("select groupid from pg_dist_local_group") != 0:
        raise SchemaMismatch("this is a worker of the cluster", "set database.address to its coordinator")
    workers = "select count(*) from pg_dist_node where noderole = 'primary' and isactive and shouldhaveshards"
    if not await connection.fetchval(workers):
        raise SchemaMismatch("the cluster has no worker", "add one with citus_add_node() and try again")


def plan(tables: Sequence[Table], keys: Sequence[ForeignKey], waiting: Sequence[ForeignKey]) -> list[Step]:
    """The remaining steps, in order. `keys`: foreign keys of a local table; `waiting`: those set aside."""
    local = sorted((table for table in tables if not table.distributed), key=_order)
    steps = []
    if keys:
        steps.append(Step("foreign keys: set aside", _set_aside(keys)))
        waiting = [*waiting, *keys]
    steps += [Step(f"{table.name}: distributed", _distribute(table)) for table in local]
    steps += [Step(f"foreign key {key.name}: restored", _restore(key)) for key in waiting]
    if waiting:
        steps.append(Step("foreign keys: all restored", (f"drop table {WAITING}",)))
    return steps


def _order(table: Table) -> tuple[bool, bool, str]:
    return table.name != REFERENCE, table.name != ANCHOR, table.name


def _distribute(table: Table) -> tuple[str, ...]:
    name = f"argus.{table.name}"
    if table.name == REFERENCE:
        call = f"select create_reference_table('{name}')"
    else:
        near = "none" if table.name == ANCHOR else f"argus.{ANCHOR}"
        call = f"select create_distributed_table('{name}', 'org_id', colocate_with => '{near}')"
    if not table.has_rows:
        return (call,)
    names = (name, *table.partitions)
    return (
        *(f"alter table {each} no force row level security" for each in names),
        call,
        *(f"alter table {each} force row level security" for each in names),
        # The coordinator's own copy of the rows, which is hidden now.
        f"select truncate_local_data_after_distributing_table('{name}')",
    )


def _set_aside(keys: Sequence[ForeignKey]) -> tuple[str, ...]:
    rows = [f"({', '.join(map(_literal, (key.table, key.name, key.definition)))})" for key in keys]
    return (
        f"create table if not exists {WAITING} (tab text, name text, definition text)",
        f"insert into {WAITING} values {', '.join(rows)}",  # noqa: S608
        *(f"alter table {key.table} drop constraint {key.name}" for key in keys),
    )


def _restore(key: ForeignKey) -> tuple[str, ...]:
    return (
        "set local citus.multi_shard_modify_mode to 'sequential'",
        f"alter table {key.table} add constraint {key.name} {key.definition}",
        f"delete from {WAITING} where tab = {_literal(key.table)} and name = {_literal(key.name)}",  # noqa: S608
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


async def _run(connection: Connection, progress: Progress) -> int:
    tables = await _tables(connection)
    steps = plan(tables, await _keys(connection), await _waiting(connection))
    progress.expect(len(steps) + 1)
    for step in steps:
        async with connection.transaction():
            for statement in step.statements:
                await connection.execute(statement)
        progress.step(step.title)
    await _check_logins(connection)
    progress.step("every worker accepts the roles")
    return sum(not table.distributed for table in tables)


async def _tables(connection: Connection) -> list[Table]:
    """The tables whose rows belong to an organisation."""
    rows = await connection.fetch("""
        select c.relname as name,
               exists (select from pg_dist_partition d where d.logicalrelid = c.oid) as distributed,
               array(select i.inhrelid::regclass::text from pg_inherits i where i.inhparent = c.oid
                     order by 1) as partitions
        from pg_class c
        join pg_attribute a on a.attrelid = c.oid and a.attname = 'org_id'
        where c.relnamespace = 'argus'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition""")
    return [
        Table(
            row["name"],
            row["distributed"],
            not row["distributed"]
            and await connection.fetchval(f"select true from argus.{row['name']} limit 1") is True,  # noqa: S608
            tuple(row["partitions"]),
        )
        for row in rows
    ]


async def _keys(connection: Connection) -> list[ForeignKey]:
    rows = await connection.fetch("""
        select conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        from pg_constraint k
        where contype = 'f' and conparentid = 0 and connamespace = 'argus'::regnamespace
          and (select count(*) from pg_dist_partition d where d.logicalrelid in (k.conrelid, k.confrelid)) < 2
        order by 1, 2""")
    return [ForeignKey(*row) for row in rows]


async def _waiting(connection: Connection) -> list[ForeignKey]:
    if not await connection.fetchval("select to_regclass($1) is not null", WAITING):
        return []
    query = f"select tab, name, definition from {WAITING} order by 1, 2"  # noqa: S608
    return [ForeignKey(*row) for row in await connection.fetch(query)]


async def _let_log_in(connection: Connection) -> None:
    roles = await connection.fetch(
        "select rolname from pg_roles where rolname = any($1) and not rolcanlogin", ROLES
    )
    statements = [f"alter role {row['rolname']} login" for row in roles]
    try:
        for statement in statements:  # Citus sends it to the workers
            await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError as error:
        text = "".join(f"\n    {statement};" for statement in statements)
        raise DatabaseRefused(
            "Citus connects to its workers as the roles of Argus, so they must be able to log in",
            f"let an administrator run this on the coordinator, then try again:{text}",
        ) from error


async def _check_logins(connection: Connection) -> None:
    """Query every worker as each role that this login is a member of. Raises DatabaseRefused."""
    roles = await connection.fetch(
        "select r from unnest($1::text[]) r where pg_has_role(session_user, r, 'member')", ROLES
    )
    for (role,) in roles:
        try:
            await connection.execute(f"set role {role}")
            await connection.fetchval(f"select count(*) from argus.{ANCHOR}")  # noqa: S608
        except asyncpg.PostgresError as error:
            raise DatabaseRefused(
                f"the tables are distributed, but {role} does not reach the workers: {one_line(error)}",
                f"Citus connects to them as {role}: allow that in their pg_hba.conf, then run this again",
            ) from error
