"""The daemon's access to the database: the private server if none is configured, the schema, connections."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakSet

from exporter.config import DatabaseSettings
from exporter.errors import InputError
from exporter.recording import RecordingState, Work
from exporter.store.database import migrate
from exporter.store.database.connection import Connection, close, connect, errors, explain
from exporter.store.database.settings import Target, target
from exporter.store.embedded.postgres import PrivatePostgres
from exporter.store.errors import DatabaseRefused, StoreError
from exporter.store.progress import Progress

PRIVATE = "embedded"  # the value of `RecordingState.database` for the private server

_log = logging.getLogger(__name__)


class DatabaseAccess:
    """Opens connections. Before the first, it starts the private server, if there is one, and migrates the
    schema.

    All methods but `explain` belong to one event loop, whose thread must live as long as the private server
    is needed. A method that failed may be called again. The constructor raises InputError for wrong settings.
    """

    def __init__(
        self,
        database: DatabaseSettings,
        state_directory: Path,
        environ: Mapping[str, str],
        recording: RecordingState,
    ) -> None:
        self._database = database
        self._environ = environ
        self._recording = recording
        configured = target(database, environ)
        self._embedded = None if configured else PrivatePostgres(state_directory)
        self._prepared = False
        self._lock = asyncio.Lock()
        self._connections = WeakSet[Connection]()
        recording.database = str(configured or PRIVATE)

    async def open(self) -> Connection:
        """A connection of a collector, after the schema was checked. Raises StoreError."""
        where = await self._place()
        connection = self._noted(
            await connect(where, application="argus-wg recorder", role="argus_collector")
        )
        try:
            with errors(where):
                await migrate.check(connection)
        except BaseException:
            self._prepared = False  # another database may have been restored under this name
            await close(connection)
            raise
        return connection

    async def open_as_owner(self) -> Connection:
        """A connection of the owner, without a statement timeout. Raises StoreError; DatabaseRefused if the
        login is no member of argus_owner."""
        where = await self._place()
        return self._noted(
            await connect(where, application="argus-wg maintenance", role="argus_owner", statement_timeout=0)
        )

    def explain(self, error: BaseException) -> StoreError:
        """The StoreError that an error of the driver means."""
        return error if isinstance(error, StoreError) else explain(error, self._where())

    def hang_up(self) -> None:
        """Drop every connection at once, for a server that does not answer."""
        for connection in self._connections:
            connection.terminate()

    async def close(self) -> None:
        """End the private server. Close all connections first."""
        if self._embedded:
            await self._embedded.stop()

    def _noted(self, connection: Connection) -> Connection:
        self._connections.add(connection)
        return connection

    async def _place(self) -> Target:
        """The database, after the private server was started, if there is one, and the schema migrated."""
        async with self._lock:
            if self._embedded and not (self._prepared and self._embedded.running):
                await self._embedded.ready()
            where = self._where()
            if not self._prepared:
                await self._prepare(where)
                self._prepared = True
        return where

    def _where(self) -> Target:
        """The database. Files are read each time, as a password or a certificate may have been replaced."""
        if self._embedded:
            return self._embedded.target
        try:
            where = target(self._database, self._environ)
        except InputError as error:
            raise DatabaseRefused(error.problem, error.remedy) from error
        if where is None:
            raise DatabaseRefused("PGSERVICE names no host any more", "correct its file, or restart argus-wg")
        return where

    async def _prepare(self, where: Target) -> None:
        connection = self._noted(await connect(where, application="argus-wg migrate", statement_timeout=0))
        try:
            with errors(where), self._shown("migrate") as progress:
                await migrate.ensure(connection, progress=progress)
        finally:
            await close(connection)

    @contextmanager
    def _shown(self, name: str) -> Iterator[Progress]:
        work = self._recording.work[name] = Work()
        try:
            yield Progress(work, _log.info)
        finally:
            del self._recording.work[name]
