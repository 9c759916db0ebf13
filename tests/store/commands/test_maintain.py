"""`argus-wg maintain`: effects, output and exit codes, with a configured and with the private server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import pytest

from exporter.commands import maintain as maintaincommand
from exporter.commands import migrate as migratecommand
from exporter.errors import InputError
from exporter.store.database import locks
from exporter.store.database.connection import Connection
from exporter.store.database.settings import Target
from exporter.store.embedded.postgres import PrivatePostgres
from exporter.store.errors import DatabaseRefused, EmbeddedFailed, SchemaMismatch
from exporter.store.maintenance.partitions import server_today
from tests.kit import commands as commandkit
from tests.kit.commands import INTERRUPTED, configuration, holding, interrupted, without_environment
from tests.kit.servers.postgres import PostgresServer, available
from tests.kit.store.embedded import state_directory
from tests.kit.store.history import lies, name_of, organisation, record, session
from tests.kit.store.schema import migrated, with_connection

PEERS = range(1, 4)
AGES = (20, 6, 2)  # days


command = partial(commandkit.command, maintaincommand)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    without_environment(monkeypatch)


@pytest.fixture
def login(database: Target) -> Target:
    """A database with samples of three days: 20, 6 and 2 days old."""

    async def fill() -> None:
        async with session(target) as owner:
            org_id = await organisation(owner, "alpha", PEERS[0], PEERS[-1])
            for day in await aged(owner):
                await record(owner, org_id, PEERS, day)

    target = migrated(database)
    asyncio.run(fill())
    return target


async def aged(owner: Connection) -> list[date]:
    today = await server_today(owner)
    return [today - timedelta(days=days) for days in AGES]


def found(login: Target) -> list[str]:
    """The state of each of the three days: raw, compacted, or dropped."""

    async def look(owner: Connection) -> list[str]:
        there = await lies(owner)
        states = {"sample": "raw", "sample_day": "compacted"}
        return [
            "".join(state for parent, state in states.items() if name_of(parent, day) in there)
            for day in await aged(owner)
        ]

    return with_connection(login, look, role="argus_owner")


@pytest.mark.parametrize(
    ("more", "words", "wanted"),
    [
        ("", (), ["compacted", "raw", "raw"]),
        ("recording:\n  keep_raw: 3d\n  keep_history: 10d\n", (), ["", "compacted", "raw"]),
        ("recording:\n  keep_raw: 90000\n", (), ["compacted", "compacted", "raw"]),
        ("", ("--raw-days", "1"), ["compacted", "compacted", "compacted"]),
        ("", ("--raw-days", "0", "--history-days", "0"), ["", "", ""]),
        ("recording:\n  keep_raw: 3d\n", ("--history-days", "5"), ["", "", "raw"]),
    ],
)
def test_days_are_kept_as_configured_or_asked(
    login: Target,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: str,
    words: tuple[str, ...],
    wanted: list[str],
) -> None:
    """A day is compacted and dropped after the configured number of days; options override the configuration.
    A part of a day counts as a whole day."""
    file = configuration(tmp_path, login, more)
    assert command("--config", file, *words) == 0
    assert found(login) == wanted
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == f"{login}: maintained"
    assert len([line for line in said if line.endswith(": compacted")]) == wanted.count("compacted")
    assert command("--config", file, *words) == 0
    assert capsys.readouterr().err.splitlines() == said[-1:]


@pytest.mark.parametrize(
    "words",
    [("--raw-days", "8", "--history-days", "7"), ("--history-days", "6"), ("--raw-days", "500")],
)
def test_a_day_is_not_dropped_before_it_is_compacted(
    tmp_path: Path, login: Target, words: tuple[str]
) -> None:
    """With --history-days below --raw-days the command is an error, and nothing is done."""
    with pytest.raises(InputError, match="--history-days: must be"):
        command("--config", configuration(tmp_path, login), *words)
    assert found(login) == ["raw", "raw", "raw"]


@pytest.mark.parametrize("text", ["-1", "1.5", "week", "", "100000", "²"])
def test_a_number_of_days_is_one(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A text that is not a number of days is wrong usage."""
    with pytest.raises(SystemExit) as ended:
        command(f"--raw-days={text}")
    assert ended.value.code == 2
    assert f"argument --raw-days: {text} is not a number of days; write 0, 1, 2 …" in capsys.readouterr().err


def test_a_schema_that_is_not_there_is_told(database: Target, tmp_path: Path) -> None:
    """With a database that was never migrated, the error names the command to run first."""
    with pytest.raises((SchemaMismatch, DatabaseRefused), match="`argus-wg migrate`"):
        command("--config", configuration(tmp_path, database))


def test_a_login_without_the_right_is_told(login: Target, tmp_path: Path, postgres: PostgresServer) -> None:
    """With a login that is not a member of argus_owner, nothing is done and the error has a remedy."""
    stranger = replace(login, user="stranger")
    postgres.sql("create role stranger login")
    try:
        with pytest.raises(DatabaseRefused, match="`argus-wg migrate` prints the statements"):
            command("--config", configuration(tmp_path, stranger))
    finally:
        postgres.sql("drop role stranger")
    assert found(login) == ["raw", "raw", "raw"]


def test_an_interrupt_says_how_it_goes_on(login: Target, tmp_path: Path, postgres: PostgresServer) -> None:
    """While another session maintains, the command waits and says so; Ctrl-C ends it with 130 and releases
    all locks."""
    file = configuration(tmp_path, login)
    words = "--config", file, "--raw-days", "1"
    with holding(postgres, login, f"select pg_advisory_lock({locks.MAINTENANCE.key})"):
        waits = "another session maintains this database; waiting for it"
        assert interrupted("maintain", *words) == (130, [waits, INTERRUPTED])
        assert found(login) == ["raw", "raw", "raw"]
    assert command(*words) == 0
    assert found(login) == ["compacted", "compacted", "compacted"]


def test_without_an_address_the_private_server_is_maintained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The private server works once it has a schema; while a daemon runs it, the error says so."""
    available("15")
    with state_directory() as state:
        file = tmp_path / "argus-wg.yml"
        file.write_text(f"state_directory: {state}\n")
        with pytest.raises(SchemaMismatch, match="run `argus-wg migrate`"):
            command("--config", file)
        assert commandkit.command(migratecommand, "--config", file) == 0
        assert command("--config", file) == 0
        assert capsys.readouterr().err.endswith(": maintained\n")

        async def daemon() -> None:
            server = PrivatePostgres(state)
            await server.start()
            try:
                with pytest.raises(EmbeddedFailed, match="it maintains its database every hour"):
                    await asyncio.to_thread(command, "--config", file)
            finally:
                await server.stop()

        asyncio.run(daemon())
