"""A random history of a gateway over several days: its snapshots, and the records that readers must find."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from exporter.directory.entry import Directory, Entry
from exporter.model import Device, Link, Peer, Reading, Snapshot
from tests.kit.gateways import Row, key, with_peers
from tests.kit.store.frames import Moment

DAY = 86_400_000  # milliseconds, as all times here are
BEGIN = 1_774_699_200_000  # 2026-03-28 12:00 UTC
ORGANISATIONS = ("acme", "beta")
CLEARANCES = range(4)
LEAST = 1  # clearance of the gateway
STEPS = (1, 999, 30_000, 170_000, 181_000, 3_600_000, DAY // 2, DAY, 3 * DAY)
Bytes = tuple[int, int]  # received and sent
AMOUNTS = (1, 100, 10**6, 3 * 2**30, 2**40)  # bytes between two snapshots, at most


class Reader(NamedTuple):
    """The organisation and clearance of a reader."""

    organisation: str
    clearance: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """An expected sample of a peer."""

    at: int
    receive: int
    transmit: int
    handshake: int  # seconds; 0 = never
    active: bool
    is_state: bool  # it changed the state of the peer, or the peer was not present before
    clearance: int

    @property
    def day(self) -> date:
        return day_of(self.at)

    @property
    def totals(self) -> Bytes:
        return self.receive, self.transmit


@dataclass(slots=True)
class Subject:
    """A peer. `row` has its counters and handshake; None = it is removed. `clearance` is the directory's."""

    number: int
    organisation: str
    clearance: int
    row: Row | None = None
    counters: tuple[int, int, int] = (0, 0, 0)  # handshake, received, sent, when it was present last
    was_away: bool = False
    shown: int = 0  # the clearance that it has in the records
    samples: list[Recorded] = field(default_factory=list)
    compacted: set[int] = field(default_factory=set)  # instants of samples

    def until(self, instant: int) -> Recorded | None:
        """The last sample up to an instant."""
        return next((sample for sample in reversed(self.samples) if sample.at <= instant), None)

    def secrecy(self, sample: Recorded) -> int:
        """The clearance needed for a sample; for a compacted day, the highest one of the day."""
        if sample.at not in self.compacted:
            return sample.clearance
        return max(
            other.clearance
            for other in self.samples
            if other.day == sample.day and other.at in self.compacted
        )


