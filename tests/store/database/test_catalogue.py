"""The catalogue of the schema: every table, view, partition, key and function follows the rules.

The rules are those of PostgreSQL's row security, and of what Citus distributes correctly.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import pytest

from exporter.store.database.settings import Target
from tests.kit.servers.postgres import PostgresServer
from tests.kit.store.schema import ask, scoped

TABLES = (  # with rows of organisations
    "gateway",
    "interface",
    "interface_config",
    "peer",
    "peer_config",
    "peer_state",
    "snapshot",
    "sample",
    "sample_day",
    "gap",
    "audit_event",
)
VIEWS = ("peer_history", "peer_latest", "key_seen")


@pytest.fixture(scope="module", params=["15", "17"])
def database(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A database as `scoped` gives it; changes by a test are rolled back."""
    server: PostgresServer = request.getfixturevalue(f"postgres{request.param}")
    with scoped(server) as target:
        yield target


def test_all_tables_and_views_are_listed(database: Target) -> None:
    """Every table and view is in the lists here; a new one also needs its rights in test_scope.py."""
    query = (
        "select relname from pg_class where relnamespace = 'argus'::regnamespace and relkind::text = any($1)"
    )
    tables = {row[0] for row in ask(database, query + " and not relispartition", ["r", "p", "m", "f"])}
    assert tables == {*TABLES, "organisation", "migration"}
    assert {row[0] for row in ask(database, query, ["v"])} == set(VIEWS)


def test_row_security_is_on_and_forced_everywhere(database: Target) -> None:
    """Row security is enabled and forced, also for the owner, on every table and every partition."""
    rows = ask(
        database,
        "select relname, relrowsecurity and relforcerowsecurity, relispartition from pg_class "
        "where relnamespace = 'argus'::regnamespace and relkind in ('r', 'p', 'm', 'f')",
    )
    assert [name for name, on, _ in rows if not on] == []
    assert sum(partition for _, _, partition in rows) == 3 + 3 * 2 + 1


def test_one_permissive_policy_for_each_table_verb_and_role(database: Target) -> None:
    """Citus turns restrictive policies into permissive ones, and two policies for a verb would be an OR."""
    rows = ask(
        database,
        "select tablename, permissive, roles, cmd from pg_policies where schemaname = 'argus'",
    )
    assert {row["permissive"] for row in rows} == {"PERMISSIVE"}
    verbs: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        assert row["roles"] != ["public"]
        for role in row["roles"]:
            for verb in ("SELECT", "INSERT", "UPDATE", "DELETE"):
                verbs[row["tablename"], role, verb] += row["cmd"] in (verb, "ALL")
    assert {count for count in verbs.values() if count} == {1}


def test_policies_match_grants(database: Target) -> None:
    """No role has a right without a policy, nor a policy without the right."""
    granted = ask(
        database,
        "select c.relname, a.grantee::regrole::text as role, a.privilege_type as verb "
        "from pg_class c, aclexplode(c.relacl) a where c.relnamespace = 'argus'::regnamespace "
        "and c.relkind in ('r', 'p') and a.grantee <> c.relowner",
    )
    policies = ask(
        database,
        "select tablename, unnest(roles)::text, cmd from pg_policies where schemaname = 'argus' "
        "and roles <> '{argus_owner}'",
    )
    assert {tuple(row) for row in granted} == {tuple(row) for row in policies}


def test_policies_contain_only_settings(database: Target) -> None:
    """Policies contain no sub-select, which Citus refuses, and no slow function."""
    rows = ask(
        database,
        "select lower(coalesce(qual, '') || coalesce(with_check, '')) from pg_policies "
        "where schemaname = 'argus'",
    )
    own = "(org_id = (nullif(current_setting('app.org_id'::text, true), ''::text))::integer)"
    cleared = (
        "(clearance <= coalesce((nullif(current_setting('app.clearance'::text, true), ''::text))::integer,"
        " '-1'::integer))"
    )
    assert {row[0] for row in rows} == {"true", "truetrue", own, own + own, f"({own} and {cleared})"}


