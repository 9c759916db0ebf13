"""Compaction: no sample is lost, doubled or seen too early, whatever interrupts it or writes meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import asyncpg
import pytest
from asyncpg import Record

from exporter.instants import DAY, start_of
from exporter.store.database.connection import Connection, scope
from exporter.store.database.settings import Target
from exporter.store.maintenance import compaction, partitions
from exporter.store.maintenance.compaction import TRIES, compact_before
from exporter.store.maintenance.partitions import drop_before, take_in_strays
from exporter.store.progress import Progress
from exporter.store.queries.samples import any_compacted
from tests.kit.servers.postgres import PostgresServer
from tests.kit.store.history import (
    DAYS,
    OLD,
    Interruptible,
    cancelled,
    everything,
    lies,
    name_of,
    organisation,
    record,
    session,
    until_it_waits,
)
from tests.kit.store.schema import migrated

BATCH = 3  # peers per batch
PEERS = range(1, 8)
STEPS = 2 * 3  # of a day of two organisations with these peers
BUILT = (0, 3, 6, 7, 10, 13, 14)  # rows after so many steps
RAW, COMPACTED = name_of("sample", OLD), name_of("sample_day", OLD)
BUILDING = f"argus.{COMPACTED}_building"
LATE = """
insert into argus.sample
    (org_id, peer_id, taken_at, receive_total, transmit_total, handshake_age, clearance, active)
values ($1, $2, $3, $4, $5, $6, $7, $8)"""


@pytest.fixture
def login(database: Target) -> Target:
    """An empty database with the schema."""
    return migrated(database)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches, and short waits for locks."""
    monkeypatch.setattr(compaction, "PEERS", BATCH)
    monkeypatch.setattr(partitions, "WAITS", (50, 100))
    monkeypatch.setattr(partitions, "PAUSE", 0.01)


def run(login: Target, work: Callable[[Connection, int], Awaitable[None]]) -> None:
    """`work` with the owner's connection and an organisation; a second one has peers with the same
    numbers."""

    async def all_of_it() -> None:
        async with session(login) as owner:
            org_id = await organisation(owner, "alpha", PEERS[0], PEERS[-1])
            other = await organisation(owner, "beta", PEERS[0], PEERS[-1])
            for each in org_id, other:
                await record(owner, each, PEERS, OLD)
            await work(owner, org_id)

    asyncio.run(all_of_it())


async def compact(owner: Connection, progress: Progress | None = None) -> list[str]:
    """Compact the first day; the reported sentences."""
    said: list[str] = []
    await compact_before(owner, OLD + DAY, progress or Progress(say=said.append))
    return said


