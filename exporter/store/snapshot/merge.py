"""Merges two consecutive differences of an interface into one, when the frame of the first was not kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from exporter.store.snapshot.changes import InterfaceState
from exporter.store.snapshot.frame import MAX_COUNTER, DeviceFrame, is_other_instance


def merge(kept: InterfaceState, first: DeviceFrame, second: DeviceFrame) -> DeviceFrame:
    """The two differences as one. `first` is the difference to `kept`, `second` the difference after it.

    Bytes that were counted between `kept` and a reset are carried. This includes the bytes of peers that are
    missing from a new instance of the interface.
    """
    values, present, reset = _values(first), set(second.changed), list(second.reset)
    if is_other_instance(first.instance, second.instance):
        missing = values.keys() - present
        values |= {slot: (values[slot][0], 0, 0) for slot in missing}
        reset += sorted(missing)
    values |= _values(second)
    handshakes, receive, transmit = map(list, zip(*values.values(), strict=True)) if values else ([], [], [])
    carried = _carried(kept, first, reset)
    return replace(
        second,
        added=[*first.added, *second.added],
        removed=[*(slot for slot in first.removed if slot not in present), *second.removed],
        configured=list((dict(first.configured) | dict(second.configured)).items()),
        changed=list(values),
        last_handshake=handshakes,
        receive=receive,
        transmit=transmit,
        reset=list(carried),
        carried_receive=[received for received, _ in carried.values()],
        carried_transmit=[transmitted for _, transmitted in carried.values()],
    )


def slots_of(kept: InterfaceState, difference: DeviceFrame) -> dict[str, int]:
    """Public key → slot: of the peers in `kept`, and of the peers that `difference` adds to them."""
    keys = [peer.public_key for peer in kept.device.peers]
    slots = dict(zip(keys, kept.slots or (), strict=False))
    slots.update(zip(difference.added, count(kept.next_slot)))
    return slots


def _values(frame: DeviceFrame) -> dict[int, tuple[int, int, int]]:
    """Slot → (last handshake, received, transmitted)."""
    columns = zip(frame.last_handshake, frame.receive, frame.transmit, strict=True)
    return dict(zip(frame.changed, columns, strict=True))


def _carried(
    kept: InterfaceState, difference: DeviceFrame, reset: Sequence[int]
) -> dict[int, tuple[int, int]]:
    """Slot → (received, transmitted) bytes to carry: those that `difference` carries, and those that the
    slots `reset` counted since `kept` or since their earlier reset."""
    columns = zip(difference.carried_receive, difference.carried_transmit, strict=True)
    carried = dict(zip(difference.reset, columns, strict=True))
    if not reset:
        return carried
    slots, device = slots_of(kept, difference), kept.device
    rows = zip(device.peers, device.receive_bytes, device.transmit_bytes, strict=True)
    base = {slots[peer.public_key]: (rx, tx) for peer, rx, tx in rows if peer.public_key in slots}
    last = base | {slot: (rx, tx) for slot, (_, rx, tx) in _values(difference).items()}
    for slot in reset:
        received, transmitted = last.get(slot, (0, 0))
        if slot in carried:
            more_received, more_transmitted = carried[slot]
        else:
            more_received, more_transmitted = (-value for value in base.get(slot, (0, 0)))
        total = received + more_received, transmitted + more_transmitted
        carried[slot] = min(total[0], MAX_COUNTER), min(total[1], MAX_COUNTER)
    return carried
