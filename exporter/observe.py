"""Compares readings: counts handshakes and endpoint changes, and finds peers that do not answer.

WireGuard keeps no history. The exporter counts changes from one reading to the next, since its own start.
The counts of a peer are forgotten when the peer is removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, count
from operator import is_not, ne
from typing import TypeVar

from exporter.model import Device, Peer, Snapshot, split_endpoint
from exporter.sourcenames import source_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Moves:
    """How the endpoint of a peer changed. A return is a change to the endpoint before the last one."""

    previous: str  # the endpoint before the present one
    address_changes: int  # without changes of the port only
    returns: int


@dataclass(slots=True)
class Observed:
    """One interface: its last reading, the byte counters of an earlier one, and the counts so far.

    Columns have a value for each peer of the last reading. `received_before` and `transmitted_before` are the
    counters of an earlier reading, with which the last ones are compared. `received_between` and
    `transmitted_between` are those of a reading between the two; once old enough, they become the former.
    """

    source: str = ""  # as in `Reading`
    read_at: float = 0.0  # UNIX seconds
    peers: Sequence[Peer] = ()
    last_handshake: Sequence[int] = ()
    receive_bytes: Sequence[int] = ()
    transmit_bytes: Sequence[int] = ()
    received_before: Sequence[int] = ()
    transmitted_before: Sequence[int] = ()
    between_at: float = 0.0  # UNIX seconds
    received_between: Sequence[int] = ()
    transmitted_between: Sequence[int] = ()
    handshakes: list[int] = field(default_factory=list)  # counted so far
    endpoint_changes: list[int] = field(default_factory=list)  # counted so far
    moves: Mapping[str, Moves] = field(default_factory=dict)  # public key → of peers that moved
    allowed_ips_changed_at: Mapping[str, float] = field(default_factory=dict)  # public key → UNIX seconds

    def unanswered(self, index: int) -> bool:
        """Whether bytes were sent to the peer since the earlier reading, and none were received."""
        return (
            self.transmit_bytes[index] > self.transmitted_before[index]
            and self.receive_bytes[index] == self.received_before[index]
        )

    def all_unanswered(self, first: int, end: int) -> list[bool]:
        """`unanswered` for each peer of a range."""
        columns = (self.transmit_bytes, self.transmitted_before, self.receive_bytes, self.received_before)
        rows = zip(*(column[first:end] for column in columns), strict=True)
        return [sent > sent_before and got == got_before for sent, sent_before, got, got_before in rows]


class Observer:
    """Compares snapshots, each of which is passed to `update` once, in order. `devices` is by label.

    `look_back`: the minimum age, in seconds, of the byte counters that the last ones are compared with. It
    keeps a peer that answers rarely from looking unanswered when there are many readings in a short time.
    """

    def __init__(self, look_back: float = 0.0) -> None:
        self._look_back = look_back
        self.devices: dict[str, Observed] = {}

    def update(self, snapshot: Snapshot) -> None:
        """Compares a snapshot with earlier ones. A device that could not be read keeps its counts."""
        failed = [reading for reading in snapshot.readings if not reading.ok]
        unlisted = {
            reading.source for reading in failed if not reading.interface
        }  # their devices may still exist
        kept = {device.label for device in snapshot.devices} | {reading.interface for reading in failed}
        kept |= {label for label, seen in self.devices.items() if seen.source in unlisted}
        for label in self.devices.keys() - kept:
            del self.devices[label]
        for device in snapshot.devices:
            before = self.devices.get(device.label) or Observed()
            self.devices[device.label] = observe(before, device, snapshot.taken_at, self._look_back)


def observe(before: Observed, device: Device, read_at: float = 0.0, look_back: float = 0.0) -> Observed:
    """The observation after one more reading of a device. `read_at` is in UNIX seconds."""
    changed = _changed(before.peers, device.peers)
    old = before if changed is not None else _aligned(before, device)
    handshakes, changes = old.handshakes, old.endpoint_changes
    if old.last_handshake != device.last_handshake:
        handshakes = handshakes.copy()
        for place in compress(count(), map(ne, old.last_handshake, device.last_handshake)):
            handshakes[place] += device.last_handshake[place] != 0
    places = range(len(changes)) if changed is None else changed
    moved = [place for place in places if _moved(old.peers[place], device.peers[place])]
    rerouted = {
        device.peers[place].public_key: read_at
        for place in places
        if old.peers[place].allowed_ips != device.peers[place].allowed_ips
    }
    moves = old.moves
    if moved:
        changes = changes.copy()
        moves = dict(moves)
        for place in moved:
            changes[place] += 1
            now = device.peers[place]
            moves[now.public_key] = _move(moves.get(now.public_key), old.peers[place].endpoint, now.endpoint)
    observed = Observed(
        source=source_of(device),
        read_at=read_at,
        peers=device.peers,
        last_handshake=device.last_handshake,
        receive_bytes=device.receive_bytes,
        transmit_bytes=device.transmit_bytes,
        handshakes=handshakes,
        endpoint_changes=changes,
        moves=moves,
        allowed_ips_changed_at={**old.allowed_ips_changed_at, **rerouted}
        if rerouted
        else old.allowed_ips_changed_at,
    )
    _look_back(observed, old, look_back)
    return observed


def _look_back(observed: Observed, old: Observed, seconds: float) -> None:
    """Chooses the counters to compare with: those of the newest kept reading that is at least `seconds` old.

    Two earlier readings are kept. So the chosen one is at most twice `seconds` old, plus the time between two
    readings.
    """
    between = old.between_at, old.received_between, old.transmitted_between
    last = old.read_at, old.receive_bytes, old.transmit_bytes
    before = old.received_before, old.transmitted_before
    if observed.read_at - old.read_at >= seconds:
        before, between = last[1:], last
    elif observed.read_at - old.between_at >= seconds:
        before, between = between[1:], last
    observed.received_before, observed.transmitted_before = before
    observed.between_at, observed.received_between, observed.transmitted_between = between


def _moved(then: Peer, now: Peer) -> bool:
    return bool(then.endpoint and now.endpoint and then.endpoint != now.endpoint)


def _move(before: Moves | None, then: str, now: str) -> Moves:
    """The moves of a peer after its endpoint changed from `then` to `now`."""
    before = before or Moves("", 0, 0)
    changed = split_endpoint(then)[0] != split_endpoint(now)[0]
    return Moves(then, before.address_changes + changed, before.returns + (now == before.previous))


def _changed(before: Sequence[Peer], after: Sequence[Peer]) -> list[int] | None:
    """The indexes of reconfigured peers; None = the peers, or their order, are not the same."""
    if before is after:
        return []
    if len(before) != len(after):
        return None
    places = list(compress(count(), map(is_not, before, after)))
    same = all(before[place].public_key == after[place].public_key for place in places)
    return places if same else None


def _aligned(before: Observed, device: Device) -> Observed:
    """The earlier observation, in the order of the device's peers.

    A new peer gets its present values as its earlier ones, so that nothing is counted for it yet.
    """
    place = {peer.public_key: index for index, peer in enumerate(before.peers)}
    found = [place.get(peer.public_key, -1) for peer in device.peers]

    def column(old: Sequence[T], new: Sequence[T]) -> list[T]:
        return [old[index] if index >= 0 else value for index, value in zip(found, new, strict=True)]

    nothing = [0] * len(found)
    received, transmitted = device.receive_bytes, device.transmit_bytes
    return Observed(
        read_at=before.read_at,
        peers=column(before.peers, device.peers),
        last_handshake=column(before.last_handshake, device.last_handshake),
        receive_bytes=column(before.receive_bytes, received),
        transmit_bytes=column(before.transmit_bytes, transmitted),
        received_before=column(before.received_before, received),
        transmitted_before=column(before.transmitted_before, transmitted),
        between_at=before.between_at,
        received_between=column(before.received_between, received),
        transmitted_between=column(before.transmitted_between, transmitted),
        handshakes=column(before.handshakes, nothing),
        endpoint_changes=column(before.endpoint_changes, nothing),
        moves={
            peer.public_key: before.moves[peer.public_key]
            for peer in (device.peers if before.moves else ())
            if peer.public_key in before.moves
        },
        allowed_ips_changed_at={
            peer.public_key: before.allowed_ips_changed_at[peer.public_key]
            for peer in (device.peers if before.allowed_ips_changed_at else ())
            if peer.public_key in before.allowed_ips_changed_at
        },
    )
