"""`argus-wg migrate`: effects, output and exit codes, with a configured and with the private server."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from exporter.commands import migrate as migratecommand
from exporter.store.database import locks, migrate
from exporter.store.database.settings import Target
from exporter.store.embedded.postgres import PrivatePostgres
from exporter.store.errors import EmbeddedFailed, SchemaMismatch
from tests.kit import commands as commandkit
from tests.kit.commands import INTERRUPTED, configuration, holding, interrupted, without_environment
from tests.kit.servers.postgres import PostgresServer, available
from tests.kit.store.embedded import state_directory
from tests.kit.store.schema import migrated

command = partial(commandkit.command, migratecommand)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    without_environment(monkeypatch)


@pytest.fixture
def file(tmp_path: Path, database: Target) -> Path:
    """A configuration with the new database."""
    return configuration(tmp_path, database)


def test_a_database_is_asked_then_migrated_then_fine(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--check fails and changes nothing before a migration, and succeeds after it."""
    with pytest.raises(SchemaMismatch, match="run `argus-wg migrate`"):
        command("--config", file, "--check")
    assert command("--config", file) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == migrate.latest() + 1
    assert said[0] == "migration 1, scope: applied"
    assert said[-1].endswith(f": the schema has version {migrate.latest()}")
    assert command("--config", file, "--check") == 0
    assert capsys.readouterr().err.splitlines() == said[-1:]


def test_a_plain_server_is_not_distributed(file: Path) -> None:
    """--distribute migrates first, and then fails without a cluster."""
    with pytest.raises(SchemaMismatch, match="does not have the extension citus"):
        command("--config", file, "--distribute")
    assert command("--config", file, "--check") == 0


def test_an_interrupt_says_how_it_goes_on(file: Path, postgres: PostgresServer, database: Target) -> None:
    """Ctrl-C while the command waits ends it with 130 and one line, and releases all locks."""
    migrated(database)
    with holding(postgres, database, f"select pg_advisory_lock({locks.MIGRATION.key})"):
        waits = "another argus-wg is migrating this database; waiting for it"
        assert interrupted("migrate", "--config", file) == (130, [waits, INTERRUPTED])
    assert command("--config", file) == 0


def test_without_an_address_the_private_server_is_migrated(tmp_path: Path) -> None:
    """The private server is set up; while a daemon runs it, the error says so."""
    available("15")
    with state_directory() as state:
        file = tmp_path / "argus-wg.yml"
        file.write_text(f"state_directory: {state}\n")
        with pytest.raises(SchemaMismatch, match="does not exist"):
            command("--config", file, "--check")
        assert command("--config", file) == 0
        assert command("--config", file, "--check") == 0

        async def daemon() -> None:
            server = PrivatePostgres(state)
            await server.start()
            try:
                with pytest.raises(EmbeddedFailed, match=r"Where a daemon runs, it migrates at its start"):
                    await asyncio.to_thread(command, "--config", file)
            finally:
                await server.stop()

        asyncio.run(daemon())
