"""`argus-wg reclassify`: effects, output and exit codes, with a configured and with the private server."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.commands import reclassify as reclassifycommand
from exporter.errors import InputError
from exporter.store.database import locks, migrate
from exporter.store.database.connection import Connection, close, connect
from exporter.store.database.settings import Target
from exporter.store.embedded.postgres import PrivatePostgres
from exporter.store.errors import DatabaseRefused, EmbeddedFailed, SchemaMismatch
from exporter.store.progress import Progress
from tests.kit.gateways import key
from tests.kit.servers.postgres import available
from tests.kit.store.embedded import state_directory
from tests.kit.store.reclassification import recorded
from tests.kit.store.schema import ask, migrated, with_connection

ENTRY = (
    "import argparse, sys; from exporter.commands import reclassify as command; "
    "parser = argparse.ArgumentParser(); command.add_arguments(parser); "
    "sys.exit(command.run(parser.parse_args()))"
)
GW = ("--organisation", "acme", "--gateway", "gw")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGSERVICE", "SUDO_USER"):
        monkeypatch.delenv(name, raising=False)


def command(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    reclassifycommand.add_arguments(parser)
    return reclassifycommand.run(parser.parse_args([str(word) for word in words]))


def configuration(folder: Path, database: Target) -> Path:
    path = folder / "argus-wg.yml"
    path.write_text(
        f"database:\n  address: {database.host}\n  name: {database.database}\n  user: {database.user}\n"
    )
    return path


@pytest.fixture
def login(database: Target) -> Target:
    """A database with recorded data."""
    login = migrated(database)
    asyncio.run(recorded(login))
    return login


@pytest.fixture
def file(tmp_path: Path, login: Target) -> Path:
    """A configuration with that database."""
    return configuration(tmp_path, login)


def clearances(database: Target) -> list[int]:
    """The clearances of acme's gateway gw and of its interfaces."""
    rows = ask(
        database,
        "select clearance from argus.gateway where org_id = 1 and name = 'gw' union all "
        "select i.clearance from argus.interface i join argus.gateway g using (org_id, gateway_id) "
        "where org_id = 1 and g.name = 'gw'",
    )
    return [row["clearance"] for row in rows]


def test_it_is_looked_at_then_done(
    database: Target, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--check counts the rows of each table and changes nothing; without it that many rows are rewritten, and
    the audit events name the user that called sudo."""
    monkeypatch.setenv("SUDO_USER", "ann")
    assert command("--config", file, *GW, "--clearance", "3", "--check") == 0
    shown, said = capsys.readouterr()
    assert said == ""
    counts = {table: int(rows) for table, rows in map(str.split, shown.splitlines())}
    assert counts["gateway"] == 1
    assert counts["peer"] == 3
    assert min(counts["sample"], counts["sample_day"]) > 0
    assert clearances(database) == [0, 0, 0]
    assert command("--config", file, *GW, "--clearance", "3") == 0
    shown, said = capsys.readouterr()
    assert shown == ""
    lines = said.splitlines()
    assert lines[0] == "gw: the current rows have clearance 3"
    assert lines[-1].endswith(f"gw has clearance 3; {sum(counts.values())} rows were rewritten")
    assert clearances(database) == [3, 3, 3]
    actors = ask(database, "select distinct actor from argus.audit_event where action like 'reclass%'")
    assert [row["actor"] for row in actors] == [f"ann on {socket.gethostname()}"]


def test_a_gateway_is_lowered_alone_unless_all_in_it_is_asked_for(
    database: Target, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output names the setting that would raise it again; interfaces change only with --with-contents."""
    command("--config", file, *GW, "--clearance", "3")
    capsys.readouterr()
    assert command("--config", file, *GW, "--clearance", "1") == 0
    assert "the next snapshot raises it again: change it there first" in capsys.readouterr().err
    assert clearances(database) == [1, 3, 3]
    assert command("--config", file, *GW, "--clearance", "1", "--with-contents") == 0
    assert clearances(database) == [1, 1, 1]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--organisation", "acme"), "--gateway: is missing"),
        (
            ("--organisation", "acme", "--interface", "wg0", "--peer", key(1)),
            "--interface: needs --gateway",
        ),
        ((*GW, "--peer", key(1), "--with-contents"), "--with-contents: cannot be used with --peer"),
        ((*GW, "--interface", "wg9"), "--interface: gateway gw has no interface wg9; there is wg0, wg1"),
    ],
)
def test_contradictions_are_errors(file: Path, words: tuple[str, ...], problem: str) -> None:
    """Options that contradict each other, and names that do not exist, are errors of the command line."""
    with pytest.raises(InputError, match=f"^the command line: {problem}"):
        command("--config", file, *words, "--clearance", "1")


