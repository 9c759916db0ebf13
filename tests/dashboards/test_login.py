"""grafana-login.sql on real servers: the rows that the login can read, and attempts to read more."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import asyncpg
import pytest

from exporter.store.database.connection import Connection
from exporter.store.database.settings import Target
from tests.kit.pages import ROOT
from tests.kit.servers.postgres import PostgresServer
from tests.kit.store.schema import ALPHA, BETA, ask, scoped, with_connection

SCRIPT = ROOT / "dashboards/provisioning/grafana-login.sql"
READABLE = """
select c.relname as name, bool_or(a.attname = 'clearance') as cleared
from pg_class c join pg_attribute a on a.attrelid = c.oid
where c.relnamespace = 'argus'::regnamespace and c.relkind in ('r', 'p', 'v') and not c.relispartition
      and c.relname <> 'migration' group by c.relname"""


@pytest.fixture(scope="module")
def target(postgres: PostgresServer) -> Iterator[Target]:
    """A database with rows of two organisations and several clearances in each table, as the superuser."""
    with scoped(postgres) as found:
        yield found


@pytest.fixture
def login(target: Target) -> Iterator[Target]:
    """A login for organisation alpha with clearance 1. It is dropped afterwards."""
    make(target)
    yield replace(target, user="grafana_alpha")
    ask(target, "drop owned by grafana_alpha")
    ask(target, "drop role grafana_alpha")


def make(target: Target, organisation: str = "alpha", clearance: int = 1) -> None:
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("psql is not installed (Debian: apt install postgresql-client)")
    place = ["-h", target.host, "-p", str(target.port), "-U", target.user, "-d", target.database]
    values = {"login": "grafana_alpha", "organisation": organisation, "clearance": clearance}
    given = [f"--set={name}={value}" for name, value in values.items()]
    command = [psql, "--quiet", "--no-psqlrc", *place, *given, "-f", str(SCRIPT)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PGPASSWORD": ""})


def seen(login: Target, table: str, column: str, *before: str) -> set[int]:
    """The values of a column in the rows that the login can read, after it ran the statements `before`."""

    async def work(connection: Connection) -> set[int]:
        for statement in before:
            await connection.execute(statement)
        return {row[0] for row in await connection.fetch(f"select {column} from argus.{table}")}

    return with_connection(login, work)


def test_login_reads_its_organisation_and_clearance(target: Target, login: Target) -> None:
    """In each table, the login reads only its organisation and clearance, whatever the session sets."""
    lies = f"set app.org_id = {BETA}", "set app.clearance = 9"
    tables = ask(target, READABLE)
    assert len(tables) > 12
    for name, cleared in tables:
        for before in ((), lies):
            assert seen(login, name, "org_id", *before) == {ALPHA}, name
            if cleared:
                assert seen(login, name, "clearance", *before) == {0, 1}, name


def test_second_run_replaces_the_clearance(target: Target, login: Target) -> None:
    """After the script runs again with a lower clearance, the login can no longer read the higher one."""
    make(target, clearance=0)
    assert seen(login, "peer_latest", "clearance") == {0}


@pytest.mark.parametrize(
    "statement",
    [
        "delete from argus.peer",
        "insert into argus.organisation (name) values ('gamma')",
        "update argus.peer_config set endpoint = ''",
        "select from argus.sample_20260328",
        "select from argus.migration",
        "select argus.organisation_id('beta')",
        "set role argus_reader",
    ],
)
def test_login_has_no_other_rights(login: Target, statement: str) -> None:
    """The login cannot write, bypass a policy or change its role, even after it disables read-only mode."""

    async def work(connection: Connection) -> None:
        await connection.execute("set default_transaction_read_only = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)

    with_connection(login, work)


def test_no_login_for_an_unknown_organisation(target: Target) -> None:
    """For an unknown organisation the script fails and creates no login."""
    with pytest.raises(subprocess.CalledProcessError):
        make(target, organisation="alhpa")
    assert ask(target, "select from pg_roles where rolname = 'grafana_alpha'") == []


def test_a_setting_would_not_be_safe(target: Target) -> None:
    """A reader whose scope is only a setting can change it, which is why the policies have constants."""
    ask(target, "create role settled login in role argus_reader")
    try:
        ask(target, f"alter role settled set app.org_id = {ALPHA}")
        ask(target, "alter role settled set app.clearance = 0")
        settled = replace(target, user="settled")
        assert seen(settled, "peer_latest", "org_id") == {ALPHA}
        assert seen(settled, "peer_latest", "org_id", f"set app.org_id = {BETA}") == {BETA}
    finally:
        ask(target, "drop role settled")
