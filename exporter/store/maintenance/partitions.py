"""Daily partitions: create them ahead, list them, drop them.

A change of partitions waits for its lock only briefly and is tried again later, because every reader and
writer of the table queues behind a session that waits for such a lock.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import date

import asyncpg

from exporter.instants import DAY, start_of
from exporter.recording import RecordingState
from exporter.store.database.connection import Connection
from exporter.store.progress import Progress

AHEAD_DAYS = 3  # beyond today
DAILY = ("sample", "sample_day", "snapshot")
WAITS = (100, 200, 400, 800)  # lock_timeout of each try in ms; below the server's deadlock_timeout
PAUSE = 0.5  # seconds between two tries
IN_USE = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)

CHILDREN = """
select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = $1::text::regclass"""
STRAYS = """
select (taken_at at time zone 'UTC')::date as day from argus.sample_default
union select (taken_at at time zone 'UTC')::date from argus.snapshot_default order by day"""


async def make_ahead(connection: Connection, recording: RecordingState) -> None:
    """Create the partitions of today and the next days.

    Sets `recording.partitions_until` and `default_rows`. `connection`: a collector's or the owner's. Raises
    errors of the driver.
    """
    today = await server_today(connection)

    async def make() -> None:
        await connection.execute("select argus.ensure_partitions($1, $2)", today, AHEAD_DAYS + 1)

    await without_waiting(connection, make)
    recording.partitions_until = start_of(today + DAY * (AHEAD_DAYS + 1)).timestamp()
    await count_strays(connection, recording)


async def count_strays(connection: Connection, recording: RecordingState) -> None:
    """Set `recording.default_rows`: the rows in the default partitions. Each partition is counted up to
    1,000."""
    recording.default_rows = await connection.fetchval("select argus.default_partition_rows()")


async def take_in_strays(connection: Connection, progress: Progress) -> None:
    """Create partitions for the rows in the default partitions, and move them. `connection`: the owner's."""
    days = [row["day"] for row in await connection.fetch(STRAYS)]
    progress.expect(len(days))
    for day in days:

        async def make(day: date = day) -> None:
            await connection.execute("select argus.ensure_partitions($1, 1)", day)

        with if_not_in_use(f"{day}: the default partition", progress):
            await without_waiting(connection, make)
            progress.say(f"{day}: rows moved from the default partition into the partition of the day")
        progress.step()


async def drop_before(connection: Connection, first: date, progress: Progress) -> None:
    """Drop the days before `first`, and the gaps that ended before it. `connection`: the owner's."""
    old = [(day, parent) for parent in DAILY for day in await days(connection, parent) if day < first]
    progress.expect(len(old))
    for day, parent in sorted(old):

        async def drop(name: str = table(parent, day)) -> None:
            await connection.execute(f"drop table {name}")

        with if_not_in_use(f"{day}: {parent}", progress):
            await without_waiting(connection, drop)
            progress.say(f"{day}: {parent} dropped")
        progress.step()
    await connection.execute("delete from argus.gap where ended_at < $1", start_of(first))


async def days(connection: Connection, parent: str) -> list[date]:
    """The days for which a table has a partition, in order."""
    names = [row["relname"] for row in await connection.fetch(CHILDREN, f"argus.{parent}")]
    found = (re.fullmatch(rf"{parent}_([0-9]{{4}})([0-9]{{2}})([0-9]{{2}})", name) for name in names)
    return sorted(date(*map(int, match.groups())) for match in found if match)


def table(parent: str, day: date) -> str:
    """The qualified name of the partition of a day."""
    return f"argus.{parent}_{day:%Y%m%d}"


async def server_today(connection: Connection) -> date:
    """The server's date in UTC, which is the same for all gateways."""
    today: date = await connection.fetchval("select (now() at time zone 'UTC')::date")
    return today


@contextmanager
def if_not_in_use(name: str, progress: Progress) -> Iterator[None]:
    """Report, instead of raising, that another session holds a lock that the block needs."""
    try:
        yield
    except IN_USE:
        progress.say(f"{name} is in use by another session; the next run does it")


async def without_waiting(connection: Connection, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` in a transaction with a short lock_timeout; try again a few times if it expires."""
    for wait in WAITS:
        try:
            async with connection.transaction():
                await connection.execute(f"set local lock_timeout = {wait}")
                await work()
        except IN_USE:
            if wait == WAITS[-1]:
                raise
            await asyncio.sleep(PAUSE)
        else:
            return
