"""What readers ask: the same answers from samples, from compacted days, and from plain Python."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import pairwise
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from exporter.store import queries
from exporter.store.answers import Sample
from exporter.store.compaction import compact_before
from exporter.store.database import Connection, scope
from exporter.store.partitions import DAY, drop_before, take_in_strays
from exporter.store.progress import Progress
from exporter.store.settings import Target
from exporter.store.writer import Writer
from tests import postgres as servers
from tests.frames import Moment
from tests.gateways import key
from tests.historykit import session
from tests.mirrorkit import Run
from tests.postgres import Server
from tests.schemakit import migrated
from tests.storykit import BEGIN, CLEARANCES, ORGANISATIONS, Reader, Story, Subject, day_of

MILLISECONDS = 86_400_000  # of a day
PAGE = 3  # samples of a history at a time
EMPTY = """
truncate argus.organisation, argus.gateway, argus.interface, argus.interface_config, argus.peer,
    argus.peer_config, argus.peer_state, argus.sample, argus.sample_day, argus.snapshot, argus.gap,
    argus.audit_event"""
ALWAYS = date(2100, 1, 1)


@pytest.fixture(scope="module", params=["15", "17"])
def database(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A database with the schema, as the superuser reaches it: who uses it empties it first."""
    server: Server = request.getfixturevalue(f"postgres{request.param}")
    with servers.database(server) as target:
        migrated(target)
        yield target


class Recorder:
    """Snapshots on their way into the database."""

    def __init__(self, collector: Connection) -> None:
        self._collector = collector
        self._writer = Writer(UUID(int=1), "host")
        self._gateway = Run("acme")
        self._slots = dict[str, list[str]]()

    async def write(self, moment: Moment) -> None:
        frame = self._gateway.frame(moment)
        assert await self._writer.write(self._collector, frame, self._keys)
        if frame.keyframe:
            self._slots.clear()
        for device in frame.devices:
            self._slots.setdefault(device.label, []).extend(device.added)

    async def _keys(self) -> dict[str, list[str]]:
        return self._slots


class Numbers(NamedTuple):
    """What the database calls them."""

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
    """One reader, who asks everything; each answer is compared with the story's."""

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
        rows = await queries.latest(self._connection, self._org_id)
        found = {self._peers[row.peer_id].number: row for row in rows}
        wanted = {peer.number: peer for peer in self._story.seen(self._reader)}
        assert found.keys() == wanted.keys()
        for number, peer in wanted.items():
            row, last = found[number], next(sample for sample in reversed(peer.samples) if sample.news)
            assert (row.receive_total, row.transmit_total) == last.totals
            assert (row.last_handshake or 0, round(row.changed_at * 1000)) == (last.handshake, last.at)
            assert (row.removed, row.gateway, row.interface) == (peer.was_away, "gw", "wg0")

    async def _totals(self, instant: int) -> None:
        wanted = self._story.totals(self._reader, instant)
        for some in None, list(self._peers)[::2]:
            found = await queries.totals(self._connection, self._org_id, instant / 1000, some)
            asked = {self._peers[peer_id].number for peer_id in some or self._peers}
            assert {self._peers[peer_id].number: totals for peer_id, totals in found.items()} == {
                number: totals for number, totals in wanted.items() if number in asked
            }

    async def _active(self, start: int, end: int) -> None:
        rows = await queries.active(self._connection, self._org_id, start / 1000, end / 1000)
        found = {self._peers[row.peer_id].number: row.public_key for row in rows}
        assert len(rows) == len(found)
        assert found == {number: key(number) for number in self._story.active(self._reader, start, end)}

    async def _bytes_per_day(self, first: date, last: date) -> None:
        rows = await queries.bytes_per_day(self._connection, self._org_id, first, last)
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
        rates, both = list(queries.rates(samples)), list(pairwise(wanted))
        for rate, (one, other) in zip(rates, both, strict=True):
            seconds = (other.at - one.at) / 1000
            assert rate.receive * seconds == pytest.approx(other.receive - one.receive)
            assert rate.transmit * seconds == pytest.approx(other.transmit - one.transmit)

    async def _page(self, peer_id: int, start: float, end: int) -> list[Sample]:
        page = await queries.history(self._connection, self._org_id, peer_id, start, end / 1000, PAGE)
        assert len(page) <= PAGE
        return page


class Teller:
    """A story in the database, with somebody who asks after each turn of it."""

    def __init__(self, number: int, owner: Connection, collector: Connection, reader: Connection) -> None:
        self._seed = random.Random(number)
        self._story = Story(self._seed)
        self._owner = owner
        self._recorder = Recorder(collector)
        self._reader = reader

    async def go_on(self) -> None:
        for moment in self._story.tell(self._seed.randrange(2, 10)):
            await self._recorder.write(moment)
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
        """Some in order: of snapshots, a millisecond beside, midnights, before everything, after it."""
        told = self._story.instants
        about = [*told, *(at // MILLISECONDS * MILLISECONDS for at in told)]
        about += BEGIN - MILLISECONDS, told[-1] + MILLISECONDS
        return sorted(self._seed.choice(about) + self._seed.choice([-1, 0, 0, 1]) for _ in range(4))


@settings(max_examples=10, deadline=None, phases=[Phase.reuse, Phase.generate])  # no shorter story says more
@given(number=st.integers(0, 2**32))
def test_answers_are_those_of_the_story(database: Target, number: int) -> None:
    """Every question of every reader is answered as the story has it: while all days are raw, when some are
    compacted, when samples came for these, when all are; to the millisecond at the ends of ranges, without
    what is too secret or another organisation's."""

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
