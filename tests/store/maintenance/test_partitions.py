"""Daily partitions: created ahead by several gateways, filled from the default partition, dropped."""

from __future__ import annotations

import asyncio
from datetime import date, datetime, timedelta

import asyncpg
import pytest

from exporter.instants import DAY, start_of
from exporter.recording import RecordingState
from exporter.store.database.connection import Connection, close, connect, scope
from exporter.store.database.settings import Target
from exporter.store.maintenance import partitions
from exporter.store.maintenance.partitions import (
    AHEAD_DAYS,
    days,
    drop_before,
    make_ahead,
    server_today,
    table,
    take_in_strays,
)
from exporter.store.progress import Progress
from tests.kit.store.history import OLD, session, until_it_waits
from tests.kit.store.schema import ask, migrated

SAMPLE = """
insert into argus.sample (org_id, peer_id, taken_at, receive_total, transmit_total, clearance, active)
values (1, $1, $2, 0, 0, 0, true)"""
SNAPSHOT = """
insert into argus.snapshot
    (org_id, gateway_id, taken_at, run, sequence, interfaces, peers, changed, unread, clearance)
values (1, 1, $1, '00000000-0000-0000-0000-000000000007', 1, 1, 1, 1, 0, 0)"""


@pytest.fixture
def login(database: Target) -> Target:
    """A database with the schema, and without daily partitions."""
    return migrated(database)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session gives up a lock after a shorter time."""
    monkeypatch.setattr(partitions, "WAITS", (50, 100))
    monkeypatch.setattr(partitions, "PAUSE", 0.01)


async def counts(connection: Connection) -> dict[str, int]:
    """Partition → the number of its samples."""
    query = "select tableoid::regclass::text, count(*) from argus.sample group by 1"
    return {name.removeprefix("argus."): count for name, count in await connection.fetch(query)}


def at(day: date, hour: int = 12) -> datetime:
    return start_of(day) + timedelta(hours=hour)


class TestMadeAhead:
    def test_by_a_collector(self, login: Target) -> None:
        """A collector creates the partitions of today and the next days, and the recording state has their
        end."""

        async def run() -> None:
            async with session(login, "argus_collector") as collector, session(login) as owner:
                recording = RecordingState()
                await make_ahead(collector, recording)
                today = await server_today(owner)
                wanted = [today + DAY * number for number in range(AHEAD_DAYS + 1)]
                assert await days(owner, "sample") == await days(owner, "snapshot") == wanted
                assert await days(owner, "sample_day") == []
                assert recording.partitions_until == start_of(wanted[-1] + DAY).timestamp()
                assert recording.default_rows == 0

        asyncio.run(run())

    def test_by_several_at_once(self, login: Target) -> None:
        """Eight gateways that start at the same moment create each partition once, without an error."""

        async def run() -> int:
            collectors = [await connect(login, application="test", role="argus_collector") for _ in range(8)]
            made = await asyncio.gather(
                *(each.fetchval("select argus.ensure_partitions($1, 10)", OLD) for each in collectors)
            )
            await asyncio.gather(*map(close, collectors))
            return sum(made)

        assert asyncio.run(run()) == 10 * 2
        partitions = "select count(*) from pg_inherits where inhparent = any($1::text[]::regclass[])"
        assert ask(login, partitions, ["argus.sample", "argus.snapshot"])[0][0] == 10 * 2 + 2

    def test_who_comes_second_waits_for_the_first(self, login: Target) -> None:
        """A session that finds the lock taken soon gives up if a partition is missing; if none is, it does
        not wait."""

        async def run() -> None:
            async with session(login) as first, session(login, "argus_collector") as second:
                lock = first.transaction()
                await lock.start()
                await first.execute("select pg_advisory_xact_lock(hashtext('argus.partitions'))")
                with pytest.raises(asyncpg.LockNotAvailableError):
                    await make_ahead(second, RecordingState())
                await lock.rollback()
                await make_ahead(second, RecordingState())
                lock = first.transaction()
                await lock.start()
                await first.execute("select pg_advisory_xact_lock(hashtext('argus.partitions'))")
                await make_ahead(second, RecordingState())
                await lock.rollback()

        asyncio.run(run())

    @pytest.mark.parametrize("number", [0, -1, 32])
    def test_a_collector_cannot_make_any_number(self, login: Target, number: int) -> None:
        """A collector gets at most a month of partitions in one call."""

        async def run() -> None:
            async with session(login, "argus_collector") as collector:
                with pytest.raises(asyncpg.RaiseError, match="days must be from 1 to 31"):
                    await collector.execute("select argus.ensure_partitions($1, $2)", OLD, number)

        asyncio.run(run())

    def test_a_partition_is_a_day_in_utc(self, login: Target) -> None:
        """A partition is from midnight to midnight in UTC, whatever the session's time zone."""

        async def run() -> None:
            async with session(login) as owner:
                await owner.execute("set timezone = 'Pacific/Kiritimati'")
                await owner.execute("select argus.ensure_partitions($1, 1)", OLD)
                instants = [start_of(OLD), start_of(OLD + DAY) - timedelta(milliseconds=1)]
                outside = [start_of(OLD) - timedelta(milliseconds=1), start_of(OLD + DAY)]
                for number, instant in enumerate(instants + outside):
                    await owner.execute(SAMPLE, number, instant)
                assert await counts(owner) == {f"sample_{OLD:%Y%m%d}": 2, "sample_default": 2}

        asyncio.run(run())


