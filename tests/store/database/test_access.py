"""The daemon's access to the database: configured or private, with the right schema, and its errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from exporter.config import DatabaseSettings
from exporter.errors import InputError
from exporter.recording import RecordingState
from exporter.store.access import PRIVATE, DatabaseAccess
from exporter.store.database import migrate
from exporter.store.database.connection import close
from exporter.store.database.settings import Target
from exporter.store.embedded.postgres import PrivatePostgres
from exporter.store.errors import DatabaseRefused, EmbeddedFailed, SchemaMismatch
from tests.kit.servers.postgres import available
from tests.kit.store.embedded import state_directory
from tests.kit.store.schema import ask, migrated

T = TypeVar("T")
ROLE = "select current_user::text"
VERSION = "select max(version) from argus.migration"


def with_access(
    database: DatabaseSettings,
    work: Callable[[DatabaseAccess, RecordingState], Awaitable[T]],
    state: Path = Path("/nonexistent"),
) -> T:
    """The result of `work`, in the event loop that the access belongs to."""

    async def run() -> T:
        recording = RecordingState()
        access = DatabaseAccess(database, state, {}, recording)
        try:
            return await work(access, recording)
        finally:
            await access.close()

    return asyncio.run(run())


async def asked(access: DatabaseAccess, query: str) -> object:
    connection = await access.open()
    try:
        return await connection.fetchval(query)
    finally:
        await close(connection)


def place(target: Target, **other: str) -> DatabaseSettings:
    return DatabaseSettings(target.host, target.database, other.get("user", target.user))


def test_the_first_connection_migrates(database: Target) -> None:
    """An empty database gets the latest schema, and connections have only the rights of a collector."""

    async def work(access: DatabaseAccess, recording: RecordingState) -> None:
        assert recording.database == str(database)
        assert await asked(access, VERSION) == migrate.latest()
        assert await asked(access, ROLE) == "argus_collector"
        assert recording.work == {}

    with_access(place(database), work)


def test_simultaneous_opens_migrate_once(database: Target) -> None:
    """Simultaneous opens, as by the recorder and the maintenance at start, migrate once."""

    async def work(access: DatabaseAccess, _: RecordingState) -> None:
        found = await asyncio.gather(*(asked(access, VERSION) for _ in range(4)))
        assert found == [migrate.latest()] * 4

    with_access(place(database), work)


def test_an_empty_restored_database_is_migrated_again(database: Target) -> None:
    """After an open that found no schema, the next open creates it."""
    migrated(database)

    async def work(access: DatabaseAccess, _: RecordingState) -> None:
        assert await asked(access, VERSION) == migrate.latest()
        await asyncio.to_thread(ask, database, "drop schema argus cascade")
        with pytest.raises((SchemaMismatch, DatabaseRefused)):
            await asked(access, VERSION)
        assert await asked(access, VERSION) == migrate.latest()

    with_access(place(database), work)


def test_a_login_without_rights(database: Target) -> None:
    """A login without rights creates nothing, and the error contains the statements for an administrator."""
    ask(database, "create role access_bare login")

    async def work(access: DatabaseAccess, _: RecordingState) -> None:
        with pytest.raises(DatabaseRefused, match=r"grant argus_owner to|create role argus_owner"):
            await asked(access, VERSION)

    try:
        with_access(place(database, user="access_bare"), work)
    finally:
        ask(database, "drop role access_bare")


def test_a_password_file_is_read_with_each_connection(database: Target, tmp_path: Path) -> None:
    """A password file that is lost while the daemon runs refuses connections; at start it is a wrong
    setting."""
    migrated(database)
    file = tmp_path / "password"
    file.write_text("any\n")
    file.chmod(0o600)
    with_file = replace(place(database), password_file=file)

    async def work(access: DatabaseAccess, _: RecordingState) -> None:
        assert await asked(access, ROLE) == "argus_collector"
        file.unlink()
        with pytest.raises(DatabaseRefused, match="password"):
            await asked(access, ROLE)
        file.write_text("another\n")
        file.chmod(0o600)
        assert await asked(access, ROLE) == "argus_collector"

    with_access(with_file, work)
    file.unlink()
    with pytest.raises(InputError, match="password"):
        with_access(with_file, work)


def test_the_private_server_is_started_and_stopped() -> None:
    """Without an address the private server is started and migrated, and stopped when the access is
    closed."""
    available("15")
    with state_directory() as state:

        async def work(access: DatabaseAccess, recording: RecordingState) -> None:
            assert recording.database == PRIVATE
            assert await asked(access, VERSION) == migrate.latest()
            connection = await access.open_as_owner()
            try:
                assert await connection.fetchval(ROLE) == "argus_owner"
            finally:
                await close(connection)

        with_access(DatabaseSettings(), work, state)
        assert not (state / "postgres/data/postmaster.pid").exists()


def test_a_private_server_of_another_process_is_tried_again() -> None:
    """While another process runs the private server, opening fails; after its end the next try works."""
    available("15")
    with state_directory() as state:

        async def work(access: DatabaseAccess, _: RecordingState) -> None:
            other = PrivatePostgres(state)
            await other.start()
            try:
                with pytest.raises(EmbeddedFailed, match="another argus-wg"):
                    await asked(access, VERSION)
            finally:
                await other.stop()
            assert await asked(access, VERSION) == migrate.latest()

        with_access(DatabaseSettings(), work, state)