class TestADay:
    def test_has_one_row_for_each_peer_and_the_same_samples(self, login: Target) -> None:
        """A compacted day has every sample of every peer, and its partition of samples is gone."""

        async def work(owner: Connection, org_id: int) -> None:
            for day in DAYS[1:3]:
                await record(owner, org_id, PEERS, day)
            before = await everything(owner)
            said: list[str] = []
            await compact_before(owner, DAYS[2], Progress(say=said.append))
            assert said == [f"{DAYS[0]}: compacted", f"{DAYS[1]}: compacted"]
            assert await everything(owner) == before
            assert len(before) == 4 * len(PEERS) * 24
            assert await lies(owner) == {
                COMPACTED: 2 * len(PEERS),
                name_of("sample_day", DAYS[1]): len(PEERS),
                name_of("sample", DAYS[2]): len(PEERS) * 24,
            }
            assert await partitions.days(owner, "sample") == DAYS[2:3]
            tables = "select count(*) from pg_class where relname ~ 'building' and relkind = 'r'"
            assert await owner.fetchval(tables) == 0

        run(login, work)

    def test_is_done_once(self, login: Target) -> None:
        """Another run finds nothing to do, and reports nothing."""

        async def work(owner: Connection, org_id: int) -> None:
            assert await compact(owner) == [f"{OLD}: compacted"]
            progress = Progress()
            await compact_before(owner, OLD + DAY, progress)
            assert progress.work.goal == 0

        run(login, work)

    def test_its_steps_are_announced(self, login: Target) -> None:
        """The number of steps is announced before they are done."""

        async def work(owner: Connection, org_id: int) -> None:
            progress = Progress()
            await compact(owner, progress)
            assert (progress.work.done, progress.work.goal) == (STEPS, STEPS)

        run(login, work)

    @pytest.mark.parametrize(("most", "wide"), [(1e6, (0, 0)), (1e9, (7, 0)), (1e12, (7, 7))])
    def test_of_much_traffic_is_wide(self, login: Target, most: float, wide: tuple[int, int]) -> None:
        """For 2 GiB or more on a day the wide column is used, for received and sent bytes separately."""

        async def work(owner: Connection, org_id: int) -> None:
            await record(owner, org_id, PEERS, DAYS[1], most=most)
            before = await everything(owner)
            await compact_before(owner, DAYS[2], Progress())
            assert await everything(owner) == before
            count = "select count(receive_wide), count(transmit_wide) from argus.sample_day where day = $1"
            assert tuple(await owner.fetchrow(count, DAYS[1])) == wide  # type: ignore[arg-type]

        run(login, work)

    def test_at_the_edges_of_what_fits(self, login: Target) -> None:
        """Deltas of 2³¹ - 1 and 2³¹ bytes, the greatest totals, totals that decrease, the first and the last
        millisecond, and a handshake in the same second are kept."""

        async def work(owner: Connection, org_id: int) -> None:
            await owner.execute("delete from argus.sample")
            first, last = start_of(OLD), start_of(OLD + DAY) - timedelta(milliseconds=1)
            most = 2**63 - 1
            ends = [
                (1, 0, 2**31 - 1),
                (2, 0, 2**31),
                (3, most - 1, most),
                (4, 0, most),
                (5, 2**31, 0),
                (6, 2**31 + 1, 0),
            ]
            for peer, begin, end in ends:
                await owner.execute(LATE, org_id, peer, first, begin, end, 0, 0, True)
                await owner.execute(LATE, org_id, peer, last, end, begin, None, 0, True)
            before = await everything(owner)
            await compact(owner)
            assert await everything(owner) == before
            wide = "select array_agg(peer_id order by peer_id) from argus.sample_day where receive is null"
            assert await owner.fetchval(wide) == [2, 4, 6]
            assert await lies(owner) == {COMPACTED: len(ends)}

        run(login, work)

    def test_with_a_sample_alone(self, login: Target) -> None:
        """A peer with one idle sample on the day is kept."""

        async def work(owner: Connection, org_id: int) -> None:
            await owner.execute("delete from argus.sample")
            await owner.execute(LATE, org_id, 5, start_of(OLD), 7, 8, None, 2, False)
            before = await everything(owner)
            await compact(owner)
            assert await everything(owner) == before

        run(login, work)

    def test_is_as_secret_as_its_most_secret_sample(self, login: Target) -> None:
        """A compacted day has the highest clearance of its samples."""

        async def work(owner: Connection, org_id: int) -> None:
            raised = "update argus.sample set clearance = 3 where peer_id = 4 and taken_at >= $1"
            await owner.execute(raised, start_of(OLD) + DAY / 2)
            await compact(owner)
            found = "select peer_id, clearance from argus.sample_day where org_id = $1 order by 1"
            wanted = [(peer, 3 if peer == 4 else peer % 2) for peer in PEERS]
            assert [tuple(row) for row in await owner.fetch(found, org_id)] == wanted

        run(login, work)

    def test_takes_few_bytes(self, login: Target) -> None:
        """A day of 40 peers at 30 seconds takes at most 20 bytes per sample in total, instead of 100."""

        async def work(owner: Connection, org_id: int) -> None:
            await owner.execute("delete from argus.sample")
            await record(owner, org_id, range(1, 41), DAYS[1], samples=2880)
            raw = await size(owner, f"argus.{name_of('sample', DAYS[1])}")
            await compact_before(owner, DAYS[2], Progress())
            assert raw / (40 * 2880) > 90
            assert await size(owner, f"argus.{name_of('sample_day', DAYS[1])}") / (40 * 2880) < 20

        async def size(owner: Connection, name: str) -> int:
            size: int = await owner.fetchval("select pg_total_relation_size($1::text::regclass)", name)
            return size

        run(login, work)


