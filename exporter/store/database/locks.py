"""The advisory locks in the database.

A key never changes, so that programs of different versions still exclude each other. The server releases a
lock when the session that holds it ends.

One more lock is taken only by the function argus.ensure_partitions (migration 0004):
hashtext('argus.partitions').
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from exporter.store.database.connection import Connection
from exporter.store.progress import Progress

AGAIN = 0.5  # seconds between two attempts


@dataclass(frozen=True, slots=True)
class Lock:
    """`key`: an SQL expression. `busy`: the message while another session holds the lock."""

    key: str
    busy: str


MIGRATION = Lock(str(0x6172677573), "another argus-wg is migrating this database; waiting for it")
MAINTENANCE = Lock("hashtext('argus.maintenance')", "another session maintains this database; waiting for it")


@asynccontextmanager
async def held(
    connection: Connection, lock: Lock, progress: Progress, *, wait: bool = True
) -> AsyncIterator[bool]:
    """Hold a lock in the block, which gets True.

    While another session holds it, this one waits. Without `wait` the block runs at once, without the lock,
    and gets False.
    """
    attempt = f"select pg_try_advisory_lock({lock.key})"
    acquired: bool = await connection.fetchval(attempt)
    if wait and not acquired:
        progress.say(lock.busy)
        while not acquired:
            await asyncio.sleep(AGAIN)
            acquired = await connection.fetchval(attempt)
    try:
        yield acquired
    finally:
        if acquired:
            with contextlib.suppress(asyncpg.InterfaceError, asyncpg.PostgresError, OSError):
                await connection.fetchval(f"select pg_advisory_unlock({lock.key})")
