"""Frames into real databases: each exactly once, whatever fails, and the rows are what the gateway did."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar
from uuid import UUID

import asyncpg
import pytest

from exporter.store.database import Connection, connect, leave
from exporter.store.errors import GatewayClaimed, StoreError
from exporter.store.frame import Frame
from exporter.store.settings import Target
from exporter.store.writer import Writer
from tests.frames import START, LivingGateway, Witness
from tests.gateways import key
from tests.mirrorkit import CONFIG, Run, added, changed, device, frame
from tests.postgres import Server
from tests.postgresproxy import Proxy
from tests.schemakit import ask, migrated

T = TypeVar("T")
HERE, ELSEWHERE = UUID(int=1), UUID(int=2)
DAY = 86400.0
LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, StoreError)


@pytest.fixture
def target(database: Target) -> Target:
    """A database with the schema in it."""
    return migrated(database)


class Recorder:
    """A daemon's writer, with a connection as a collector and the keys that its spool would know."""

    def __init__(self, target: Target, installation: UUID = HERE, host: str = "here") -> None:
        self._target = target
        self._installation = installation
        self._host = host
        self._connection: Connection | None = None
        self._keys = defaultdict[str, list[str]](list)
        self.begin_anew()

    def begin_anew(self) -> None:
        """As after a restart: all that was in memory is lost."""
        self.writer = Writer(self._installation, self._host)

    async def write(self, made: Frame) -> bool:
        before = {} if made.keyframe else {label: list(keys) for label, keys in self._keys.items()}

        async def keys() -> Mapping[str, Sequence[str]]:
            return before

        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._target, application="test", role="argus_collector")
        is_new = await self.writer.write(self._connection, made, keys)
        if is_new:
            self._keys.clear()
            self._keys.update(before)
            for told in made.devices:
                self._keys[told.label] = [*self._keys[told.label], *told.added]
        return is_new

    async def write_at_last(self, made: Frame) -> bool:
        """However often it takes."""
        while True:
            try:
                return await self.write(made)
            except LOST:
                await self.close()

    async def terminate(self) -> None:
        """The server ends the connection."""
        if self._connection:
            pid = self._connection.get_server_pid()
            await asyncio.to_thread(ask, self._target, "select pg_terminate_backend($1)", pid)

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection and not connection.is_closed():
            if connection.is_in_transaction():
                connection.terminate()
            else:
                await leave(connection)


def recording(target: Target, work: Callable[[Recorder], Awaitable[T]]) -> T:
    async def run() -> T:
        recorder = Recorder(target)
        try:
            return await work(recorder)
        finally:
            await recorder.close()

    return asyncio.run(run())


def frames(seed: random.Random, witness: Witness, count: int) -> Iterator[Frame]:
    """What a gateway that lives is told as; its daemon starts anew now and then."""
    gateway, run = LivingGateway(seed), Run()
    for number in range(count):
        now = gateway.next()
        witness.see(now)
        listed = all(reading.ok or reading.interface for reading in now.snapshot.readings)
        if number and listed and seed.random() < 0.1:
            run = Run()
        yield run.frame(now)


def check(target: Target, witness: Witness, written: Sequence[Frame]) -> None:
    """The ledger, the totals, the samples and the configurations are those of the frames."""
    ledger = ask(target, "select run, sequence from argus.snapshot order by taken_at")
    assert [tuple(row) for row in ledger] == [(one.run, one.sequence) for one in written]
    rows = ask(
        target,
        "select i.name, p.public_key, s.receive_total, s.transmit_total from argus.peer_state s "
        "join argus.peer p using (org_id, peer_id) "
        "join argus.interface i on i.org_id = p.org_id and i.interface_id = p.interface_id",
    )
    assert {
        (label, public_key): (received, sent) for label, public_key, received, sent in rows
    } == witness.totals
    for query in (GONE_BACK, NOT_THE_LAST, OVERLAPPING, NOT_OPEN, STRAYS):
        assert ask(target, query) == [], query


