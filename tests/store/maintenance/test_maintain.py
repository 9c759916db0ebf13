"""The daily maintenance: all of its parts, by one session at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from exporter.instants import DAY, start_of
from exporter.recording import RecordingState
from exporter.store.database import locks
from exporter.store.database.connection import Connection, close, connect, scope
from exporter.store.database.settings import Target
from exporter.store.maintenance.maintain import maintain
from exporter.store.maintenance.partitions import days, server_today
from exporter.store.progress import Progress
from exporter.store.queries.totals import totals
from tests.kit.store.history import (
    DAYS,
    OLD,
    cancelled,
    everything,
    lies,
    name_of,
    organisation,
    record,
    session,
)
from tests.kit.store.schema import migrated

PEERS = range(1, 6)
TODAY = OLD + DAY * 8
STATES = """
insert into argus.peer_state (org_id, peer_id, interface_id, taken_at, receive_counter, transmit_counter,
                              receive_total, transmit_total, clearance)
select org_id, peer_id, interface_id, $2, 0, 0, 10000000000, 10000000000, 0
from argus.peer where org_id = $1"""
GAP = """
insert into argus.gap (org_id, gateway_id, started_at, ended_at, reason, snapshots, clearance)
select $1, gateway_id, $2, $3, 'down', 1, 0 from argus.gateway where org_id = $1"""
ENDS = "select ended_at from argus.gap order by ended_at nulls last"


@pytest.fixture
def login(database: Target) -> Target:
    """An empty database with the schema."""
    return migrated(database)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that waits for the lock tries often."""
    monkeypatch.setattr(locks, "AGAIN", 0.01)


def run(login: Target, work: Callable[[Connection, int], Awaitable[None]]) -> None:
    """`work` with the owner's connection and an organisation that has six days of samples."""

    async def all_of_it() -> None:
        async with session(login) as owner:
            org_id = await organisation(owner, "alpha", PEERS[0], PEERS[-1])
            for day in DAYS[:6]:
                await record(owner, org_id, PEERS, day)
            await work(owner, org_id)

    asyncio.run(all_of_it())


async def maintain_now(owner: Connection, **arguments: object) -> bool:
    """`maintain` as by a daemon that keeps raw days for 3 days and compacted days for 6."""
    settings = {"raw_days": 3, "history_days": 6, "today": TODAY, "progress": Progress(), **arguments}
    return await maintain(owner, **settings)  # type: ignore[arg-type]


