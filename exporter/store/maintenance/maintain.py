"""The daily work on the records: create partitions ahead, compact old days, drop older ones."""

from __future__ import annotations

from datetime import date, timedelta

from exporter.recording import RecordingState
from exporter.store.database import locks
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
    """Create, compact and drop partitions now.

    A day is compacted `raw_days` after its end, and dropped `history_days` after its end.

    `connection`: the owner's, without a statement timeout. An interrupted run loses nothing; the next one
    continues. `today`: the server's date unless given. While another session maintains the database, this one
    waits; without `wait` it only creates partitions ahead and returns False. Raises errors of the driver.
    """
    recording = recording or RecordingState()
    today = today or await server_today(connection)
    await make_ahead(connection, recording)
    async with locks.held(connection, locks.MAINTENANCE, progress, wait=wait) as held:
        if held:
            await take_in_strays(connection, progress)
            await drop_before(connection, today - timedelta(days=history_days), progress)
            await compact_before(connection, today - timedelta(days=raw_days), progress)
            await count_strays(connection, recording)
    return held
