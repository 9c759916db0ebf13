"""A private PostgreSQL for as long as this process lives, where no database is configured.

It speaks on a Unix socket alone, with passwords that only the daemon's user may read, and runs as anybody but
root. When the daemon ends, however it ends, the kernel tells the server to end; when the server ends, it is
started again.
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

_STEADY = 60.0  # seconds after which a server that ends is not one that does not start
_IN_USE = "pre-existing shared memory block"  # what it says while processes of its last run are still ending
_LEFTOVERS = 30.0  # seconds they get
_HAS_LZ4 = "select 'lz4' = any (enumvals) from pg_settings where name = 'wal_compression'"


@dataclass(frozen=True, slots=True)
class _Site:
    """What one start settled."""

    cluster: Cluster
    binaries: Binaries
    socket: Path  # its directory

    def target(self, user: str, name: str = DATABASE) -> Target:
        return Target(str(self.socket), PORT, name, user, self.cluster.password(user))


class PrivatePostgres:
    """The private PostgreSQL of a state directory, which exists. Start and stop it in one event loop.

    The thread of that loop has to live as long as the server is wanted: to the kernel its end is the end of
    the daemon. `places`: where to look for PostgreSQL's programs, the best first.
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
        """Was it started, and not stopped? It may be starting again just now."""
        return self._guard is not None

    @property
    def alive(self) -> bool:
        """Does it take connections?"""
        return self._server is not None and self._server.ready

    @property
    def pid(self) -> int | None:
        """Of the server's first process; None = it takes no connections."""
        return self._server.pid if self._server is not None and self._server.ready else None

    @property
    def superuser(self) -> Target:
        """For provisioning alone. Raises EmbeddedFailed before the first start."""
        return self._settled().target(SUPERUSER)

    @property
    def target(self) -> Target:
        """For everything else: a login without any right until it is granted some. Raises as `superuser`."""
        return self._settled().target(LOGIN)

    def _settled(self) -> _Site:
        if self._site is None:
            raise EmbeddedFailed("the private PostgreSQL was not started")
        return self._site

    async def start(self) -> None:
        """Makes what is not there yet, and returns when it takes connections. Raises EmbeddedFailed.

        After a failure nothing runs and nothing is held: it may be called again.
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

    async def stop(self) -> None:
        """Ends it within 20 s; what it confirmed is on the disk. Does nothing when it does not run."""
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
        there = home.exists()
        cluster = Cluster(home, account_for(home / "data" if (home / "data").exists() else self._state))
        binaries = await find(self._places(), cluster.account, cluster.major() if there else None)
        if not there:
            _log.info("making a database in %s with %s", home, binaries)
            await create(self._state, cluster.account, binaries)
        self._site = site = _Site(cluster, binaries, socket_directory(cluster))
        cluster.configure(site.socket)
        await self._launch(site)
        await _provision(site)
        _log.info("%s runs as %s on %s", binaries, cluster.account, site.socket)

    async def _launch(self, site: _Site) -> None:
        """Starts the server, once those that an earlier one left have ended."""
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
        """Starts it again whenever it ends."""
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
        """Tries until it runs; a failure is logged when it is another than the last one."""
        said = ""
        while True:
            await asyncio.sleep(backoff.next())
            try:
                await self._launch(site)
            except (StoreError, OSError) as error:
                if str(error) != said:
                    said = str(error)
                    _log.error("PostgreSQL is tried again until it starts: %s", error)
            else:
                _log.warning("PostgreSQL runs again")
                return


async def would_start(state_directory: Path) -> str:
    """What `start` would run and on what, in words. Makes nothing. Raises EmbeddedFailed, OSError."""
    home = state_directory.absolute() / "postgres"
    there = (home / "data").exists()
    nearest = next(path for path in (home / "data", *home.parents) if path.exists())
    cluster = Cluster(home, account_for(nearest))
    binaries = await find(directories(), cluster.account, cluster.major() if there else None)
    return f"{binaries} as {cluster.account}, {'on' if there else 'which makes'} {home}"


async def _provision(site: _Site) -> None:
    """The login and its database; at every start, so that a password that was replaced holds."""
    try:
        superuser = site.target(SUPERUSER, "postgres")
        connection = await database.connect(superuser, application="argus-wg: provisioning")
        try:
            with database.errors(superuser):
                await _provision_with(connection, site.cluster.password(LOGIN))
        finally:
            await database.close(connection)
    except StoreError as error:
        raise EmbeddedFailed(f"PostgreSQL was started, and is of no use: {error}") from error


async def _provision_with(connection: database.Connection, password: str) -> None:
    if not await connection.fetchval("select 1 from pg_roles where rolname = $1", LOGIN):
        await connection.execute(f"create role {LOGIN} login")
    await connection.execute(f"alter role {LOGIN} password '{password}'")
    # With its first change after a checkpoint a page goes into the log as a whole, in a snapshot one for each
    # peer: pglz takes 0.2 ms for it, lz4 a twentieth of that. Not every build has lz4.
    if await connection.fetchval(_HAS_LZ4):
        await connection.execute(f"alter role {LOGIN} set wal_compression = lz4")
    if not await connection.fetchval("select 1 from pg_database where datname = $1", DATABASE):
        await connection.execute(f"create database {DATABASE} template template0")
