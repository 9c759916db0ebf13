"""A view as a JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from exporter.liveness import State
from exporter.show.peers import PeerRow, View


def document(view: View, rows: Sequence[PeerRow]) -> Mapping[str, object]:
    """The document that `show --json` prints; docs/operations.md describes the keys."""
    return {
        "gateway": view.snapshot.gateway,
        "taken_at": view.snapshot.taken_at,
        "states": {state.value: view.states[state] for state in State},
        "interfaces": [
            {
                "interface": device.label,
                "kind": device.kind,
                "public_key": device.public_key,
                "listen_port": device.listen_port,
                "up": device.link.up if device.link else None,
                "peers": len(device.peers),
            }
            for device in view.snapshot.devices
        ],
        "unreadable": [
            {
                "source": reading.source,
                "interface": reading.interface,
                "reason": reading.reason,
                "message": reading.message,
                "remedy": reading.remedy,
            }
            for reading in view.unreadable
        ],
        "directory_error": view.directory_error or None,
        "peers": [_peer(row) for row in rows],
    }


def _peer(row: PeerRow) -> Mapping[str, object]:
    entry = row.entry
    return {
        "interface": row.interface,
        "public_key": row.peer.public_key,
        "name": entry.name if entry else "",
        "site": row.site,
        "role": entry.role if entry else "",
        "owner": entry.owner if entry else "",
        "criticality": entry.criticality if entry else "normal",
        "expected": row.expected,
        "state": row.state.value,
        "last_handshake": row.last_handshake or None,
        "handshake_age": None if row.age is None else round(row.age, 3),
        "stale_after": row.window,
        "receive_bytes": row.receive_bytes,
        "transmit_bytes": row.transmit_bytes,
        "receive_rate": None if row.receive_rate is None else round(row.receive_rate, 3),
        "transmit_rate": None if row.transmit_rate is None else round(row.transmit_rate, 3),
        "endpoint": row.peer.endpoint,
        "allowed_ips": row.peer.allowed_ips,
        "persistent_keepalive": row.peer.persistent_keepalive,
        "has_preshared_key": row.peer.has_preshared_key,
    }
