"""A private PostgreSQL for one benchmark, run as the daemon runs it, on this host's disk."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from exporter.store.database import migrate
from exporter.store.database.connection import Connection, Role, close, connect
from exporter.store.database.settings import Target
from exporter.store.embedded.postgres import PrivatePostgres, would_start
from exporter.store.errors import EmbeddedFailed
from exporter.store.progress import Progress

T = TypeVar("T")

DISK = "/var/tmp"  # on a disk; /tmp may be in memory
READER = "bench_reader"


def missing() -> str:
    """Why PostgreSQL cannot run on this host; "" = it can."""
    try:
        asyncio.run(would_start(Path(DISK)))
    except (EmbeddedFailed, OSError) as error:
        return str(error)
    return ""


@dataclass(slots=True)
class Database:
    """A server with the schema, and the event loop of the connections to it."""

    superuser: Target
    collector: Target
    reader: Target
    runner: asyncio.Runner
    _connections: list[Connection] = field(default_factory=list)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def timed(self, work: Callable[[], Awaitable[object]]) -> float:
        """Runs `work`, and returns the seconds that it took."""

        async def clocked() -> float:
            started = time.perf_counter()
            await work()
            return time.perf_counter() - started

        return self.run(clocked())

    def connect(self, target: Target, role: Role | None = None) -> Connection:
        """Opens a connection. It is closed together with the database."""
        connection = self.run(connect(target, application="argus-wg bench", role=role, statement_timeout=0))
        self._connections.append(connection)
        return connection

    def close(self) -> None:
        for connection in self._connections:
            self.run(close(connection))


@contextmanager
def running() -> Iterator[Database]:
    """Starts a server with the schema and a login that is only a reader; deletes it and its data at the
    end."""
    with tempfile.TemporaryDirectory(prefix="argus-bench-", dir=DISK) as folder, asyncio.Runner() as runner:
        state = Path(folder)
        state.chmod(0o711 if os.geteuid() == 0 else 0o700)
        embedded = PrivatePostgres(state)
        try:
            runner.run(embedded.ready())
            password = secrets.token_urlsafe()
            runner.run(_prepare(embedded, password))
            reader = replace(embedded.target, user=READER, password=password)
            database = Database(embedded.superuser, embedded.target, reader, runner)
            try:
                yield database
            finally:
                database.close()
        finally:
            runner.run(embedded.stop())


async def _prepare(embedded: PrivatePostgres, password: str) -> None:
    superuser = await connect(embedded.superuser, application="bench")
    owner = await connect(embedded.target, application="bench")
    await migrate.migrate(owner, progress=Progress())
    await superuser.execute(f"create role {READER} login password '{password}' in role argus_reader")
    await close(owner)
    await close(superuser)
