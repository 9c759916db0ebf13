"""The database connection of a command."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from exporter.config import Config
from exporter.store.database import connection as database
from exporter.store.database.connection import Connection, Role
from exporter.store.database.settings import Target, target
from exporter.store.embedded.postgres import PrivatePostgres
from exporter.store.errors import EmbeddedFailed


@asynccontextmanager
async def connected(
    settings: Config, command: str, with_daemon: str, role: Role | None = None
) -> AsyncIterator[tuple[Target, Connection]]:
    """The database and a connection to it, without a statement timeout.

    Without a configured database, the private server runs until the end. `with_daemon` says how to do the
    same on a host where a daemon runs that server. Raises `StoreError`, also for errors of the driver inside.
    """
    async with _place(settings, with_daemon) as where:
        connection = await database.connect(
            where, application=f"argus-wg {command}", role=role, statement_timeout=0
        )
        try:
            with database.errors(where):
                yield where, connection
        finally:
            await database.close(connection)


@asynccontextmanager
async def _place(settings: Config, with_daemon: str) -> AsyncIterator[Target]:
    configured = target(settings.database, os.environ)
    if configured:
        yield configured
        return
    server = PrivatePostgres(settings.state_directory)
    try:
        try:
            where = await server.ready()
        except EmbeddedFailed as error:
            remedy = ". ".join(filter(None, (error.remedy, with_daemon)))
            raise EmbeddedFailed(error.problem, remedy) from error
        yield where
    finally:
        await server.stop()
