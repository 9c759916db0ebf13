"""The questions of readers: samples and compacted days give the same answers, equal to those of a plain
model."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import NamedTuple, TypeVar
from uuid import UUID

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from exporter.instants import DAY
from exporter.store.database.connection import Connection, scope
from exporter.store.database.settings import Target
from exporter.store.maintenance.compaction import compact_before
from exporter.store.maintenance.partitions import drop_before, table, take_in_strays
from exporter.store.progress import Progress
from exporter.store.queries.active import active
from exporter.store.queries.configs import PeerConfigRow, interface_configs, peer_configs
from exporter.store.queries.daily import bytes_per_day
from exporter.store.queries.gaps import Gap, gaps
from exporter.store.queries.history import HISTORY, Sample, history
from exporter.store.queries.keys import key_seen
from exporter.store.queries.known import Known, known
from exporter.store.queries.latest import Latest, latest
from exporter.store.queries.rates import rates
from exporter.store.queries.totals import totals
from exporter.store.snapshot.frame import Frame
from exporter.store.writer.writer import Writer
from tests.kit.gateways import key
from tests.kit.servers import postgres as servers
from tests.kit.servers.postgres import PostgresServer
from tests.kit.store import schema as schemakit
from tests.kit.store.frames import START, Moment
from tests.kit.store.history import session
from tests.kit.store.mirror import CONFIG, Run, added, device, frame
from tests.kit.store.schema import migrated, with_connection
from tests.kit.store.story import BEGIN, CLEARANCES, ORGANISATIONS, Reader, Story, Subject, day_of

T = TypeVar("T")
MILLISECONDS = 86_400_000  # of a day
PAGE = 3  # samples of a history at a time
EMPTY = """
truncate argus.organisation, argus.gateway, argus.interface, argus.interface_config, argus.peer,
    argus.peer_config, argus.peer_state, argus.sample, argus.sample_day, argus.snapshot, argus.gap,
    argus.audit_event"""
ALWAYS = date(2100, 1, 1)


@pytest.fixture(scope="module", params=["15", "17"])
def database(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A database with the schema, for the superuser; each test empties it first."""
    server: PostgresServer = request.getfixturevalue(f"postgres{request.param}")
    with servers.database(server) as target:
        migrated(target)
        yield target


class Recorder:
    """Writes snapshots into the database."""

    def __init__(self, collector: Connection) -> None:
        self._collector = collector
        self._writer = Writer(UUID(int=1), "host")
        self._gateway = Run("acme")
        self._slots = dict[str, list[str]]()

    async def tell(self, moment: Moment) -> None:
        await self.write(self._gateway.frame(moment))

    async def write(self, frame: Frame) -> None:
        assert await self._writer.write(self._collector, frame, self._keys)
        if frame.keyframe:
            self._slots.clear()
        for each in frame.devices:
            self._slots.setdefault(each.label, []).extend(each.added)

    async def _keys(self) -> dict[str, list[str]]:
        return self._slots


class Numbers(NamedTuple):
    """The numbers in the database: of organisations by name, and peers by number."""

    organisations: dict[str, int]
    peers: dict[int, Subject]


async def numbers_of(owner: Connection, story: Story) -> Numbers:
    organisations = await owner.fetch("select name, org_id from argus.organisation")
    subjects = {key(peer.number): peer for peer in story.peers}
    peers = await owner.fetch("select peer_id, public_key from argus.peer")
    return Numbers(dict(map(tuple, organisations)), {number: subjects[name] for number, name in peers})


async def empty(owner: Connection) -> None:
    await drop_before(owner, ALWAYS, Progress())
    await owner.execute(EMPTY)