@pytest.mark.parametrize("clearance", ["-1", "32768", "x", "1.5", "", "٣"])
def test_a_clearance_is_a_number(clearance: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Any other text is wrong usage; no database is contacted."""
    with pytest.raises(SystemExit) as ended:
        command(*GW, f"--clearance={clearance}")
    assert ended.value.code == 2
    assert "write a number from 0 to 32767" in capsys.readouterr().err


def test_who_may_not_is_told(tmp_path: Path, database: Target, login: Target) -> None:
    """With a login that only records, the error names the missing privilege, and nothing is done."""
    name = f"collects_{database.database}"
    ask(database, f"create role {name} login")
    try:
        ask(database, f"grant argus_collector to {name}")
        file = configuration(tmp_path, replace(login, user=name))
        with pytest.raises(DatabaseRefused, match="grant the login the missing right"):
            command("--config", file, *GW, "--clearance", "1")
    finally:
        ask(database, f"drop role {name}")
    assert clearances(database) == [0, 0, 0]


def test_a_database_without_the_schema_is_to_be_migrated(tmp_path: Path, database: Target) -> None:
    """With a database that was never migrated, the error names the command to run first."""
    with pytest.raises((SchemaMismatch, DatabaseRefused), match="`argus-wg migrate`"):
        command("--config", configuration(tmp_path, database), *GW, "--clearance", "1")


def test_an_interrupt_says_how_it_goes_on(file: Path, database: Target, login: Target) -> None:
    """Ctrl-C while the command waits ends it with 130 and one line; running it again continues."""
    words = [sys.executable, "-c", ENTRY, "--config", str(file), *GW, "--clearance", "3"]

    async def work(owner: Connection) -> None:
        async with locks.held(owner, locks.MAINTENANCE, Progress()):
            process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
            assert process.stderr
            with process:
                said = [process.stderr.readline() for _ in range(2)]
                assert said[1] == "another session maintains this database; waiting for it\n"
                process.send_signal(signal.SIGINT)
                last = process.stderr.read().splitlines()[-1]
            assert last.startswith("argus-wg: interrupted; finished steps stay")
            assert process.returncode == 130

    left = (
        "select from argus.snapshot s join argus.gateway g using (org_id, gateway_id) "
        "where org_id = 1 and g.name = 'gw' and s.clearance < 3"
    )
    with_connection(login, work, role="argus_owner")
    assert clearances(database) == [3, 3, 3]
    assert ask(database, left)
    assert command(*words[3:]) == 0
    assert not ask(database, left)


def test_the_private_server_is_reached_beside_its_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an address the private server is used; while a daemon runs it, the error says how to connect to
    it, and that works."""
    available("15")
    with state_directory() as state:
        file = tmp_path / "argus-wg.yml"
        file.write_text(f"state_directory: {state}\n")
        words = "--config", file, *GW, "--clearance", "1"
        with pytest.raises(SchemaMismatch, match="run `argus-wg migrate`"):
            command(*words)

        async def daemon() -> None:
            server = PrivatePostgres(state)
            await server.ready()
            try:
                with pytest.raises(EmbeddedFailed, match="with PGHOST, PGUSER, PGDATABASE and PGPASSWORD"):
                    await asyncio.to_thread(command, *words)
                owner = await connect(server.target, application="test")
                await migrate.migrate(owner, progress=Progress())
                await close(owner)
                for name, value in (
                    ("PGHOST", server.target.host),
                    ("PGUSER", server.target.user),
                    ("PGDATABASE", server.target.database),
                    ("PGPASSWORD", server.target.password),
                ):
                    monkeypatch.setenv(name, value)
                with pytest.raises(InputError, match=r"there is no organisation acme$"):
                    await asyncio.to_thread(command, *words)
            finally:
                await server.stop()

        asyncio.run(daemon())
