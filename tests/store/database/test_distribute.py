"""The statements for a Citus cluster, and their order.

A cluster is not available here. PostgreSQL executes every statement; functions and catalogues with the names
of those of Citus record that they were called.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from exporter.store.database import distribute
from exporter.store.database.connection import Connection
from exporter.store.database.distribute import ForeignKey, Table, plan
from exporter.store.database.settings import Target
from exporter.store.errors import DatabaseRefused, SchemaMismatch
from exporter.store.progress import Progress
from tests.kit.servers.postgres import PostgresServer
from tests.kit.store.schema import migrated, populate, with_connection

NAMESAKES = """
set allow_system_table_mods = on;
insert into pg_extension values (99999, 'citus', 10, 11, false, '13.0-1', null, null);
create table pg_catalog.pg_dist_local_group (groupid int);
insert into pg_catalog.pg_dist_local_group values (0);
create table pg_catalog.pg_dist_node (noderole text, isactive bool, shouldhaveshards bool);
insert into pg_catalog.pg_dist_node values ('primary', true, true);
create table pg_catalog.pg_dist_partition (logicalrelid regclass, near text, forced bool);
create function pg_catalog.forced(tab regclass) returns bool language sql as
    'select bool_or(relforcerowsecurity) from pg_class c left join pg_inherits i on i.inhrelid = c.oid
     where tab in (c.oid, i.inhparent)';
create function pg_catalog.create_reference_table(tab regclass) returns void language sql as
    'insert into pg_dist_partition select tab, null, forced(tab)';
create function pg_catalog.create_distributed_table(tab regclass, col text, colocate_with text) returns void
    language sql as 'insert into pg_dist_partition select tab, colocate_with, forced(tab)
                     from pg_attribute where attrelid = tab and attname = col';
create function pg_catalog.truncate_local_data_after_distributing_table(tab regclass) returns void
    language sql as 'update pg_dist_partition set near = coalesce(near, ''copied'') || '', truncated''
                     where logicalrelid = tab';
grant select, insert, update on pg_catalog.pg_dist_partition, pg_catalog.pg_dist_local_group,
    pg_catalog.pg_dist_node to public;