class Story:
    """A random history. `numbers` decides the events: traffic, handshakes, resets of counters, peers that are
    added, removed and added again, clearances that rise.

    Between two snapshots are one millisecond to three days. Some snapshots are taken at midnight or just
    before.
    """

    def __init__(self, numbers: random.Random, peers: int = 5) -> None:
        self._random = numbers
        self._now = BEGIN
        self._index = 1
        self._generation = 1
        self._day: date | None = None  # of the previous snapshot
        self.instants: list[int] = []
        self.peers = [Subject(number, numbers.choice(ORGANISATIONS), LEAST) for number in range(1, peers + 1)]

    def moments(self, snapshots: int) -> Iterator[Moment]:
        """The next snapshots. Each is part of the history once the caller asks for the following one."""
        for _ in range(snapshots):
            self._pass_time()
            reset = self._random.random() < 0.05
            self._index += reset
            for peer in self.peers:
                self._change(peer, reset)
            yield self._moment()
            for peer in self.peers:
                self._record(peer, reset)
            self._day = day_of(self._now)
            self.instants.append(self._now)

    def _pass_time(self) -> None:
        midnight = (self._now // DAY + 1) * DAY
        self._now = self._random.choice(
            [midnight, midnight - 1, *(self._now + step for step in STEPS)] if self.instants else [BEGIN]
        )
        if self.instants and self._now == self.instants[-1]:
            self._now += 1

    def _change(self, peer: Subject, reset: bool) -> None:
        event = self._random.random()
        if event < 0.1:
            peer.clearance = max(peer.clearance, self._random.choice(CLEARANCES))
            self._generation += 1
        if peer.row is None:
            if event < 0.5:
                peer.row = self._counted(Peer(key(peer.number)), 0, 0, 0)
        elif event > 0.9:
            peer.row = None
        elif reset or event > 0.8:
            peer.row = self._counted(peer.row[0], 0, 0, 0)
        elif event > 0.4:
            peer.row = self._counted(*peer.row)

    def _counted(self, peer: Peer, handshake: int, received: int, sent: int) -> Row:
        """Gives the peer more bytes, a new handshake, or neither."""
        if self._random.random() < 0.5:
            handshake = max(handshake, self._now // 1000 - self._random.randrange(-5, 180))
        if self._random.random() < 0.7:
            most = self._random.choice(AMOUNTS)
            received += self._random.randrange(most + 1)
            sent += self._random.randrange(most + 1)
        return peer, handshake, received, sent

    def _moment(self) -> Moment:
        device = Device("wg0", "kernel", link=Link(True, index=self._index))
        device = with_peers(device, [peer.row for peer in self.peers if peer.row])
        entries = {
            key(peer.number): Entry(
                key(peer.number), organisation=peer.organisation, clearance=peer.clearance
            )
            for peer in self.peers
        }
        reading = Reading("netlink", "wg0", 0.0)
        snapshot = Snapshot("gw", self._now / 1000, (device,), (reading,))
        return Moment(snapshot, Directory(entries), self._generation)

    def _record(self, peer: Subject, reset: bool) -> None:
        """Adds samples by the rules of the records: totals continue after resets; an idle peer has a sample
        on its first day, when it comes back, and with the first snapshot of each day."""
        if peer.row is None:
            peer.was_away = True
            return
        _, *now = peer.row
        handshake, received, sent = now
        handshake_before, received_before, sent_before = peer.counters
        moved = now != [*peer.counters]
        is_new, is_back = not peer.samples, bool(peer.samples) and peer.was_away
        lower = received < received_before or sent < sent_before or handshake == 0 < handshake_before
        if reset or is_back or lower:
            received_before = sent_before = 0
        more = received - received_before, sent - sent_before
        moved = moved or any(more)
        is_state = moved or is_new or is_back
        peer.counters, peer.was_away, peer.shown = (handshake, received, sent), False, peer.clearance
        if is_state or self._day != day_of(self._now):
            received_until, sent_until = peer.samples[-1].totals if peer.samples else (0, 0)
            totals = received_until + more[0], sent_until + more[1]
            peer.samples.append(Recorded(self._now, *totals, handshake, moved, is_state, peer.clearance))

    def compact(self, first: date) -> None:
        """Notes that the days before `first` are compacted."""
        for peer in self.peers:
            peer.compacted |= {sample.at for sample in peer.samples if sample.day < first}

    # What readers must find

    def seen(self, reader: Reader) -> list[Subject]:
        """The peers that a reader may see."""
        return [
            peer
            for peer in self.peers
            if peer.samples and peer.organisation == reader.organisation and peer.shown <= reader.clearance
        ]

    def totals(self, reader: Reader, instant: int) -> dict[int, Bytes]:
        """Total bytes up to an instant, of the peers that existed by then."""
        last = ((peer, peer.until(instant)) for peer in self.seen(reader))
        return {peer.number: sample.totals for peer, sample in last if sample}

    def active(self, reader: Reader, start: int, end: int) -> set[int]:
        """The peers whose counters or handshake changed in a span."""
        return {
            peer.number
            for peer in self.seen(reader)
            if any(sample.active and start < sample.at <= end for sample in peer.samples)
        }

    def bytes_per_day(self, reader: Reader, first: date, last: date) -> dict[tuple[int, date], Bytes]:
        """Bytes of a day: from the last sample before it, or else its first one, to its last one."""
        found = {}
        for peer in self.seen(reader):
            for number in range((last - first).days + 1):
                day = first + timedelta(days=number)
                own = [sample for sample in peer.samples if sample.day == day]
                before = [sample for sample in peer.samples if sample.day < day]
                if own:
                    begin, end = (before[-1:] or own)[0], own[-1]
                    moved = end.receive - begin.receive, end.transmit - begin.transmit
                    if any(moved):
                        found[peer.number, day] = moved
        return found

    def history(self, reader: Reader, peer: Subject, start: int, end: int) -> list[Recorded]:
        """The samples of a peer in a span."""
        return [
            sample
            for sample in peer.samples
            if peer.organisation == reader.organisation
            and peer.secrecy(sample) <= reader.clearance
            and start < sample.at <= end
        ]


def day_of(instant: int) -> date:
    return datetime.fromtimestamp(instant // 1000, UTC).date()