class TestMaintained:
    def test_days_are_compacted_then_dropped(self, login: Target) -> None:
        """A day has samples until `raw_days` after its end, one row per peer until `history_days` after it,
        and then none; the next run changes nothing."""

        async def work(owner: Connection, org_id: int) -> None:
            said: list[str] = []
            assert await maintain_now(owner, progress=Progress(say=said.append))
            assert said == [
                *(f"{day}: {name} dropped" for day in DAYS[:2] for name in ("sample", "snapshot")),
                *(f"{day}: compacted" for day in DAYS[2:5]),
            ]
            compacted = {name_of("sample_day", day): len(PEERS) for day in DAYS[2:5]}
            assert await lies(owner) == compacted | {name_of("sample", DAYS[5]): len(PEERS) * 24}
            today = await server_today(owner)
            ahead = [today + DAY * number for number in range(4)]
            assert await days(owner, "sample") == [DAYS[5], *ahead]
            assert await days(owner, "snapshot") == [*DAYS[2:6], *ahead]
            said.clear()
            assert await maintain_now(owner, progress=Progress(say=said.append))
            assert said == []

        run(login, work)

    def test_rows_of_the_default_partition_are_moved(self, login: Target) -> None:
        """Rows in the default partition move to their day, also to a compacted one, and are then counted
        again."""

        async def work(owner: Connection, org_id: int) -> None:
            await maintain_now(owner)
            before = await everything(owner)
            again = "insert into argus.sample select $1, 2, $2, 1, 1, null, 0, true"
            await owner.execute(again, org_id, start_of(DAYS[3]) + timedelta(milliseconds=7))
            await owner.execute(again, org_id, start_of(DAYS[0]))
            recording = RecordingState(default_rows=5)
            assert await maintain_now(owner, recording=recording)
            assert recording.default_rows == 0
            assert len(await everything(owner)) == len(before) + 1
            assert name_of("sample", DAYS[3]) not in await lies(owner)

        run(login, work)

    def test_totals_stay_when_days_go(self, login: Target) -> None:
        """The totals of a peer are in its state, and do not depend on how long days are kept."""

        async def work(owner: Connection, org_id: int) -> None:
            at = start_of(DAYS[5]) + timedelta(hours=23, minutes=59)
            await owner.execute(STATES, org_id, at)
            before = await owner.fetch("select * from argus.peer_state order by peer_id")
            assert await maintain_now(owner, raw_days=0, history_days=0)
            assert await lies(owner) == {}
            assert await owner.fetch("select * from argus.peer_state order by peer_id") == before
            async with scope(owner, org_id):
                found = await totals(owner, org_id, at.timestamp())
            assert found == dict.fromkeys(PEERS, (10**10, 10**10))

        run(login, work)

    def test_gaps_go_with_their_days(self, login: Target) -> None:
        """A gap is kept as long as a day that it overlaps; an open gap is kept."""

        async def work(owner: Connection, org_id: int) -> None:
            kept = start_of(DAYS[2])
            for end in kept - timedelta(milliseconds=1), kept, None:
                await owner.execute(GAP, org_id, start_of(OLD), end)
            await maintain_now(owner)
            assert [row[0] for row in await owner.fetch(ENDS)] == [kept, None]

        run(login, work)

    @pytest.mark.parametrize("after", range(1, 8))
    def test_an_interrupted_run_is_continued(self, login: Target, after: int) -> None:
        """A run that is cancelled after any step leaves no lock, and the next run completes it."""

        async def work(owner: Connection, org_id: int) -> None:
            wanted = [row for row in await everything(owner) if row["taken_at"] >= start_of(DAYS[2])]
            async with session(login) as other:
                await cancelled(lambda progress: maintain_now(other, progress=progress), after)
                assert await maintain_now(owner, wait=False)
            assert await everything(owner) == wanted
            assert name_of("sample_day", DAYS[4]) in await lies(owner)

        run(login, work)


class TestAlone:
    def test_the_second_session_waits_or_returns(self, login: Target) -> None:
        """Without `wait` the second session only creates partitions ahead; with `wait` it says that it waits,
        and does what is left afterwards."""

        async def work(owner: Connection, org_id: int) -> None:
            async with session(login) as first:
                before = await lies(owner)
                async with locks.held(first, locks.MAINTENANCE, Progress()) as held:
                    assert held
                    recording = RecordingState()
                    assert not await maintain_now(owner, wait=False, recording=recording)
                    assert await lies(owner) == before
                    assert recording.partitions_until
                    said: list[str] = []
                    waiting = asyncio.create_task(maintain_now(owner, progress=Progress(say=said.append)))
                    while not said and not waiting.done():
                        await asyncio.sleep(0.005)
                    await asyncio.sleep(locks.AGAIN * 3)
                    assert await lies(first) == before
                assert await waiting
                assert said[0] == "another session maintains this database; waiting for it"
                assert said[1:].count(said[0]) == 0
                assert await lies(first) != before

        run(login, work)

    def test_a_lost_session_releases_the_lock(self, login: Target) -> None:
        """A session that ends without releasing the lock does not hold it any longer."""

        async def work(owner: Connection, org_id: int) -> None:
            first = await connect(login, application="test", role="argus_owner")
            async with locks.held(first, locks.MAINTENANCE, Progress()):
                first.terminate()
                while not await maintain_now(owner, wait=False):
                    await asyncio.sleep(0.005)

        run(login, work)

    def test_many_gateways_at_once(self, login: Target) -> None:
        """Of twenty sessions that start at the same moment none fails or waits, one at a time works, and all
        is done."""

        async def work(owner: Connection, org_id: int) -> None:
            wanted = [row for row in await everything(owner) if row["taken_at"] >= start_of(DAYS[2])]
            gateways = [await connect(login, application="test", role="argus_owner") for _ in range(20)]
            done = await asyncio.gather(*(maintain_now(each, wait=False) for each in gateways))
            await asyncio.gather(*map(close, gateways))
            assert any(done)
            assert await everything(owner) == wanted
            assert set(await lies(owner)) == {
                *(name_of("sample_day", day) for day in DAYS[2:5]),
                name_of("sample", DAYS[5]),
            }

        run(login, work)
