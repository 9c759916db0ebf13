"""The families about peers whose values come from a reading or from the records.

blocks.py has the families whose values follow from the configuration of a peer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from exporter.metrics.declarations.content import Tables
from exporter.metrics.declarations.family import Family
from exporter.metrics.declarations.peers import (
    ALLOWED_IPS_CHANGED,
    ENDPOINT_ADDRESS_CHANGES,
    ENDPOINT_CHANGES,
    ENDPOINT_RETURNS,
    FIRST_SEEN,
    HANDSHAKE_AGE,
    HANDSHAKES,
    LAST_HANDSHAKE,
    LIFETIME_FAMILIES,
    RECEIVED_BYTES,
    TRANSMITTED_BYTES,
    UNKNOWN,
)
from exporter.metrics.gathering.blocks import KeptBlock
from exporter.metrics.gathering.inputs import RecordedTotals
from exporter.model import Device, Peer
from exporter.observe import Observed

Columns = dict[Family, Sequence[int | None]]


def reading_columns(device: Device, observed: Observed, now: float) -> Columns:
    """The columns that change with every reading. `now` is in UNIX seconds."""
    return {
        RECEIVED_BYTES: device.receive_bytes,
        TRANSMITTED_BYTES: device.transmit_bytes,
        LAST_HANDSHAKE: device.last_handshake,
        HANDSHAKE_AGE: ages(device.last_handshake, int(now)),
        HANDSHAKES: observed.handshakes,
        ENDPOINT_CHANGES: observed.endpoint_changes,
    }


def ages(handshakes: Sequence[int], now: int) -> Sequence[int | None]:
    """Seconds since each handshake, not below 0; None = there was none."""
    if handshakes and min(handshakes) > 0 and max(handshakes) <= now:
        return [now - then for then in handshakes]
    return [max(now - then, 0) if then else None for then in handshakes]


def recorded_columns(peers: Sequence[Peer], totals: RecordedTotals | None, *, lifetime: bool) -> Columns:
    """The columns from the database. `lifetime`: with the totals of bytes.

    The totals are not extrapolated, so that they never decrease, whatever is restarted.
    """
    keys = [peer.public_key for peer in peers]
    columns: Columns = {
        FIRST_SEEN: [totals.first_seen(key) for key in keys] if totals else [None] * len(keys)
    }
    if lifetime:
        found = [(totals.get(key) if totals else None) or (None, None) for key in keys]
        for side, family in enumerate(LIFETIME_FAMILIES):
            columns[family] = [total[side] for total in found]
    return columns


def some_peers_samples(blocks: Mapping[str, Sequence[KeptBlock]], observed: Mapping[str, Observed]) -> Tables:
    """The samples of the families that few peers have. Both maps are by the label of an interface."""

    def of(interface: str, public_key: str) -> dict[str, str]:
        return {"interface": interface, "public_key": public_key}

    moves = [
        (of(interface, key), made) for interface in blocks for key, made in observed[interface].moves.items()
    ]
    return {
        UNKNOWN: [
            (of(interface, key), 1)
            for interface, kept in blocks.items()
            for block in kept
            for key in block.unknown
        ],
        ALLOWED_IPS_CHANGED: [
            (of(interface, key), round(at, 3))
            for interface in blocks
            for key, at in observed[interface].allowed_ips_changed_at.items()
        ],
        ENDPOINT_ADDRESS_CHANGES: [(labels, made.address_changes) for labels, made in moves],
        ENDPOINT_RETURNS: [(labels, made.returns) for labels, made in moves],
    }
