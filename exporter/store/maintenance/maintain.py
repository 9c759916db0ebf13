"""What is to be done every day: partitions made ahead, old days compacted, older ones dropped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta

import asyncpg

from exporter.recording import RecordingState
from exporter.store.database.connection import Connection
from exporter.store.maintenance.compaction import compact_before
from exporter.store.maintenance.partitions import (
    count_strays,
    drop_before,
    make_ahead,
    server_today,
    take_in_strays,
)
from exporter.store.progress import Progress

TRY = "select pg_try_advisory_lock(hashtext('argus.maintenance'))"
UNLOCK = "select pg_advisory_unlock(hashtext('argus.maintenance'))"
LOCK_AGAIN = 0.5  # seconds


async def maintain(
    connection: Connection,
    *,
    raw_days: int,
    history_days: int,
    progress: Progress,
    recording: RecordingState | None = None,
    today: date | None = None,
    wait: bool = True,
) -> bool:
    """All of it, now. A day is compacted `raw_days` after its end, and dropped `history_days` after it.

    `connection`: the owner's, without a statement timeout. It can be interrupted at any time, and the next
    run goes on from there. `today` is the server's unless given. While another session is at it, this one
    waits; without `wait` it only makes partitions ahead, and gives False. Raises what the driver does.
    """
    recording = recording or RecordingState()
    today = today or await server_today(connection)
    await make_ahead(connection, recording)
    async with alone(connection, progress, wait=wait) as held:
        if held:
            await take_in_strays(connection, progress)
            await drop_before(connection, today - timedelta(days=history_days), progress)
            await compact_before(connection, today - timedelta(days=raw_days), progress)
            await count_strays(connection, recording)
    return held


@asynccontextmanager
async def alone(connection: Connection, progress: Progress, *, wait: bool = True) -> AsyncIterator[bool]:
    """Hold the lock of all who rewrite what was recorded. It ends with the session if not before.

    While another session has it, this one waits; without `wait` it goes on without, and that is False.
    """
    held: bool = await connection.fetchval(TRY)
    if wait and not held:
        progress.say("another session maintains this database; waiting for it")
        while not held:
            await asyncio.sleep(LOCK_AGAIN)
            held = await connection.fetchval(TRY)
    try:
        yield held
    finally:
        if held:
            with contextlib.suppress(asyncpg.InterfaceError, asyncpg.PostgresError, OSError):
                await connection.fetchval(UNLOCK)
