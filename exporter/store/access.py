"""The way to the database, for as long as the daemon runs: the private server where none is configured, the
schema brought up to date, connections with no more rights than they need."""

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

PRIVATE = "embedded"  # what `RecordingState.database` says of a server of our own

_log = logging.getLogger(__name__)


class DatabaseAccess:
    """Everything but the constructor and `explain` belongs to one event loop, whose thread has to live as
    long as the private server is wanted. What fails may be called again.

    The constructor raises InputError for settings that are wrong.
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
        """A collector's connection to a database with the right schema. Raises StoreError."""
        where = await self._place()
        connection = self._noted(
            await connect(where, application="argus-wg recorder", role="argus_collector")
        )
        try:
            with errors(where):
                await migrate.check(connection)
        except BaseException:
            self._prepared = False  # somebody restored another database under this name
            await close(connection)
            raise
        return connection

    async def open_as_owner(self) -> Connection:
        """For long work on what was recorded: without a limit of time. Raises StoreError; DatabaseRefused
        where the login is no member of argus_owner."""
        where = await self._place()
        return self._noted(
            await connect(where, application="argus-wg maintenance", role="argus_owner", statement_timeout=0)
        )

    def explain(self, error: BaseException) -> StoreError:
        """What an error of the driver means."""
        return error if isinstance(error, StoreError) else explain(error, self._where())

    def hang_up(self) -> None:
        """Ends every connection without a word to the server, which does not answer."""
        for connection in self._connections:
            connection.terminate()

    async def close(self) -> None:
        """Ends the private server; connections are closed before."""
        if self._embedded:
            await self._embedded.stop()

    def _noted(self, connection: Connection) -> Connection:
        self._connections.add(connection)
        return connection

    async def _place(self) -> Target:
        """Where the database is: up, as far as that is ours to see to, and with its schema."""
        async with self._lock:
            if self._embedded and not self._embedded.running:
                await self._embedded.start()
            where = self._where()
            if not self._prepared:
                await self._prepare(where)
                self._prepared = True
        return where

    def _where(self) -> Target:
        """Read anew: a password may have been replaced, a certificate renewed."""
        if self._embedded:
            return self._embedded.target
        try:
            where = target(self._database, self._environ)
        except InputError as error:
            raise DatabaseRefused(str(error)) from error
        if where is None:
            raise DatabaseRefused("PGSERVICE names no host any more: correct its file, or restart argus-wg")
        return where

    async def _prepare(self, where: Target) -> None:
        if self._embedded:
            superuser = self._embedded.superuser
            connection = await connect(superuser, application="argus-wg migrate")
            try:
                with errors(superuser):
                    await migrate.bootstrap(connection, where.user)
            finally:
                await close(connection)
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