class Asking:
    """A reader that asks every question and compares each answer with the story's."""

    def __init__(self, connection: Connection, story: Story, reader: Reader, numbers: Numbers) -> None:
        self._connection = connection
        self._story = story
        self._reader = reader
        self._org_id = numbers.organisations.get(reader.organisation, 0)
        self._peers = numbers.peers

    async def ask(self, instants: Sequence[int]) -> None:
        """`instants`: in order."""
        first, *_, last = instants
        async with scope(self._connection, self._org_id, self._reader.clearance):
            await self._latest()
            await self._bytes_per_day(day_of(first), day_of(last))
            for peer_id in self._peers:
                await self._history(peer_id, first, last)
            for start, end in pairwise(instants):
                await self._totals(start)
                await self._active(start, end)

    async def _latest(self) -> None:
        rows = await latest(self._connection, self._org_id)
        found = {self._peers[row.peer_id].number: row for row in rows}
        wanted = {peer.number: peer for peer in self._story.seen(self._reader)}
        assert found.keys() == wanted.keys()
        for number, peer in wanted.items():
            row, last = found[number], next(sample for sample in reversed(peer.samples) if sample.is_state)
            assert (row.receive_total, row.transmit_total) == last.totals
            assert (row.last_handshake or 0, round(row.changed_at * 1000)) == (last.handshake, last.at)
            assert (row.removed, row.gateway, row.interface) == (peer.was_away, "gw", "wg0")

    async def _totals(self, instant: int) -> None:
        wanted = self._story.totals(self._reader, instant)
        for some in None, list(self._peers)[::2]:
            found = await totals(self._connection, self._org_id, instant / 1000, some)
            asked = {self._peers[peer_id].number for peer_id in some or self._peers}
            assert {self._peers[peer_id].number: totals for peer_id, totals in found.items()} == {
                number: totals for number, totals in wanted.items() if number in asked
            }

    async def _active(self, start: int, end: int) -> None:
        rows = await active(self._connection, self._org_id, start / 1000, end / 1000)
        found = {self._peers[row.peer_id].number: row.public_key for row in rows}
        assert len(rows) == len(found)
        assert found == {number: key(number) for number in self._story.active(self._reader, start, end)}

    async def _bytes_per_day(self, first: date, last: date) -> None:
        rows = await bytes_per_day(self._connection, self._org_id, first, last)
        found = {(self._peers[row.peer_id].number, row.day): (row.receive, row.transmit) for row in rows}
        assert len(rows) == len(found)
        assert found == self._story.bytes_per_day(self._reader, first, last)

    async def _history(self, peer_id: int, start: int, end: int) -> None:
        samples: list[Sample] = []
        while len(page := await self._page(peer_id, samples[-1].taken_at if samples else start / 1000, end)):
            samples += page
        wanted = self._story.history(self._reader, self._peers[peer_id], start, end)
        assert [
            (round(s.taken_at * 1000), s.receive_total, s.transmit_total, s.last_handshake or 0, s.active)
            for s in samples
        ] == [(s.at, *s.totals, s.handshake, s.active) for s in wanted]
        both = pairwise(wanted)
        for rate, (one, other) in zip(rates(samples), both, strict=True):
            seconds = (other.at - one.at) / 1000
            assert rate.receive * seconds == pytest.approx(other.receive - one.receive)
            assert rate.transmit * seconds == pytest.approx(other.transmit - one.transmit)

    async def _page(self, peer_id: int, start: float, end: int) -> list[Sample]:
        page = await history(self._connection, self._org_id, peer_id, start, end / 1000, PAGE)
        assert len(page) <= PAGE
        return page