class TestStrays:
    def test_are_counted_and_taken_in(self, login: Target) -> None:
        """Rows in the default partition are counted, and move into partitions created for them."""

        async def run() -> None:
            async with session(login) as owner, session(login, "argus_collector") as collector:
                async with scope(collector, 1):
                    await collector.execute(SAMPLE, 1, at(OLD))
                    await collector.execute(SAMPLE, 2, at(OLD))
                    await collector.execute(SAMPLE, 1, at(OLD + DAY * 40))
                    await collector.execute(SNAPSHOT, at(OLD + DAY))
                recording = RecordingState()
                await make_ahead(collector, recording)
                assert recording.default_rows == 4
                assert await counts(owner) == {"sample_default": 3}
                said: list[str] = []
                await take_in_strays(owner, Progress(say=said.append))
                found = [f"{day}" for day in (OLD, OLD + DAY, OLD + DAY * 40)]
                assert [text.partition(":")[0] for text in said] == found
                assert await counts(owner) == {
                    f"sample_{OLD:%Y%m%d}": 2,
                    f"sample_{OLD + DAY * 40:%Y%m%d}": 1,
                }
                assert await owner.fetchval("select tableoid::regclass::text from argus.snapshot") == table(
                    "snapshot", OLD + DAY
                )
                await make_ahead(collector, recording)
                assert recording.default_rows == 0

        asyncio.run(run())

    def test_that_come_while_their_partition_is_made(self, login: Target) -> None:
        """A row that is being inserted into the default partition is waited for, and moves as well."""

        async def run() -> None:
            async with session(login) as owner, session(login, "argus_collector") as collector:
                async with scope(collector, 1):
                    await collector.execute(SAMPLE, 1, at(OLD))
                    making = asyncio.create_task(owner.execute("select argus.ensure_partitions($1, 1)", OLD))
                    await until_it_waits(login, owner)
                await making
                assert await counts(owner) == {f"sample_{OLD:%Y%m%d}": 1}

        asyncio.run(run())

    def test_counting_is_limited(self, login: Target) -> None:
        """A million rows count as at least a thousand, because they are counted every hour."""

        async def run() -> int:
            async with session(login) as owner:
                await owner.execute(
                    "insert into argus.sample (org_id, peer_id, taken_at, receive_total, transmit_total, "
                    "clearance, active) select 1, n, now() + interval '1 year', 0, 0, 0, true "
                    "from generate_series(1, 1500) n"
                )
                recording = RecordingState()
                await make_ahead(owner, recording)
                return recording.default_rows

        assert asyncio.run(run()) == 1000

    def test_in_use_are_left_to_the_next_run(self, login: Target) -> None:
        """While a session reads the default partition, its rows stay there, and the progress says so."""

        async def run() -> None:
            async with session(login) as owner, session(login) as other:
                await owner.execute(SAMPLE, 1, at(OLD))
                said: list[str] = []
                async with other.transaction():
                    await other.execute("select from argus.sample_default")
                    await take_in_strays(owner, Progress(say=said.append))
                assert said == [
                    f"{OLD}: the default partition is in use by another session; the next run does it"
                ]
                assert await counts(owner) == {"sample_default": 1}
                await take_in_strays(owner, Progress())
                assert await counts(owner) == {f"sample_{OLD:%Y%m%d}": 1}

        asyncio.run(run())


