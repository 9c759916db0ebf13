"""The private PostgreSQL, which the daemon runs if no database is configured.

The server listens only on a Unix socket, requires passwords that only the daemon's user can read, and never
runs as root. When the daemon ends, even by SIGKILL, the kernel sends the server a signal to end. When the
server ends by itself, it is started again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from exporter.store.backoff import Backoff
from exporter.store.database import connection as database
from exporter.store.database import migrate
from exporter.store.database.settings import Target
from exporter.store.embedded.account import account_for
from exporter.store.embedded.binaries import Binaries, directories, find
from exporter.store.embedded.cluster import (
    DATABASE,
    LOGIN,
    PORT,
    SUPERUSER,
    Cluster,
    create,
    last_words,
    lock,
    remove_socket,
    socket_directory,
)
from exporter.store.embedded.process import ServerProcess, end_orphan
from exporter.store.errors import EmbeddedFailed, StoreError

_log = logging.getLogger("argus.postgres")

_STEADY = 60.0  # seconds: after a longer run the next start does not wait longer than the previous one
_IN_USE = "pre-existing shared memory block"  # the error while processes of its last run still exist
_LEFTOVERS = 30.0  # seconds to wait for the end of these processes
_PROVISIONING = "argus-wg: provisioning"  # the name of the session
_HAS_LZ4 = "select 'lz4' = any (enumvals) from pg_settings where name = 'wal_compression'"


@dataclass(frozen=True, slots=True)
class _Site:
    """The files, the programs and the socket of one start."""

    cluster: Cluster
    binaries: Binaries
    socket: Path  # its directory

    def target(self, user: str, name: str = DATABASE) -> Target:
        return Target(str(self.socket), PORT, name, user, self.cluster.password(user))


class PrivatePostgres:
    """The private PostgreSQL of an existing state directory. Start and stop it in one event loop.

    The thread of that loop must live as long as the server is needed: the kernel ends the server when this
    thread ends. `places`: the directories to search for PostgreSQL's programs, in order of preference.
    """

    def __init__(self, state_directory: Path, places: Callable[[], Iterable[Path]] = directories) -> None:
        self._state = state_directory.absolute()
        self._places = places
        self._lock: int | None = None
        self._site: _Site | None = None
        self._server: ServerProcess | None = None
        self._guard: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped. The server may be restarting."""
        return self._guard is not None

    @property
    def pid(self) -> int | None:
        """The server's first process; None = it accepts no connections."""
        return self._server.pid if self._server is not None and self._server.ready else None

    @property
    def superuser(self) -> Target:
        """The superuser, for provisioning only. Raises EmbeddedFailed before the first start."""
        return self._settled().target(SUPERUSER)

    @property
    def target(self) -> Target:
        """The login for everything else; `ready` gives it its rights. Raises as `superuser`."""
        return self._settled().target(LOGIN)

    def _settled(self) -> _Site:
        if self._site is None:
            raise EmbeddedFailed("the private PostgreSQL was not started")
        return self._site

    async def start(self) -> None:
        """Create what is missing, start the server, and wait until it accepts connections.

        Raises EmbeddedFailed. After a failure nothing runs and nothing is locked; it may be called again.
        """
        try:
            await self._start()
        except OSError as error:
            await self.stop()
            where = error.filename or self._state
            raise EmbeddedFailed(f"{where}: {last_words(error.strerror or str(error))}") from error
        except BaseException:
            await self.stop()
            raise
        self._guard = asyncio.create_task(self._keep_running(self._settled()))

    async def ready(self) -> Target:
        """Start the server unless it runs, and grant the login the rights to migrate and to record.

        Returns `target`. Raises StoreError.
        """
        if not self.running:
            await self.start()
        with database.errors(self.superuser):
            superuser = await database.connect(self.superuser, application=_PROVISIONING)
            try:
                await migrate.bootstrap(superuser, LOGIN)
            finally:
                await database.close(superuser)
        return self.target

    async def stop(self) -> None:
        """End the server, if it runs, within 20 s. Committed transactions are on the disk."""
        if self._guard is not None:
            self._guard.cancel()
            await asyncio.gather(self._guard, return_exceptions=True)
            self._guard = None
        if self._server is not None:
            await self._server.end()
            self._server = None
        if self._site is not None:
            remove_socket(self._site.cluster, self._site.socket)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _start(self) -> None:
        self._lock = lock(self._state)
        home = self._state / "postgres"
        exists = home.exists()
        cluster = Cluster(home, account_for(home / "data" if (home / "data").exists() else self._state))
        binaries = await find(self._places(), cluster.account, cluster.major() if exists else None)
        if not exists:
            _log.info("creating a database in %s with %s", home, binaries)
            await create(self._state, cluster.account, binaries)
        self._site = site = _Site(cluster, binaries, socket_directory(cluster))
        cluster.configure(site.socket)
        await self._launch(site)
        await _provision(site)
        _log.info("%s runs as %s on %s", binaries, cluster.account, site.socket)

    async def _launch(self, site: _Site) -> None:
        """Start the server as soon as the processes of an earlier one have ended."""
        deadline = time.monotonic() + _LEFTOVERS
        while True:
            await end_orphan(site.cluster.data, site.socket / f".s.PGSQL.{PORT}.lock")
            self._server = await ServerProcess.start(site.cluster.server(site.binaries))
            try:
                return await self._server.until_ready(site.cluster.data)
            except EmbeddedFailed as error:
                await self._server.end()
                if _IN_USE not in str(error) or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.2)

    async def _keep_running(self, site: _Site) -> None:
        """Start the server again whenever it ends."""
        backoff = Backoff(first=1.0, most=60.0)
        while self._server is not None:
            since = time.monotonic()
            status = await self._server.wait()
            _log.error("PostgreSQL ended (status %d): %s", status, await self._server.last_words())
            await self._server.end()
            if time.monotonic() - since > _STEADY:
                backoff.reset()
            await self._restart(site, backoff)

    async def _restart(self, site: _Site, backoff: Backoff) -> None:
        """Try until the server runs; log a failure unless it is the same as the previous one."""
        logged = ""
        while True:
            await asyncio.sleep(backoff.next())
            try:
                await self._launch(site)
            except (StoreError, OSError) as error:
                if str(error) != logged:
                    logged = str(error)
                    _log.error("PostgreSQL does not start; trying again until it does: %s", error)
            else:
                _log.warning("PostgreSQL runs again")
                return