class TestInterrupted:
    @pytest.mark.parametrize("how", ["cancelled", "killed"])
    def test_after_any_batch(self, login: Target, postgres: PostgresServer, how: str) -> None:
        """After an interruption the built rows stay hidden, all samples are visible, and the next run builds
        the rest."""
        rows = "select org_id, peer_id, xmin::text from {} order by 1, 2"

        async def interrupted(owner: Connection, number: int) -> list[Record]:
            def interrupt() -> None:
                if how == "killed":
                    kill = f"select pg_terminate_backend({owner.get_server_pid()})"
                    postgres.sql(kill, database=login.database)
                else:
                    task.cancel()

            day = DAYS[number]
            task = asyncio.create_task(compact_before(owner, day + DAY, Interruptible(number, interrupt)))
            with pytest.raises((asyncio.CancelledError, asyncpg.PostgresError, asyncpg.InterfaceError)):
                await task
            async with session(login) as again:
                building = f"argus.{name_of('sample_day', day)}_building"
                for role in "argus_collector", "argus_reader":
                    may = "select has_table_privilege($1, $2, 'select, insert, update, delete')"
                    assert not await again.fetchval(may, role, building)
                built = await again.fetch(rows.format(building))
                assert len(built) == BUILT[number]
                return built

        async def work(owner: Connection, org_id: int) -> None:
            for number in range(1, STEPS):
                for each in org_id, org_id + 1:
                    await record(owner, each, PEERS, DAYS[number])
                before = await everything(owner)
                async with session(login) as other:
                    built = await interrupted(other, number)
                assert await everything(owner) == before
                await compact_before(owner, DAYS[number] + DAY, Progress())
                assert await everything(owner) == before
                final = await owner.fetch(rows.format(f"argus.{name_of('sample_day', DAYS[number])}"))
                assert len(final) == 2 * len(PEERS)
                assert set(built) <= set(final)

        async def begin(owner: Connection, org_id: int) -> None:
            await compact(owner)
            await work(owner, org_id)

        run(login, begin)

    def test_while_it_waits_to_take_its_place(self, login: Target, monkeypatch: pytest.MonkeyPatch) -> None:
        """A day that was built but not attached is attached by the next run, which builds nothing."""
        monkeypatch.setattr(partitions, "WAITS", (60_000,))

        async def work(owner: Connection, org_id: int) -> None:
            before = await everything(owner)
            async with session(login) as reader, reader.transaction():
                await reader.execute(f"lock table only argus.{RAW} in access share mode")
                async with session(login) as other:
                    task = asyncio.create_task(compact(other))
                    await until_it_waits(login, other)
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                assert await everything(owner) == before
                built = await owner.fetch(f"select ctid, xmin from {BUILDING} order by 1")
            assert await compact(owner) == [f"{OLD}: compacted"]
            assert await everything(owner) == before
            assert await owner.fetch(f"select ctid, xmin from argus.{COMPACTED} order by 1") == built

        run(login, work)

    def test_and_dropped_before_it_went_on(self, login: Target) -> None:
        """The built table of a day that is no longer kept is dropped."""

        async def work(owner: Connection, org_id: int) -> None:
            await cancelled(partial(compact, owner), after=1)
            assert await owner.fetchval("select to_regclass($1)::text", BUILDING) == BUILDING
            await drop_before(owner, OLD + DAY, Progress())
            await compact(owner)
            assert await owner.fetchval("select to_regclass($1)::text", BUILDING) is None
            assert await everything(owner) == []

        run(login, work)


