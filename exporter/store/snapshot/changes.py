"""Compares two readings of an interface, column by column, and gives the difference by slots.

100,000 peers are compared every 30 seconds, and nearly all of them are unchanged. Unchanged peers are the
same objects in both readings, so comparing them is comparing pointers. Work per peer is done by built-in
functions that are written in C, such as `map` and `compress`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress, count, repeat
from operator import gt, is_, is_not, lt, ne, or_
from typing import TypeVar

from exporter.directory.entry import Directory
from exporter.model import Device, Peer
from exporter.store.snapshot.frame import DeviceFrame, PeerConfig

MOST = 2**63 - 1  # of a counter and of a sum: the largest value that the database can hold

T = TypeVar("T")
Configure = Callable[[Peer, Directory], PeerConfig]


@dataclass(frozen=True, slots=True)
class Seen:
    """One reading of an interface."""

    device: Device
    instance: str = ""
    directory: Directory = field(default_factory=Directory)  # used to look up its peers
    slots: Sequence[int] | None = (
        None  # of its peers, in their order; None = they have no slots in this epoch
    )
    free: int = 0  # the next slot
    gone: bool = False  # the interface was removed after this reading


NEVER = Seen(Device("", "kernel"), gone=True)


def is_other_instance(before: str, after: str) -> bool:
    """Whether two values of `DeviceFrame.instance` show that the interface's counters were reset in between.
    An index of 0 could not be read; then only the boot is compared."""
    boot_before, _, index_before = before.rpartition(":")
    boot_after, _, index_after = after.rpartition(":")
    return boot_before != boot_after or (
        index_before != index_after and "0" not in (index_before, index_after)
    )


def compare(
    then: Seen, now: Seen, taken: Callable[[], Mapping[str, int]], configure: Configure
) -> tuple[Seen, DeviceFrame]:
    """`now` with its slots, and the difference to `then` as a frame.

    `taken` gives the slots of public keys that are missing from `then` but had a slot earlier in the epoch. A
    peer that already has a slot keeps it and is not listed in `added`.
    """
    device, peers = now.device, now.device.peers
    before = _in_order_of(peers, then)
    slots, added = _slots(before.slots, peers, then.free, taken)
    moved = _moved(before, device) if then.slots is not None else [True] * len(peers)
    restarted = _restarted(before, then, now, moved)
    if restarted and not moved:
        moved = [False] * len(peers)
    for place in restarted:
        moved[place] = True
    frame = replace(
        empty(now),
        added=added,
        removed=_removed(then.slots, slots),
        configured=[(slots[place], config) for place, config in _configured(before, then, now, configure)],
        changed=list(compress(slots, moved)),
        last_handshake=list(compress(device.last_handshake, moved)),
        receive=list(compress(device.receive_bytes, moved)),
        transmit=list(compress(device.transmit_bytes, moved)),
        restarted=[slots[place] for place in restarted],
        carried_receive=[0] * len(restarted),
        carried_transmit=[0] * len(restarted),
    )
    return replace(now, slots=slots, free=then.free + len(added)), frame


def empty(seen: Seen) -> DeviceFrame:
    """The frame of an interface without changes."""
    device = seen.device
    about = device.label, device.kind, device.public_key, device.listen_port, device.fwmark, seen.instance
    return DeviceFrame(*about, len(device.peers), *([] for _ in range(10)))


def whole_of(seen: Seen, news: DeviceFrame, configure: Configure) -> DeviceFrame:
    """The part of a keyframe: every peer is added, with slots from 0 in order. `news` gives the resets."""
    device, slots = seen.device, seen.slots or ()
    restarted = list(compress(count(), map(set(news.restarted).__contains__, slots)))
    return replace(
        news,
        added=[peer.public_key for peer in device.peers],
        removed=[],
        configured=[(slot, configure(peer, seen.directory)) for slot, peer in enumerate(device.peers)],
        changed=list(range(len(device.peers))),
        last_handshake=list(device.last_handshake),
        receive=list(device.receive_bytes),
        transmit=list(device.transmit_bytes),
        restarted=restarted,
        carried_receive=[0] * len(restarted),
        carried_transmit=[0] * len(restarted),
    )


def slots_of(kept: Seen, news: DeviceFrame) -> dict[str, int]:
    """Public key → slot: of the peers of the kept reading, and of the peers that `news` has added since."""
    keys = [peer.public_key for peer in kept.device.peers]
    slots = dict(zip(keys, kept.slots or (), strict=False))
    slots.update(zip(news.added, count(kept.free)))
    return slots


def merged(kept: Seen, first: DeviceFrame, then: DeviceFrame) -> DeviceFrame:
    """Two consecutive differences, the first one to the reading `kept`, as one.

    Bytes that were counted between `kept` and a reset are carried. This includes the bytes of peers that are
    missing from a new instance of the interface.
    """
    before, back, restarted = _values(first), set(then.changed), list(then.restarted)
    if is_other_instance(first.instance, then.instance):
        left = before.keys() - back
        before |= {slot: (before[slot][0], 0, 0) for slot in left}
        restarted += sorted(left)
    changed = before | _values(then)
    handshakes, receive, transmit = (
        map(list, zip(*changed.values(), strict=True)) if changed else ([], [], [])
    )
    carried = _carried(kept, first, restarted)
    return replace(
        then,
        added=[*first.added, *then.added],
        removed=[*(slot for slot in first.removed if slot not in back), *then.removed],
        configured=list((dict(first.configured) | dict(then.configured)).items()),
        changed=list(changed),
        last_handshake=handshakes,
        receive=receive,
        transmit=transmit,
        restarted=list(carried),
        carried_receive=[received for received, _ in carried.values()],
        carried_transmit=[transmitted for _, transmitted in carried.values()],
    )


def _values(frame: DeviceFrame) -> dict[int, tuple[int, int, int]]:
    columns = zip(frame.last_handshake, frame.receive, frame.transmit, strict=True)
    return dict(zip(frame.changed, columns, strict=True))


def _carried(kept: Seen, news: DeviceFrame, restarted: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Slot → (received, transmitted) bytes to carry, after the counters of the slots `restarted` were
    reset."""
    both = zip(news.carried_receive, news.carried_transmit, strict=True)
    carried = dict(zip(news.restarted, both, strict=True))
    if not restarted:
        return carried
    slots, device = slots_of(kept, news), kept.device
    rows = zip(device.peers, device.receive_bytes, device.transmit_bytes, strict=True)
    base = {slots[peer.public_key]: (rx, tx) for peer, rx, tx in rows if peer.public_key in slots}
    last = base | {slot: (rx, tx) for slot, (_, rx, tx) in _values(news).items()}
    for slot in restarted:
        received, transmitted = last.get(slot, (0, 0))
        if slot in carried:
            more_received, more_transmitted = carried[slot]
        else:
            more_received, more_transmitted = (-value for value in base.get(slot, (0, 0)))
        carried[slot] = min(received + more_received, MOST), min(transmitted + more_transmitted, MOST)
    return carried