class TestDropped:
    def test_are_the_days_before_one(self, login: Target) -> None:
        """Days before the first one to keep are dropped; it and later ones stay."""

        async def run() -> None:
            async with session(login) as owner:
                await owner.execute("select argus.ensure_partitions($1, 4)", OLD)
                await owner.execute("select argus.make_partition('argus.sample_day', $1)", OLD)
                for number in range(4):
                    await owner.execute(SAMPLE, 1, at(OLD + DAY * number))
                said: list[str] = []
                await drop_before(owner, OLD + DAY * 2, Progress(say=said.append))
                kept = [OLD + DAY * 2, OLD + DAY * 3]
                assert await days(owner, "sample") == await days(owner, "snapshot") == kept
                assert await days(owner, "sample_day") == []
                assert sum((await counts(owner)).values()) == 2
                assert said == [
                    f"{OLD}: sample dropped",
                    f"{OLD}: sample_day dropped",
                    f"{OLD}: snapshot dropped",
                    f"{OLD + DAY}: sample dropped",
                    f"{OLD + DAY}: snapshot dropped",
                ]

        asyncio.run(run())

    @pytest.mark.parametrize("where", ["argus.sample", "argus.sample_20260328"])
    def test_unless_another_session_has_a_lock(self, login: Target, where: str) -> None:
        """A day that another session has locked is left to the next run, which the progress says; the
        partitions of other tables are dropped."""

        async def run() -> None:
            async with session(login) as owner, session(login) as reader:
                await owner.execute("select argus.ensure_partitions($1, 1)", OLD)
                said: list[str] = []
                async with reader.transaction():
                    await reader.execute(f"lock table only {where} in access share mode")
                    await drop_before(owner, OLD + DAY, Progress(say=said.append))
                assert said == [
                    f"{OLD}: sample is in use by another session; the next run does it",
                    f"{OLD}: snapshot dropped",
                ]
                assert await days(owner, "sample") == [OLD]
                await drop_before(owner, OLD + DAY, Progress())
                assert await days(owner, "sample") == []

        asyncio.run(run())

    def test_sessions_behind_it_wait_only_briefly(
        self, login: Target, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While a drop is tried in vain, later readers and writers continue."""
        monkeypatch.setattr(partitions, "WAITS", (800,))

        async def run() -> None:
            async with session(login) as owner, session(login) as reader, session(login) as other:
                await owner.execute("select argus.ensure_partitions($1, 1)", OLD)
                async with reader.transaction():
                    await reader.execute("select from argus.sample")
                    dropping = asyncio.create_task(drop_before(owner, OLD + DAY, Progress()))
                    await until_it_waits(login, owner)
                    await other.execute(SAMPLE, 1, at(OLD))
                    assert await counts(other) == {f"sample_{OLD:%Y%m%d}": 1}
                    await dropping

        asyncio.run(run())
