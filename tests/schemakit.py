"""What the tests of the schema share: work on a connection, a database with the schema in it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from exporter.store import migrate
from exporter.store.database import Connection, Role, connect, leave
from exporter.store.progress import Progress
from exporter.store.settings import Target

T = TypeVar("T")


def with_connection(
    target: Target, work: Callable[[Connection], Awaitable[T]], *, role: Role | None = None
) -> T:
    """What `work` gives on a connection of its own."""

    async def run() -> T:
        connection = await connect(target, application="test", role=role)
        try:
            return await work(connection)
        finally:
            await leave(connection)

    return asyncio.run(run())


def migrated(target: Target, login: str = "argus") -> Target:
    """The whole schema in a fresh database, as `login` reaches it: a member of the owner and the collector."""

    async def start(connection: Connection) -> None:
        await migrate.bootstrap(connection, login)

    async def fill(connection: Connection) -> None:
        await migrate.migrate(connection, progress=Progress())

    with_connection(target, start)
    with_connection(replace(target, user=login), fill)
    return replace(target, user=login)