class Teller:
    """Writes a story into the database, and asks after each part of it."""

    def __init__(self, number: int, owner: Connection, collector: Connection, reader: Connection) -> None:
        self._seed = random.Random(number)
        self._story = Story(self._seed)
        self._owner = owner
        self._recorder = Recorder(collector)
        self._reader = reader

    async def go_on(self) -> None:
        for moment in self._story.moments(self._seed.randrange(2, 10)):
            await self._recorder.tell(moment)
        await self._ask()

    async def compact(self, *, all_days: bool) -> None:
        days = [day_of(instant) for instant in self._story.instants]
        first = days[-1] + DAY if all_days else self._seed.choice(days)
        await take_in_strays(self._owner, Progress())
        await compact_before(self._owner, first, Progress())
        self._story.compact(first)
        await self._ask()

    async def _ask(self) -> None:
        numbers = await numbers_of(self._owner, self._story)
        for _ in range(4):
            reader = Reader(self._seed.choice(ORGANISATIONS), self._seed.choice(CLEARANCES))
            await Asking(self._reader, self._story, reader, numbers).ask(self._instants())

    def _instants(self) -> list[int]:
        """Four in order: near snapshots and midnights, before the first, after the last."""
        told = self._story.instants
        about = [*told, *(at // MILLISECONDS * MILLISECONDS for at in told)]
        about += BEGIN - MILLISECONDS, told[-1] + MILLISECONDS
        return sorted(self._seed.choice(about) + self._seed.choice([-1, 0, 0, 1]) for _ in range(4))


@settings(max_examples=10, deadline=None, phases=[Phase.reuse, Phase.generate])  # no shorter story says more
@given(number=st.integers(0, 2**32))
def test_answers_are_those_of_the_story(database: Target, number: int) -> None:
    """Every answer equals the story's: with raw days, with some compacted, with later samples for these, and
    with all compacted; to the millisecond at the ends of ranges, without rows above the clearance or of
    another organisation."""

    async def run() -> None:
        async with (
            session(database) as owner,
            session(database, "argus_collector") as collector,
            session(database, "argus_reader") as reader,
        ):
            await empty(owner)
            teller = Teller(number, owner, collector, reader)
            await teller.go_on()
            await teller.compact(all_days=False)
            await teller.go_on()
            await teller.compact(all_days=True)

    asyncio.run(run())


# What there is of a gateway at work: four snapshots, 30 seconds apart, the third of which failed.

FIRST, SECOND, THIRD, FOURTH = (START + 30.0 * number for number in range(1, 5))
SECRET = replace(CONFIG, clearance=2, name="safe")
MOVED = replace(CONFIG, endpoint="192.0.2.9:9")
FRAMES = (
    frame(1, device(port=1, public_key=key(98), **added((1, 0, 0, 0)))),
    frame(2, device(port=1, public_key=key(98), **added((2, START, 5, 6), config=SECRET, slot=1))),
    frame(3, device(label="wg1", **added((3, 0, 0, 0))), unread=[("wg0", "permission")]),
    frame(4, device(port=2, public_key=key(99), configured=[(0, MOVED)], removed=[1]), device(label="wg1")),
)
Question = Callable[[Connection, int], Awaitable[T]]


@pytest.fixture
def work(database: Target) -> Target:
    """A database with the snapshots of FRAMES."""

    async def run() -> None:
        async with session(database) as owner, session(database, "argus_collector") as collector:
            await empty(owner)
            recorder = Recorder(collector)
            for each in FRAMES:
                await recorder.write(each)

    asyncio.run(run())
    return database


def ask(target: Target, question: Question[T], clearance: int = 2) -> T:
    """The answer to a reader of the organisation."""

    async def run() -> T:
        async with session(target) as owner, session(target, "argus_reader") as reader:
            org_id = await owner.fetchval("select org_id from argus.organisation where name = 'acme'")
            async with scope(reader, org_id, clearance):
                return await question(reader, org_id)

    return asyncio.run(run())


def number_of(target: Target, peer: int) -> int:
    number: int = schemakit.ask(target, "select peer_id from argus.peer where public_key = $1", key(peer))[0][
        0
    ]
    return number


def test_known_are_all_peers_with_their_configuration(work: Target) -> None:
    """All peers, also removed ones, have their configuration and times; filters select a gateway or an
    interface."""
    peers = {peer.public_key: peer for peer in ask(work, known)}
    assert peers.keys() == {key(1), key(2), key(3)}
    one, safe = peers[key(1)], peers[key(2)]
    assert (one.gateway, one.interface, one.endpoint, one.removed) == ("gw", "wg0", "192.0.2.9:9", False)
    assert (one.name, one.site, one.owner, one.allowed_ips) == ("laptop", "lab", "ops", ["10.0.0.1/32"])
    assert (one.persistent_keepalive, one.has_preshared_key, one.clearance) == (25, False, 0)
    assert (one.first_seen, one.last_seen) == (FIRST, FOURTH)
    assert (safe.first_seen, safe.last_seen, safe.removed, safe.clearance) == (SECOND, FOURTH, True, 2)
    assert (safe.name, safe.endpoint, safe.allowed_ips) == (None, None, None)

    def of(*place: str) -> Question[list[Known]]:
        return lambda reader, org_id: known(reader, org_id, *place)

    assert {peer.public_key for peer in ask(work, of("gw", "wg1"))} == {key(3)}
    assert len(ask(work, of("gw"))) == 3
    assert ask(work, of("another")) == []
    assert {peer.public_key for peer in ask(work, known, clearance=1)} == {key(1), key(3)}


def test_latest_is_of_a_gateway_or_an_interface(work: Target) -> None:
    """The filters select a gateway or an interface."""

    def of(*place: str) -> Question[list[Latest]]:
        return lambda reader, org_id: latest(reader, org_id, *place)

    assert {peer.public_key for peer in ask(work, of("gw", "wg0"))} == {key(1), key(2)}
    assert len(ask(work, of("gw"))) == 3
    assert ask(work, of("another")) == ask(work, of("gw", "another")) == []


def test_configurations_over_time(work: Target) -> None:
    """Each configuration of a peer and of an interface has its period; those above the clearance are
    hidden."""
    one, safe = number_of(work, 1), number_of(work, 2)

    def of(peer: int) -> Question[list[PeerConfigRow]]:
        return lambda reader, org_id: peer_configs(reader, org_id, peer)

    assert [(c.valid_from, c.valid_to, c.endpoint) for c in ask(work, of(one))] == [
        (FIRST, FOURTH, CONFIG.endpoint),
        (FOURTH, None, MOVED.endpoint),
    ]
    assert [(c.valid_from, c.valid_to, c.name) for c in ask(work, of(safe))] == [(SECOND, FOURTH, "safe")]
    assert ask(work, of(safe), clearance=1) == []
    configs = ask(work, lambda reader, org_id: interface_configs(reader, org_id, "gw", "wg0"))
    assert [(c.valid_from, c.valid_to, c.listen_port, c.public_key, c.kind, c.fwmark) for c in configs] == [
        (FIRST, FOURTH, 1, key(98), "kernel", 0),
        (FOURTH, None, 2, key(99), "kernel", 0),
    ]


def test_gaps_within_a_range(work: Target) -> None:
    """A gap is in the answer if it overlaps the range."""

    def of(start: float, end: float, *gateway: str) -> list[Gap]:
        return ask(work, lambda reader, org_id: gaps(reader, org_id, start, end, *gateway))

    (gap,) = of(START, FOURTH)
    assert (gap.gateway, gap.interface, gap.reason) == ("gw", "wg0", "permission")
    assert (gap.started_at, gap.ended_at, gap.snapshots) == (SECOND, FOURTH, 1)
    assert len(of(THIRD, THIRD + 1, "gw")) == 1
    assert of(START, SECOND) == of(FOURTH, FOURTH + 9) == of(START, FOURTH, "another") == []


def test_where_a_key_was_seen(work: Target) -> None:
    """A key was seen first and last as a peer's or an interface's; a peer above the clearance is hidden."""

    def of(number: int, clearance: int = 2) -> list[tuple[object, ...]]:
        found = ask(work, lambda reader, org_id: key_seen(reader, org_id, key(number)), clearance)
        return [(k.role, k.gateway, k.interface, k.first_seen, k.last_seen) for k in found]

    assert of(1) == [("peer", "gw", "wg0", FIRST, FOURTH)]
    assert of(2) == [("peer", "gw", "wg0", SECOND, FOURTH)]
    assert of(2, clearance=1) == []
    assert of(98) == [("interface", "gw", "wg0", FIRST, FOURTH)]
    assert of(99) == [("interface", "gw", "wg0", FOURTH, FOURTH)]
    assert of(97) == []


def test_another_organisation_is_hidden(work: Target) -> None:
    """A reader with the scope of another organisation gets no rows from any question."""

    async def curious(reader: Connection, org_id: int) -> list[object]:
        await reader.execute("set local app.org_id = 1000000")
        now, day = FOURTH + 1, day_of(round(FOURTH * 1000))
        peer = schema_peer
        return [
            await latest(reader, org_id),
            await known(reader, org_id),
            await active(reader, org_id, 0, now),
            list(await totals(reader, org_id, now)),
            await bytes_per_day(reader, org_id, day, day),
            await history(reader, org_id, peer, START, now),
            await peer_configs(reader, org_id, peer),
            await interface_configs(reader, org_id, "gw", "wg0"),
            await gaps(reader, org_id, 0, now),
            await key_seen(reader, org_id, key(1)),
        ]

    schema_peer = number_of(work, 1)
    assert ask(work, curious, clearance=9) == [[]] * 10


def test_a_history_reads_only_its_days(work: Target) -> None:
    """The plan of a history of an hour reads only the partition of its day, by an index."""

    async def plan(reader: Connection, org_id: int) -> str:
        low, high = (datetime.fromtimestamp(seconds, UTC) for seconds in (FIRST, FOURTH))
        await reader.execute("set local plan_cache_mode = force_custom_plan")
        await reader.execute("set local enable_seqscan = off")
        rows = await reader.fetch(
            f"explain (costs off) {HISTORY}",
            *(org_id, 1, low, high, low.date(), high.date(), 10),
        )
        return "\n".join(row[0] for row in rows)

    async def more_days(owner: Connection) -> None:
        await owner.execute("select argus.ensure_partitions($1, 10)", day_of(round(FIRST * 1000)) - DAY * 5)

    with_connection(work, more_days, role="argus_owner")
    text = ask(work, plan)
    partition = table("sample", day_of(round(FIRST * 1000))).removeprefix("argus.")
    assert set(re.findall(r" on (sample\w*_\d+|sample_default)", text)) == {partition}
    assert f"Index Scan using {partition}_pkey" in text
