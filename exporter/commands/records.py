"""What commands that work on the records share: a connection, progress, an interrupt that loses nothing."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

from exporter.config import Config
from exporter.store.database import connection as database
from exporter.store.database.connection import Connection, Role
from exporter.store.database.settings import Target, target
from exporter.store.embedded.postgres import PrivatePostgres
from exporter.store.errors import EmbeddedFailed
from exporter.store.progress import Progress, shown

EPILOG = """
It can be interrupted at any time, and goes on where it was when it is run again.
Exit codes: 0 done, 1 it failed{}, 2 wrong usage or configuration file, 130 interrupted."""


def work(title: str, job: Callable[[Progress], Coroutine[None, None, None]]) -> int:
    """Does it, with its progress on standard error; the exit code."""
    try:
        with shown(title) as progress:
            asyncio.run(job(progress))
    except KeyboardInterrupt:
        sys.stderr.write(
            "argus-wg: interrupted; what was done is kept, and the next run goes on from there\n"
        )
        return 130
    return 0


@asynccontextmanager
async def connected(
    settings: Config, command: str, daemon: str, role: Role | None = None
) -> AsyncIterator[tuple[Target, Connection]]:
    """The database and a connection to it, without a statement timeout: to the server that is configured, or
    to the private one, which runs until the end.

    `daemon` says what to do where a daemon has the private server. Raises `StoreError`; what the driver
    raises inside becomes one.
    """
    application = f"argus-wg {command}"
    async with _place(settings, daemon) as where:
        connection = await database.connect(where, application=application, role=role, statement_timeout=0)
        try:
            with database.errors(where):
                yield where, connection
        finally:
            await database.close(connection)


@asynccontextmanager
async def _place(settings: Config, daemon: str) -> AsyncIterator[Target]:
    configured = target(settings.database, os.environ)
    if configured:
        yield configured
        return
    server = PrivatePostgres(settings.state_directory)
    try:
        try:
            where = await server.ready()
        except EmbeddedFailed as error:
            raise EmbeddedFailed(f"{error}. {daemon}") from error
        yield where
    finally:
        await server.stop()