GONE_BACK = """
select * from (select receive_total - lag(receive_total) over peer as received,
                      transmit_total - lag(transmit_total) over peer as sent
    from argus.sample window peer as (partition by org_id, peer_id order by taken_at)) steps
where received < 0 or sent < 0"""
NOT_THE_LAST = """
select s.peer_id from argus.peer_state s join lateral (
    select receive_total, transmit_total from argus.sample l
    where l.org_id = s.org_id and l.peer_id = s.peer_id order by taken_at desc limit 1) l on true
where (s.receive_total, s.transmit_total) <> (l.receive_total, l.transmit_total)"""
OVERLAPPING = """
select * from (
    select valid_to, lead(valid_from) over (partition by org_id, peer_id order by valid_from) as next
    from argus.peer_config) c
where next is not null and (valid_to is null or valid_to > next)"""
NOT_OPEN = """
select p.peer_id from argus.peer p
join argus.interface i on i.org_id = p.org_id and i.interface_id = p.interface_id
left join argus.peer_config c on c.org_id = p.org_id and c.peer_id = p.peer_id and c.valid_to is null
where (p.removed_at is null and i.removed_at is null) <> (c.peer_id is not null)"""
STRAYS = "select 1 from argus.sample_default union all select 1 from argus.snapshot_default"


@pytest.mark.parametrize("number", range(3))
def test_a_gateway_that_lives_is_recorded_exactly(target: Target, number: int) -> None:
    """Through restarts, frames that are written twice and connections that end, each snapshot is recorded
    once, and every peer's totals are what its counters moved."""
    seed, witness = random.Random(number), Witness("acme", 1)

    async def work(recorder: Recorder) -> list[Frame]:
        written = []
        for made in frames(seed, witness, 60):
            chance = seed.random()
            if chance < 0.1:
                recorder.begin_anew()
            elif chance < 0.2:
                await recorder.terminate()
            assert await recorder.write_at_last(made)
            written.append(made)
            if seed.random() < 0.2:
                if seed.random() < 0.5:
                    recorder.begin_anew()
                else:
                    recorder.writer.skip()
                assert not await recorder.write(made)
        return written

    check(target, witness, recording(target, work))


def test_a_connection_that_is_cut_anywhere(postgres: Server, target: Target) -> None:
    """Cut after any number of bytes, also between the COMMIT and its answer: written again, it is recorded
    once."""
    seed, witness = random.Random(7), Witness("acme", 1)
    with Proxy(postgres.socket_directory / f".s.PGSQL.{postgres.port}") as proxy:

        async def work(recorder: Recorder) -> list[Frame]:
            written = []
            for made in frames(seed, witness, 25):
                proxy.cut_after(seed.randrange(4_000))
                await recorder.write_at_last(made)  # False: it was in, and its answer was cut off
                written.append(made)
            return written

        check(target, witness, recording(proxy.target(target), work))
        assert proxy.cuts > 5


def test_a_name_belongs_to_one_installation(target: Target) -> None:
    """Another one is refused in a sentence that says who has it; ten minutes after the holder's last word it
    takes over, and that is audited."""

    async def work(first: Recorder) -> None:
        second = Recorder(target, ELSEWHERE, "elsewhere")
        try:
            await first.write(frame(1, device(**added((1, 0, 1, 1)))))
            with pytest.raises(GatewayClaimed, match=r"gateway gw: here records under this name"):
                await second.write(frame(1, device(**added((1, 0, 9, 9))), run=ELSEWHERE, at=START + 60))
            assert await first.write(frame(2, device(**changed((0, 0, 2, 2)))))
            late = "update argus.gateway set held_at = held_at - interval '601 seconds'"
            await asyncio.to_thread(ask, target, late)
            assert await second.write(frame(1, device(**added((1, 0, 9, 9))), run=ELSEWHERE, at=START + 90))
        finally:
            await second.close()

    recording(target, work)
    (event,) = ask(target, "select actor, subject, detail from argus.audit_event")
    assert event["actor"] == "argus-wg on elsewhere"
    assert event["subject"] == "gw"
    assert event["detail"] == '{"to": "elsewhere", "from": "here"}'


def test_what_somebody_else_changed_is_taken_over(target: Target) -> None:
    """A clearance that was raised in the database is noticed before anything is written below it."""

    async def work(recorder: Recorder) -> None:
        await recorder.write(frame(1, device(**added((1, 0, 1, 1)))))
        for table in ("gateway", "interface", "peer", "peer_state"):
            await asyncio.to_thread(ask, target, f"update argus.{table} set clearance = 3")
        assert await recorder.write(frame(2, device(**changed((0, 0, 5, 5)))))

    recording(target, work)
    samples = ask(target, "select clearance, receive_total from argus.sample order by taken_at")
    assert [tuple(row) for row in samples] == [(0, 1), (3, 5)]