class TestLate:
    def test_samples_are_merged(self, login: Target) -> None:
        """New instants, a new peer, and an instant that is recorded again are merged as the writer merges
        them, twice in succession."""

        async def work(owner: Connection, org_id: int) -> None:
            await compact(owner)
            for hour in 3, 4:
                before = await everything(owner)
                twice = next(row for row in before if row["org_id"] == org_id and row["active"])
                await owner.execute("select argus.ensure_partitions($1, 1)", OLD)
                more = twice["receive_total"] + 5, twice["transmit_total"] - 5
                at = start_of(OLD) + timedelta(hours=hour, milliseconds=500)
                await owner.execute(LATE, org_id, 3, at, 10**9, 10**8, 5, 1, False)
                await owner.execute(LATE, org_id, 40 + hour, at, 10, 10, None, 0, True)
                added = await everything(owner)
                await owner.execute(LATE, org_id, twice["peer_id"], twice["taken_at"], *more, None, 1, False)
                assert await compact(owner) == [f"{OLD}: compacted"]
                merged = {**twice, "receive_total": more[0]}
                found = await everything(owner)
                assert [dict(row) for row in found] == [
                    merged if row == twice else dict(row) for row in added
                ]
                assert len(found) == len(before) + 2
                assert set(await lies(owner)) == {COMPACTED}

        run(login, work)

    def test_samples_that_found_no_partition(self, login: Target) -> None:
        """A row for a compacted day that went to the default partition is moved and merged."""

        async def work(owner: Connection, org_id: int) -> None:
            await compact(owner)
            async with session(login, "argus_collector") as collector, scope(collector, org_id):
                await collector.execute(LATE, org_id, 3, start_of(OLD), 7, 7, None, 1, True)
            assert (await lies(owner))["sample_default"] == 1
            before = await everything(owner)
            await take_in_strays(owner, Progress())
            await compact(owner)
            assert await everything(owner) == before
            assert set(await lies(owner)) == {COMPACTED}

        run(login, work)

    def test_samples_that_come_while_the_day_is_built(self, login: Target, postgres: PostgresServer) -> None:
        """If a sample arrives for a peer that was built already, the day is built again with it."""

        async def work(owner: Connection, org_id: int) -> None:
            progress = Interruptible(2, lambda: add_sample(postgres, login, org_id))
            await compact(owner, progress)
            assert progress.work.done == progress.work.goal == 2 * STEPS
            assert len(await everything(owner)) == 2 * len(PEERS) * 24 + 1
            assert set(await lies(owner)) == {COMPACTED}

        run(login, work)

    def test_samples_that_keep_coming(self, login: Target, postgres: PostgresServer) -> None:
        """A day that changes whenever it is built is left to the next run, and the progress says so."""

        class Busy(Progress):
            def step(self, name: str = "", steps: int = 1) -> None:
                super().step(name, steps)
                if self.work.done % STEPS == 0:
                    add_sample(postgres, login, 1, self.work.done)

        async def work(owner: Connection, org_id: int) -> None:
            said: list[str] = []
            await compact(owner, Busy(say=said.append))
            assert said == [f"{OLD}: new samples keep arriving; the next run compacts the day"]
            assert set(await lies(owner)) == {RAW}
            before = await everything(owner)
            assert len(before) == 2 * len(PEERS) * 24 + TRIES
            assert await compact(owner) == [f"{OLD}: compacted"]
            assert await everything(owner) == before

        run(login, work)


def add_sample(postgres: PostgresServer, login: Target, org_id: int, milliseconds: int = 1) -> None:
    """Insert a sample of the first peer, by another session."""
    at = f"'{OLD} 01:01:01Z'::timestamptz + {milliseconds} * interval '1 ms'"
    statement = (
        "insert into argus.sample (org_id, peer_id, taken_at, receive_total, transmit_total, clearance, "
        f"active) values ({org_id}, 1, {at}, 7, 7, 1, true)"
    )
    postgres.sql(statement, database=login.database)