def test_every_key_begins_with_the_organisation(database: Target) -> None:
    """Every key begins with org_id; otherwise an error about a duplicate would reveal a row of another
    organisation."""
    rows = ask(
        database,
        "select c.relname, i.indkey[0] = a.attnum from pg_index i join pg_class c on c.oid = i.indrelid "
        "left join pg_attribute a on a.attrelid = c.oid and a.attname = 'org_id' "
        "where c.relnamespace = 'argus'::regnamespace union all "
        "select c.relname, k.conkey[1] = a.attnum and r.attname = 'org_id' from pg_constraint k "
        "join pg_class c on c.oid = k.conrelid "
        "join pg_attribute a on a.attrelid = c.oid and a.attname = 'org_id' "
        "join pg_attribute r on r.attrelid = k.confrelid and r.attnum = k.confkey[1] "
        "where k.contype = 'f' and k.connamespace = 'argus'::regnamespace",
    )
    assert len(rows) > 30
    assert {name for name, first in rows if not first} == {"migration", "organisation"}


def test_every_table_that_is_read_has_a_clearance(database: Target) -> None:
    """Every table that readers may select from has a clearance."""
    query = (
        "select count(*) from pg_attribute "
        "where attrelid = ('argus.' || $1)::regclass and attname = $2 and attnotnull"
    )
    for table, column in itertools.product(TABLES, ("org_id", "clearance")):
        assert ask(database, query, table, column)[0][0] == 1, f"{table}.{column}"


def test_identities_are_bigint(database: Target) -> None:
    """Identity columns are bigint, the only type that Citus supports for them on every node."""
    rows = ask(
        database,
        "select distinct atttypid::regtype::text from pg_attribute a join pg_class c on c.oid = a.attrelid "
        "where c.relnamespace = 'argus'::regnamespace and attidentity <> ''",
    )
    assert [row[0] for row in rows] == ["bigint"]


def test_views_have_the_rights_of_the_caller(database: Target) -> None:
    """Every view is a security_invoker, and is granted only to readers."""
    rows = ask(
        database,
        "select relname, reloptions, relacl::text from pg_class "
        "where relnamespace = 'argus'::regnamespace and relkind = 'v'",
    )
    assert len(rows) == len(VIEWS)
    for row in rows:
        assert row["reloptions"] == ["security_invoker=true"]
        assert "argus_reader=r/" in row["relacl"]
        assert "argus_collector" not in row["relacl"]


def test_nothing_is_granted_to_public(database: Target) -> None:
    """No table, view, sequence, function or type, nor the schema, has a grant to PUBLIC."""
    grants = ask(
        database,
        "select c.relname from pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a "
        "where c.relnamespace = 'argus'::regnamespace and a.grantee = 0 union all "
        "select p.proname from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a "
        "where p.pronamespace = 'argus'::regnamespace and a.grantee = 0 union all "
        "select n.nspname from pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a "
        "where n.nspname = 'argus' and a.grantee = 0",
    )
    assert [row[0] for row in grants] == []


def test_partitions_are_granted_to_nobody(database: Target) -> None:
    """No partition is granted to a role, because a query on it ignores the policies of its parent."""
    rows = ask(
        database,
        "select c.relname from pg_class c, aclexplode(c.relacl) a "
        "where c.relnamespace = 'argus'::regnamespace and c.relispartition and a.grantee <> c.relowner",
    )
    assert rows == []


def test_security_definer_functions_have_a_search_path(database: Target) -> None:
    """A security definer function has a fixed search path, with temporary objects last."""
    rows = ask(
        database,
        "select proname, prosecdef, proconfig, proacl::text from pg_proc "
        "where pronamespace = 'argus'::regnamespace",
    )
    assert all(row["proconfig"] == ["search_path=pg_catalog, pg_temp"] for row in rows)
    definers = {row["proname"]: row["proacl"] for row in rows if row["prosecdef"]}
    assert set(definers) == {"organisation_id", "ensure_partitions", "default_partition_rows"}
    assert all("argus_collector=X/" in acl and "argus_reader" not in acl for acl in definers.values())


def test_everything_belongs_to_the_owner(database: Target) -> None:
    """argus_owner owns everything, and no role can log in or bypass policies."""
    rows = ask(
        database,
        "select relname from pg_class where relnamespace = 'argus'::regnamespace "
        "and relowner <> 'argus_owner'::regrole union all "
        "select proname from pg_proc where pronamespace = 'argus'::regnamespace "
        "and proowner <> 'argus_owner'::regrole",
    )
    assert rows == []
    roles = ask(
        database,
        "select rolcanlogin or rolsuper or rolbypassrls or rolcreaterole from pg_roles "
        "where rolname like 'argus\\_%'",
    )
    assert [row[0] for row in roles] == [False] * 3