def test_a_raised_clearance_is_audited(target: Target) -> None:
    """What the directory raises holds from then on, and one event says for whom."""
    secret = replace(CONFIG, clearance=4)

    async def work(recorder: Recorder) -> None:
        await recorder.write(frame(1, device(**added((1, 0, 1, 1), (2, 0, 1, 1)))))
        configured = device(configured=[(1, secret)], **changed((0, 0, 2, 2), (1, 0, 2, 2)))
        await recorder.write(frame(2, configured))

    recording(target, work)
    samples = ask(target, "select clearance from argus.sample order by taken_at, peer_id")
    assert [row[0] for row in samples] == [0, 0, 0, 4]
    (event,) = ask(target, "select action, subject, detail::text from argus.audit_event")
    assert (event["action"], event["subject"]) == ("clearance-raised", "gw/wg0")
    assert key(2) in event["detail"]
    assert key(1) not in event["detail"]


def test_peers_of_several_organisations(target: Target) -> None:
    """Each organisation has its own gateway, ledger and peers; one that moves leaves and enters."""
    theirs = replace(CONFIG, organisation="rival")

    async def work(recorder: Recorder) -> None:
        await recorder.write(frame(1, device(**added((1, 0, 10, 10), (2, 0, 20, 20)))))
        await recorder.write(frame(2, device(configured=[(1, theirs)], **changed((1, 0, 25, 25)))))

    recording(target, work)
    ledgers = "select name, count(*) from argus.snapshot join argus.organisation using (org_id) group by 1"
    assert {tuple(row) for row in ask(target, ledgers)} == {("acme", 2), ("rival", 1)}
    rows = ask(
        target,
        "select o.name, p.public_key, p.removed_at is null, s.receive_total from argus.peer p "
        "join argus.organisation o using (org_id) join argus.peer_state s using (org_id, peer_id) "
        "order by 1, s.receive_total",
    )
    assert [tuple(row) for row in rows] == [
        ("acme", key(1), True, 10),
        ("acme", key(2), False, 20),
        ("rival", key(2), True, 25),
    ]


def test_a_clock_that_goes_back_by_days(target: Target) -> None:
    """Two snapshots of one instant are two in the ledger, and one sample that has the greater totals."""

    async def work(recorder: Recorder) -> None:
        await recorder.write(frame(1, device(**added((1, 0, 100, 100))), at=START))
        await recorder.write(frame(2, device(**changed((0, 0, 250, 250))), at=START + 2 * DAY))
        recorder.writer.skip()
        await recorder.write(frame(3, device(**changed((0, 0, 300, 300))), at=START))

    recording(target, work)
    assert ask(target, "select count(*) from argus.snapshot")[0][0] == 3
    samples = ask(target, "select receive_total from argus.sample order by taken_at")
    assert [row[0] for row in samples] == [300, 250]


def test_each_day_has_its_partition_and_a_row_for_each_peer(target: Target) -> None:
    """The first snapshot of a day makes the day, and tells of peers that did not move, too."""

    async def work(recorder: Recorder) -> None:
        await recorder.write(frame(1, device(**added((1, 0, 1, 1), (2, 0, 1, 1))), at=START))
        await recorder.write(frame(2, device(**changed((0, 0, 2, 2))), at=START + DAY))

    recording(target, work)
    samples = ask(
        target,
        "select active from argus.sample where taken_at > to_timestamp($1) order by peer_id",
        START + 1,
    )
    assert [row[0] for row in samples] == [True, False]
    assert ask(target, STRAYS) == []


def test_a_frame_that_can_never_be_written(target: Target) -> None:
    """Slots that no frame added are refused, nothing of the frame is written, and the next one is."""

    async def work(recorder: Recorder) -> None:
        await recorder.write(frame(1, device(**added((1, 0, 1, 1)))))
        with pytest.raises(LookupError):
            await recorder.write(frame(2, device(**changed((7, 0, 2, 2)))))
        assert await recorder.write(frame(3, device(**changed((0, 0, 3, 3)))))

    recording(target, work)
    assert [row[0] for row in ask(target, "select sequence from argus.snapshot order by 1")] == [1, 3]