class TestReaders:
    def test_find_each_sample_once_meanwhile(self, login: Target, database: Target) -> None:
        """Readers get the same answer at any time while days are compacted and merged."""

        async def ask(reader: Connection, org_id: int) -> tuple[object, ...]:
            async with scope(reader, org_id, 1):
                row = await reader.fetchrow(
                    "select count(*), sum(receive_total), count(distinct taken_at) from argus.peer_history"
                )
                assert row
                return tuple(row)

        async def ask_on(reader: Connection, org_id: int, answers: list[tuple[object, ...]]) -> None:
            while True:
                answers.append(await ask(reader, org_id))

        async def work(owner: Connection, org_id: int) -> None:
            for day in DAYS[1:6]:
                await record(owner, org_id, PEERS, day)
            async with session(database, "argus_reader") as one, session(database, "argus_reader") as two:
                for round in range(3):
                    wanted = await ask(one, org_id)
                    answers: list[tuple[object, ...]] = []
                    asking = [asyncio.create_task(ask_on(each, org_id, answers)) for each in (one, two)]
                    await compact_before(owner, DAYS[6], Progress())
                    for task in asking:
                        task.cancel()
                    await asyncio.gather(*asking, return_exceptions=True)
                    assert set(answers) == {wanted}
                    assert any(name.startswith("sample_day") for name in await lies(owner))
                    for day in DAYS[:6]:
                        await owner.execute("select argus.ensure_partitions($1, 1)", day)
                        at = start_of(day) + timedelta(hours=2, milliseconds=100 + round)
                        await owner.execute(LATE, org_id, 2, at, 7, 7, None, 1, True)

        run(login, work)

    def test_that_asked_for_compacted_days_keep_the_answer(self, login: Target, database: Target) -> None:
        """The answer of `any_compacted` holds until the end of the reader's transaction: the day is left to
        the next run, which the progress says; also if another day without rows of the organisation is
        compacted."""

        async def work(owner: Connection, org_id: int) -> None:
            await owner.execute("select argus.make_partition('argus.sample_day', $1)", OLD + DAY)
            async with session(database, "argus_reader") as reader:
                async with scope(reader, org_id, 1):
                    assert not await any_compacted(reader, org_id, OLD, OLD + DAY)
                    in_use = f"{OLD}: sample is in use by another session; the next run does it"
                    assert await compact(owner) == [in_use]
                    rows = "select count(*) from argus.sample where org_id = $1 and clearance <= 1"
                    assert await reader.fetchval(rows, org_id) == len(PEERS) * 24
                assert await compact(owner) == [f"{OLD}: compacted"]

        run(login, work)

    def test_of_one_day_do_not_keep_another_from_it(self, login: Target) -> None:
        """A lock on the partition of a day leaves only that day to the next run."""

        async def work(owner: Connection, org_id: int) -> None:
            await record(owner, org_id, PEERS, DAYS[1])
            said: list[str] = []
            async with session(login) as reader, reader.transaction():
                await reader.execute(f"lock table only argus.{RAW} in access share mode")
                await compact_before(owner, DAYS[2], Progress(say=said.append))
            in_use = f"{OLD}: sample is in use by another session; the next run does it"
            assert said == [in_use, f"{DAYS[1]}: compacted"]

        run(login, work)

    def test_a_compacted_day_has_row_security(self, login: Target) -> None:
        """Row security is enabled and forced on an attached partition, and nothing is granted on it."""

        async def work(owner: Connection, org_id: int) -> None:
            await compact(owner)
            row = await owner.fetchrow(
                "select relrowsecurity and relforcerowsecurity as bound, relispartition, "
                "(select array_agg(distinct grantee::regrole::text) from aclexplode(relacl)) as granted, "
                "(select array_agg(conname::text) from pg_constraint where conrelid = c.oid) as checks "
                "from pg_class c where oid = $1::text::regclass",
                f"argus.{COMPACTED}",
            )
            assert row
            assert (row["bound"], row["relispartition"]) == (True, True)
            assert row["granted"] in (None, ["argus_owner"])
            assert "building" not in row["checks"]

        run(login, work)