@dataclass(frozen=True, slots=True)
class _Before:
    """The columns of the earlier reading, in the order of the peers of the later one."""

    peers: Sequence[Peer | None]  # None = the peer is new
    others: Sequence[int]  # places whose `Peer` is another object
    last_handshake: Sequence[int | None]
    receive: Sequence[int]
    transmit: Sequence[int]
    slots: Sequence[int]  # -1 = the peer has no slot


def _in_order_of(peers: Sequence[Peer], then: Seen) -> _Before:
    old = then.device
    slots = [-1] * len(old.peers) if then.slots is None else then.slots
    if len(old.peers) == len(peers):
        others = list(compress(count(), map(is_not, old.peers, peers)))
        if all(old.peers[place].public_key == peers[place].public_key for place in others):
            columns = old.last_handshake, old.receive_bytes, old.transmit_bytes
            return _Before(old.peers, others, *columns, slots)
    place = {peer.public_key: index for index, peer in enumerate(old.peers)}
    places = [place.get(peer.public_key) for peer in peers]

    def column(values: Sequence[T], missing: T) -> list[T]:
        return [missing if at is None else values[at] for at in places]

    before = column(old.peers, None)
    return _Before(
        peers=before,
        others=list(compress(count(), map(is_not, before, peers))),
        last_handshake=column(old.last_handshake, None),
        receive=column(old.receive_bytes, 0),
        transmit=column(old.transmit_bytes, 0),
        slots=column(slots, -1),
    )


def _slots(
    before: Sequence[int], peers: Sequence[Peer], free: int, taken: Callable[[], Mapping[str, int]]
) -> tuple[Sequence[int], list[str]]:
    """The slots of the peers, and the public keys that got a new slot."""
    if min(before, default=0) >= 0:
        return before, []
    missing = list(compress(count(), map(lt, before, repeat(0))))
    slots, added, known = list(before), list[str](), taken()
    for place in missing:
        key = peers[place].public_key
        slot = known.get(key, -1)
        if slot < 0:
            slot = free + len(added)
            added.append(key)
        slots[place] = slot
    return slots, added


def _removed(before: Sequence[int] | None, after: Sequence[int]) -> list[int]:
    if not before or before == after:
        return []
    there = set(after)
    return [slot for slot in before if slot not in there]


def _moved(before: _Before, device: Device) -> list[bool]:
    """For each peer, whether its counters or its handshake changed; [] = none changed."""
    old = before.last_handshake, before.receive, before.transmit
    new = device.last_handshake, device.receive_bytes, device.transmit_bytes
    if old == new:
        return []
    return list(map(ne, zip(*old, strict=True), zip(*new, strict=True)))


def _restarted(before: _Before, then: Seen, now: Seen, moved: list[bool]) -> Sequence[int]:
    """Places of the peers whose counters were reset; empty for an interface that was never read before."""
    device = now.device
    if then is NEVER:
        return ()
    if is_other_instance(then.instance, now.instance):
        return range(len(device.peers))
    if not moved:
        return ()
    new = map(is_, before.peers, repeat(None))
    received = map(lt, device.receive_bytes, before.receive)
    transmitted = map(lt, device.transmit_bytes, before.transmit)
    handshakes = map(gt, map(bool, before.last_handshake), map(bool, device.last_handshake))
    return list(compress(count(), map(or_, map(or_, new, handshakes), map(or_, received, transmitted))))


def _configured(
    before: _Before, then: Seen, now: Seen, configure: Configure
) -> Iterator[tuple[int, PeerConfig]]:
    """(place, configuration) of the peers whose configuration changed, or of all in a new epoch."""
    peers = now.device.peers
    places: Iterable[int] = range(len(peers))
    if then.slots is not None:
        places = sorted({*before.others, *_renamed(then, now)})
    for place in places:
        old, config = before.peers[place], configure(peers[place], now.directory)
        if then.slots is None or old is None or configure(old, then.directory) != config:
            yield place, config


def _renamed(then: Seen, now: Seen) -> Iterable[int]:
    """Places of the peers whose directory entry changed."""
    if then.directory is now.directory:
        return ()
    keys = [peer.public_key for peer in now.device.peers]
    entries = map(then.directory.entries.get, keys), map(now.directory.entries.get, keys)
    return compress(count(), map(ne, *entries))
