"""Compares two readings of an interface, column by column, and gives the difference by slots.

100,000 peers are compared every 30 seconds, and nearly all of them are unchanged. Unchanged peers are the
same objects in both readings, so comparing them is comparing pointers. Work per peer is done by built-in
functions that are written in C, such as `map` and `compress`.

The place of a peer is its position in the columns of the current reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress, count, repeat
from operator import gt, is_, is_not, lt, ne, or_
from typing import TypeVar

from exporter.directory.entry import Directory
from exporter.model import Device, Peer
from exporter.store.snapshot.frame import DeviceFrame, PeerConfig, is_other_instance

T = TypeVar("T")
Configure = Callable[[Peer, Directory], PeerConfig]


@dataclass(frozen=True, slots=True)
class InterfaceState:
    """An interface as its last reading shows it."""

    device: Device
    instance: str = ""
    directory: Directory = field(default_factory=Directory)  # used to look up its peers
    slots: Sequence[int] | None = None  # parallel to its peers; None = it has no slots in this epoch yet
    next_slot: int = 0
    removed: bool = False  # the interface was removed after this reading


NEVER_READ = InterfaceState(Device("", "kernel"), removed=True)


def compare(
    previous: InterfaceState,
    current: InterfaceState,
    earlier_slots: Callable[[], Mapping[str, int]],
    configure: Configure,
) -> tuple[InterfaceState, DeviceFrame]:
    """`current` with its slots, and its difference to `previous` as a frame.

    `earlier_slots` gives the slots of public keys that are missing from `previous` but had a slot since the
    last kept frame. A peer that already has a slot keeps it and is not listed in `added`.
    """
    device, peers = current.device, current.device.peers
    old = _in_order_of(peers, previous)
    slots, added = _slots(old.slots, peers, previous.next_slot, earlier_slots)
    changed = _changed(old, device) if previous.slots is not None else [True] * len(peers)
    reset = _reset(old, previous, current, changed)
    if reset and not changed:
        changed = [False] * len(peers)
    for place in reset:
        changed[place] = True
    configured = _configured(old, previous, current, configure)
    frame = replace(
        without_changes(current),
        added=added,
        removed=_removed(previous.slots, slots),
        configured=[(slots[place], config) for place, config in configured],
        changed=list(compress(slots, changed)),
        last_handshake=list(compress(device.last_handshake, changed)),
        receive=list(compress(device.receive_bytes, changed)),
        transmit=list(compress(device.transmit_bytes, changed)),
        reset=[slots[place] for place in reset],
        carried_receive=[0] * len(reset),
        carried_transmit=[0] * len(reset),
    )
    return replace(current, slots=slots, next_slot=previous.next_slot + len(added)), frame


def without_changes(state: InterfaceState) -> DeviceFrame:
    """The frame of an interface that has not changed."""
    device = state.device
    about = device.label, device.kind, device.public_key, device.listen_port, device.fwmark, state.instance
    return DeviceFrame(*about, len(device.peers), *([] for _ in range(10)))


def whole(state: InterfaceState, difference: DeviceFrame, configure: Configure) -> DeviceFrame:
    """The interface's part of a keyframe: every peer is added, with slots from 0 in order. The resets are
    those of `difference`."""
    device, slots = state.device, state.slots or ()
    reset = list(compress(count(), map(set(difference.reset).__contains__, slots)))
    return replace(
        difference,
        added=[peer.public_key for peer in device.peers],
        removed=[],
        configured=[(slot, configure(peer, state.directory)) for slot, peer in enumerate(device.peers)],
        changed=list(range(len(device.peers))),
        last_handshake=list(device.last_handshake),
        receive=list(device.receive_bytes),
        transmit=list(device.transmit_bytes),
        reset=reset,
        carried_receive=[0] * len(reset),
        carried_transmit=[0] * len(reset),
    )


@dataclass(frozen=True, slots=True)
class _Old:
    """The columns of the previous reading, in the order of the peers of the current one."""

    peers: Sequence[Peer | None]  # None = the peer is new
    replaced: Sequence[int]  # places whose `Peer` is another object
    last_handshake: Sequence[int | None]
    receive: Sequence[int]
    transmit: Sequence[int]
    slots: Sequence[int]  # -1 = the peer has no slot


def _in_order_of(peers: Sequence[Peer], previous: InterfaceState) -> _Old:
    device = previous.device
    slots = [-1] * len(device.peers) if previous.slots is None else previous.slots
    if len(device.peers) == len(peers):
        replaced = list(compress(count(), map(is_not, device.peers, peers)))
        if all(device.peers[place].public_key == peers[place].public_key for place in replaced):
            columns = device.last_handshake, device.receive_bytes, device.transmit_bytes
            return _Old(device.peers, replaced, *columns, slots)
    index_of = {peer.public_key: index for index, peer in enumerate(device.peers)}
    indices = [index_of.get(peer.public_key) for peer in peers]

    def column(values: Sequence[T], missing: T) -> list[T]:
        return [missing if index is None else values[index] for index in indices]

    old_peers = column(device.peers, None)
    return _Old(
        peers=old_peers,
        replaced=list(compress(count(), map(is_not, old_peers, peers))),
        last_handshake=column(device.last_handshake, None),
        receive=column(device.receive_bytes, 0),
        transmit=column(device.transmit_bytes, 0),
        slots=column(slots, -1),
    )


def _slots(
    old: Sequence[int], peers: Sequence[Peer], next_slot: int, earlier_slots: Callable[[], Mapping[str, int]]
) -> tuple[Sequence[int], list[str]]:
    """The slots of the peers, and the public keys that got a new slot."""
    if min(old, default=0) >= 0:
        return old, []
    missing = list(compress(count(), map(lt, old, repeat(0))))
    slots, added, earlier = list(old), list[str](), earlier_slots()
    for place in missing:
        key = peers[place].public_key
        slot = earlier.get(key, -1)
        if slot < 0:
            slot = next_slot + len(added)
            added.append(key)
        slots[place] = slot
    return slots, added


def _removed(old: Sequence[int] | None, new: Sequence[int]) -> list[int]:
    if not old or old == new:
        return []
    present = set(new)
    return [slot for slot in old if slot not in present]


def _changed(old: _Old, device: Device) -> list[bool]:
    """For each peer, whether its counters or its handshake changed; [] = none changed."""
    before = old.last_handshake, old.receive, old.transmit
    after = device.last_handshake, device.receive_bytes, device.transmit_bytes
    if before == after:
        return []
    return list(map(ne, zip(*before, strict=True), zip(*after, strict=True)))


def _reset(
    old: _Old, previous: InterfaceState, current: InterfaceState, changed: list[bool]
) -> Sequence[int]:
    """Places of the peers whose counters were reset; empty for an interface that was never read before."""
    device = current.device
    if previous is NEVER_READ:
        return ()
    if is_other_instance(previous.instance, current.instance):
        return range(len(device.peers))
    if not changed:
        return ()
    new = map(is_, old.peers, repeat(None))
    received = map(lt, device.receive_bytes, old.receive)
    transmitted = map(lt, device.transmit_bytes, old.transmit)
    handshakes = map(gt, map(bool, old.last_handshake), map(bool, device.last_handshake))
    return list(compress(count(), map(or_, map(or_, new, handshakes), map(or_, received, transmitted))))


def _configured(
    old: _Old, previous: InterfaceState, current: InterfaceState, configure: Configure
) -> Iterator[tuple[int, PeerConfig]]:
    """(place, configuration) of the peers whose configuration changed, or of all in a new epoch."""
    peers = current.device.peers
    places: Iterable[int] = range(len(peers))
    if previous.slots is not None:
        places = sorted({*old.replaced, *_with_other_entry(previous, current)})
    for place in places:
        peer, config = old.peers[place], configure(peers[place], current.directory)
        if previous.slots is None or peer is None or configure(peer, previous.directory) != config:
            yield place, config


def _with_other_entry(previous: InterfaceState, current: InterfaceState) -> Iterable[int]:
    """Places of the peers whose directory entry changed."""
    if previous.directory is current.directory:
        return ()
    keys, label = [peer.public_key for peer in current.device.peers], current.device.label
    entries = map(previous.directory.on(label), keys), map(current.directory.on(label), keys)
    return compress(count(), map(ne, *entries))
