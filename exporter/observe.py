"""What only two readings together tell: handshakes seen, endpoints moved, bytes sent and nothing back.

WireGuard keeps no history. The exporter counts what it sees change between one reading and the next, from
its own start on; a peer that is removed takes its counts with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, count
from operator import is_not, ne
from typing import TypeVar

from exporter.model import Device, Peer, Snapshot
from exporter.sourcenames import source_of

T = TypeVar("T")


@dataclass(slots=True)
class Observed:
    """Columns parallel to the peers of one device's last reading, and the byte counters of one before it."""

    source: str = ""  # as a `Reading` names it
    read_at: float = 0.0  # UNIX seconds
    peers: Sequence[Peer] = ()
    last_handshake: Sequence[int] = ()
    receive_bytes: Sequence[int] = ()
    transmit_bytes: Sequence[int] = ()
    received_before: Sequence[int] = ()
    transmitted_before: Sequence[int] = ()
    between_at: float = 0.0  # of the reading that takes the place of the one before when it is old enough
    received_between: Sequence[int] = ()
    transmitted_between: Sequence[int] = ()
    handshakes: list[int] = field(default_factory=list)  # how many were seen
    endpoint_changes: list[int] = field(default_factory=list)  # how many were seen
    rerouted_at: Mapping[str, float] = field(default_factory=dict)  # key → when its allowed IPs changed

    def unanswered(self, index: int) -> bool:
        """Were bytes sent to this peer since the reading before, and none received?"""
        return (
            self.transmit_bytes[index] > self.transmitted_before[index]
            and self.receive_bytes[index] == self.received_before[index]
        )

    def all_unanswered(self, first: int, end: int) -> list[bool]:
        """The same for the peers of a range."""
        columns = (self.transmit_bytes, self.transmitted_before, self.receive_bytes, self.received_before)
        rows = zip(*(column[first:end] for column in columns), strict=True)
        return [sent > sent_before and got == got_before for sent, sent_before, got, got_before in rows]


class Observer:
    """Feed it each snapshot once, in order. `devices` maps a device's label to what was observed of it.

    `look_back`: seconds by which the byte counters before are older than the last ones, at least, so that
    many readings in a short time do not make a peer that answers rarely look like one that never does.
    """

    def __init__(self, look_back: float = 0.0) -> None:
        self._look_back = look_back
        self.devices: dict[str, Observed] = {}

    def update(self, snapshot: Snapshot) -> None:
        """Take in a snapshot. A device that could not be read keeps its counts until it can, or is gone."""
        failed = [reading for reading in snapshot.readings if not reading.ok]
        unlisted = {reading.source for reading in failed if not reading.interface}  # who knows what is gone?
        kept = {device.label for device in snapshot.devices} | {reading.interface for reading in failed}
        kept |= {label for label, seen in self.devices.items() if seen.source in unlisted}
        for label in self.devices.keys() - kept:
            del self.devices[label]
        for device in snapshot.devices:
            before = self.devices.get(device.label) or Observed()
            self.devices[device.label] = observe(before, device, snapshot.taken_at, self._look_back)


def observe(before: Observed, device: Device, read_at: float = 0.0, look_back: float = 0.0) -> Observed:
    """The counts after one more reading of a device."""
    changed = _changed(before.peers, device.peers)
    old = before if changed is not None else _aligned(before, device)
    handshakes, moves = old.handshakes, old.endpoint_changes
    if old.last_handshake != device.last_handshake:
        handshakes = handshakes.copy()
        for place in compress(count(), map(ne, old.last_handshake, device.last_handshake)):
            handshakes[place] += device.last_handshake[place] != 0
    places = range(len(moves)) if changed is None else changed
    moved = [place for place in places if _moved(old.peers[place], device.peers[place])]
    rerouted = {
        device.peers[place].public_key: read_at
        for place in places
        if old.peers[place].allowed_ips != device.peers[place].allowed_ips
    }
    if moved:
        moves = moves.copy()
        for place in moved:
            moves[place] += 1
    observed = Observed(
        source=source_of(device),
        read_at=read_at,
        peers=device.peers,
        last_handshake=device.last_handshake,
        receive_bytes=device.receive_bytes,
        transmit_bytes=device.transmit_bytes,
        handshakes=handshakes,
        endpoint_changes=moves,
        rerouted_at={**old.rerouted_at, **rerouted} if rerouted else old.rerouted_at,
    )
    _look_back(observed, old, look_back)
    return observed


def _look_back(observed: Observed, old: Observed, seconds: float) -> None:
    """Which counters are those before: of the newest reading kept that is old enough. Two are kept, so they
    are at most twice as old and a pause between two readings."""
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


def _changed(before: Sequence[Peer], after: Sequence[Peer]) -> list[int] | None:
    """Where the same peers, in the same order, are configured otherwise; None = they are not the same."""
    if before is after:
        return []
    if len(before) != len(after):
        return None
    places = list(compress(count(), map(is_not, before, after)))
    same = all(before[place].public_key == after[place].public_key for place in places)
    return places if same else None


def _aligned(before: Observed, device: Device) -> Observed:
    """The old columns in the order of the new peers. A new peer is taken as it is found: what it did
    before was not seen happening, and is not counted."""
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
        rerouted_at={
            peer.public_key: before.rerouted_at[peer.public_key]
            for peer in (device.peers if before.rerouted_at else ())
            if peer.public_key in before.rerouted_at
        },
    )