"""


def with_namesakes(database: Target) -> None:
    with_connection(database, lambda connection: connection.execute(NAMESAKES))


def spread(target: Target) -> int:
    async def work(connection: Connection) -> int:
        return await distribute.distribute(connection, progress=Progress())

    return with_connection(target, work)


def refusal(target: Target) -> str:
    with pytest.raises(SchemaMismatch) as caught:
        spread(target)
    return str(caught.value)


KEY = ForeignKey(
    "argus.interface", "interface_gateway", "FOREIGN KEY (org_id) REFERENCES argus.gateway(org_id)"
)
TABLES = [
    Table("sample", distributed=False, has_rows=True, partitions=("argus.sample_a", "argus.sample_b")),
    Table("interface", distributed=False, has_rows=False),
    Table("gateway", distributed=False, has_rows=False),
    Table("organisation", distributed=False, has_rows=True),
]


def test_the_order_of_the_steps() -> None:
    """Foreign keys are dropped first and restored last; between, organisation, gateway and then the
    others."""
    steps = plan(TABLES, [KEY], [])
    assert [step.title for step in steps] == [
        "foreign keys: set aside",
        "organisation: distributed",
        "gateway: distributed",
        "interface: distributed",
        "sample: distributed",
        "foreign key interface_gateway: restored",
        "foreign keys: all restored",
    ]
    assert steps[0].statements[1:] == (
        "insert into argus.foreign_key_waiting values ('argus.interface', 'interface_gateway', "
        "'FOREIGN KEY (org_id) REFERENCES argus.gateway(org_id)')",
        "alter table argus.interface drop constraint interface_gateway",
    )
    assert steps[2].statements == (
        "select create_distributed_table('argus.gateway', 'org_id', colocate_with => 'none')",
    )
    assert steps[3].statements == (
        "select create_distributed_table('argus.interface', 'org_id', colocate_with => 'argus.gateway')",
    )
    assert steps[5].statements[:2] == (
        "set local citus.multi_shard_modify_mode to 'sequential'",
        "alter table argus.interface add constraint interface_gateway "
        "FOREIGN KEY (org_id) REFERENCES argus.gateway(org_id)",
    )


def test_row_security_is_not_forced_while_rows_move() -> None:
    """Row security of a table with rows and of its partitions is not forced while they move, in the same
    step."""
    reference, sample = plan(TABLES, [], [])[0], plan(TABLES, [], [])[-1]
    assert reference.statements == (
        "alter table argus.organisation no force row level security",
        "select create_reference_table('argus.organisation')",
        "alter table argus.organisation force row level security",
        "select truncate_local_data_after_distributing_table('argus.organisation')",
    )
    names = ("argus.sample", "argus.sample_a", "argus.sample_b")
    assert sample.statements == (
        *(f"alter table {name} no force row level security" for name in names),
        "select create_distributed_table('argus.sample', 'org_id', colocate_with => 'argus.gateway')",
        *(f"alter table {name} force row level security" for name in names),
        "select truncate_local_data_after_distributing_table('argus.sample')",
    )


def test_finished_steps_are_skipped() -> None:
    """With every table distributed, only foreign keys that were set aside are left to restore."""
    done = [replace(table, distributed=True) for table in TABLES]
    assert plan(done, [], []) == []
    assert [step.title for step in plan(done, [], [KEY])] == [
        "foreign key interface_gateway: restored",
        "foreign keys: all restored",
    ]


def test_a_plain_server_is_refused(database: Target) -> None:
    """Without the extension nothing is changed, and the error has the remedy."""
    login = migrated(database)
    message = refusal(login)
    assert "does not have the extension citus" in message
    assert "run `argus-wg migrate` without it" in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "update pg_extension set extversion = '11.3-1' where extname = 'citus'",
            "this is Citus 11.3-1, and 12",
        ),
        ("update pg_dist_local_group set groupid = 3", "set database.address to its coordinator"),
        ("update pg_dist_node set isactive = false", "add one with citus_add_node()"),
    ],
)
def test_an_unsuitable_cluster_is_refused(database: Target, change: str, said: str) -> None:
    """An old Citus, a worker, and a coordinator without workers are refused, each with its remedy."""
    migrated(database)
    with_namesakes(database)
    with_connection(
        database, lambda connection: connection.execute("set allow_system_table_mods = on; " + change)
    )
    assert said in refusal(database)


def test_roles_that_cannot_log_in(database: Target, postgres: PostgresServer) -> None:
    """A login that may not let the roles log in gets the statements for an administrator."""
    login = migrated(database)
    with_namesakes(database)
    with pytest.raises(DatabaseRefused) as caught:
        spread(login)
    lines = [line.strip() for line in str(caught.value).splitlines()[1:]]
    assert sorted(lines) == [
        "alter role argus_collector login;",
        "alter role argus_owner login;",
        "alter role argus_reader login;",
    ]


def distributed(server: PostgresServer, target: Target) -> dict[str, str]:
    """What the recording functions noted: table → where its rows are, and whether row security was forced
    then."""
    rows = server.sql(
        "select logicalrelid, coalesce(near, '-'), forced from pg_dist_partition", database=target.database
    )
    return {line.split("|")[0]: "|".join(line.split("|")[1:]) for line in rows.splitlines()}


def keys(server: PostgresServer, target: Target) -> str:
    return server.sql(
        "select conrelid::regclass, conname, pg_get_constraintdef(oid) from pg_constraint "
        "where contype = 'f' and connamespace = 'argus'::regnamespace order by 1, 2",
        database=target.database,
    )


def test_the_whole_schema_is_distributed_and_resumed(database: Target, postgres: PostgresServer) -> None:
    """Every statement runs, an interrupted run is continued, and foreign keys and row security are as
    before."""
    migrated(database)

    async def fill(owner: Connection) -> None:
        await owner.fetchval("select argus.ensure_partitions('2026-03-28', 2)")
        await populate(owner, ["alpha", "beta"])

    with_connection(database, fill, role="argus_owner")
    with_namesakes(database)
    before = keys(postgres, database)
    broken = (
        "set allow_system_table_mods = on; "
        "alter table pg_dist_partition add check (logicalrelid <> {}::regclass)"
    )
    try:
        with_connection(database, lambda connection: connection.execute(broken.format("'argus.peer_config'")))
        with pytest.raises(Exception, match="pg_dist_partition_logicalrelid_check"):
            spread(database)
        assert keys(postgres, database) == ""  # set aside
        halfway = distributed(postgres, database)
        assert "argus.peer" in halfway
        assert "argus.peer_config" not in halfway
        with_connection(
            database,
            lambda connection: connection.execute(
                "set allow_system_table_mods = on; "
                "alter table pg_dist_partition drop constraint pg_dist_partition_logicalrelid_check"
            ),
        )
        assert spread(database) == 12 - len(halfway)
        assert spread(database) == 0
    finally:
        for role in ("argus_owner", "argus_collector", "argus_reader"):
            postgres.sql(f"alter role {role} nologin")
    after = distributed(postgres, database)
    assert len(after) == 12
    assert after.pop("argus.organisation") == "copied, truncated|f"
    assert after.pop("argus.gateway") == "none, truncated|f"
    assert set(after.values()) == {"argus.gateway, truncated|f"}
    assert keys(postgres, database) == before
    unforced = (
        "select count(*) from pg_class where relnamespace = 'argus'::regnamespace and relkind in ('r', 'p') "
    )
    assert postgres.sql(unforced + "and not relforcerowsecurity", database=database.database) == "0"
    assert (
        postgres.sql("select to_regclass('argus.foreign_key_waiting') is null", database=database.database)
        == "t"
    )