async def would_start(state_directory: Path) -> str:
    """A text for people: the server that `start` would run, and its directory. Creates nothing.

    Raises EmbeddedFailed, OSError.
    """
    home = state_directory.absolute() / "postgres"
    exists = (home / "data").exists()
    nearest = next(path for path in (home / "data", *home.parents) if path.exists())
    cluster = Cluster(home, account_for(nearest))
    binaries = await find(directories(), cluster.account, cluster.major() if exists else None)
    return f"{binaries} as {cluster.account}, {'with' if exists else 'which creates'} {home}"


async def _provision(site: _Site) -> None:
    """Create the login and its database, and set its password, whose file may have been replaced."""
    try:
        superuser = site.target(SUPERUSER, "postgres")
        connection = await database.connect(superuser, application=_PROVISIONING)
        try:
            with database.errors(superuser):
                await _provision_with(connection, site.cluster.password(LOGIN))
        finally:
            await database.close(connection)
    except StoreError as error:
        raise EmbeddedFailed(
            f"PostgreSQL was started but cannot be used: {error.problem}", error.remedy
        ) from error


async def _provision_with(connection: database.Connection, password: str) -> None:
    if not await connection.fetchval("select 1 from pg_roles where rolname = $1", LOGIN):
        await connection.execute(f"create role {LOGIN} login")
    await connection.execute(f"alter role {LOGIN} password '{password}'")
    # The first change of a page after a checkpoint writes all of it to the log; a snapshot may do so once for
    # every peer. pglz compresses a page in 0.2 ms, lz4 in a twentieth of that. Not every build has lz4.
    if await connection.fetchval(_HAS_LZ4):
        await connection.execute(f"alter role {LOGIN} set wal_compression = lz4")
    if not await connection.fetchval("select 1 from pg_database where datname = $1", DATABASE):
        await connection.execute(f"create database {DATABASE} template template0")
