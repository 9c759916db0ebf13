"""Running totals, made from counters that can be reset: rules 1, 2 and 6 of apply.py."""

from __future__ import annotations

from collections.abc import Sequence, Set

from exporter.store.snapshot.frame import MAX_COUNTER, DeviceFrame
from exporter.store.writer.mirror import Peers

LATEST = 253402300799  # UNIX seconds of the end of the year 9999: the latest handshake that is recorded


def add_counters(
    peers: Peers, slots: Sequence[int], device: DeviceFrame, reset: Set[int], *, all_reset: bool
) -> list[int]:
    """Adds a frame's counters to the totals, and returns the indices of the peers that changed.

    `slots` gives the index at each slot (-1 = unknown peer, skipped). The counters of the peers in
    `reset` were reset, and so were those of every peer if `all_reset`. A smaller counter, or a
    handshake that is missing now, is a reset even without being listed. This runs for every changed peer of
    every snapshot.
    """
    handshakes, receive, transmit = peers.handshake, peers.receive, peers.transmit
    receive_total, transmit_total = peers.receive_total, peers.transmit_total
    carried = _carried(slots, device)
    reset = reset | carried.keys()
    changed = []
    columns = device.changed, _bounded(device.last_handshake), device.receive, device.transmit
    for slot, handshake, received, transmitted in zip(*columns, strict=True):
        index = slots[slot]
        if index < 0:
            continue
        more_received = received - receive[index]
        more_transmitted = transmitted - transmit[index]
        is_changed = more_received or more_transmitted or handshake != handshakes[index]
        if (
            more_received < 0
            or more_transmitted < 0
            or all_reset
            or (not handshake and handshakes[index])
            or index in reset
        ):
            carried_received, carried_transmitted = carried.get(index, (0, 0))
            more_received = received + carried_received
            more_transmitted = transmitted + carried_transmitted
        if not (is_changed or more_received or more_transmitted):
            continue
        changed.append(index)
        handshakes[index], receive[index], transmit[index] = handshake, received, transmitted
        receive_total[index] = min(receive_total[index] + more_received, MAX_COUNTER)
        transmit_total[index] = min(transmit_total[index] + more_transmitted, MAX_COUNTER)
    return changed


def _carried(slots: Sequence[int], device: DeviceFrame) -> dict[int, tuple[int, int]]:
    """Index → bytes received and sent between the previous kept frame and the reset."""
    carried = zip(device.carried_receive, device.carried_transmit, strict=True)
    return dict(zip((slots[slot] for slot in device.reset), carried, strict=True))


def _bounded(handshakes: Sequence[int]) -> Sequence[int]:
    if max(handshakes, default=0) <= LATEST:
        return handshakes
    return [min(handshake, LATEST) for handshake in handshakes]
