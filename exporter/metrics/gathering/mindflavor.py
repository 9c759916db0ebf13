"""From a reading to the content of a page of MindFlavor/prometheus_wireguard_exporter.

Labels and values are those of its version 3.6.6 (`src/wireguard.rs`, `src/friendly_description.rs`).
docs/migrating.md lists the differences: where the original would show a wrong value or break its page.
"""

from __future__ import annotations

from exporter.directory.entry import Entry
from exporter.metrics.declarations.content import MindFlavorContent
from exporter.metrics.declarations.family import Family
from exporter.metrics.declarations.mindflavor import (
    HANDSHAKE_DELAY,
    LATEST_HANDSHAKE,
    RECEIVED_BYTES,
    SENT_BYTES,
)
from exporter.metrics.gathering.inputs import Inputs
from exporter.metrics.gathering.own import own_samples
from exporter.model import Device, Peer, split_endpoint


def gather_mindflavor(inputs: Inputs, *, handshake_delay: bool, remote_ip: bool) -> MindFlavorContent:
    """Interfaces by name, peers in the order of their interface. The switches are its `-d` and `-r`."""
    devices = sorted(inputs.snapshot.devices, key=lambda device: device.label)
    labels = [
        _labels(device, peer, inputs.directory.get(peer.public_key, device.label), remote_ip=remote_ip)
        for device in devices
        for peer in device.peers
    ]
    handshakes = [value for device in devices for value in device.last_handshake]
    columns: dict[Family, list[int] | list[int | None]] = {
        SENT_BYTES: [value for device in devices for value in device.transmit_bytes],
        RECEIVED_BYTES: [value for device in devices for value in device.receive_bytes],
        LATEST_HANDSHAKE: handshakes,
    }
    if handshake_delay:
        columns[HANDSHAKE_DELAY] = [_delay(then, inputs.snapshot.taken_at) for then in handshakes]
    return MindFlavorContent(labels, columns, own_samples(inputs))


def _delay(handshake: int, now: float) -> int | None:
    """Whole seconds since a handshake; None = there was none. 0 if the clock was set back since."""
    return max(0, int(now - handshake)) if handshake else None


def _labels(device: Device, peer: Peer, entry: Entry | None, *, remote_ip: bool) -> dict[str, str]:
    """A peer's labels in the original's order: friendly_json is between the address and the port."""
    address, port = split_endpoint(peer.endpoint) if remote_ip else ("", "")
    labels = {
        "interface": device.label,
        "public_key": peer.public_key,
        "allowed_ips": ",".join(peer.allowed_ips) or "(none)",
    }
    if entry and entry.name:
        labels["friendly_name"] = entry.name
    if address:
        labels["remote_ip"] = address.partition("%")[0]
    if entry:
        labels.update(entry.extra)  # directory/comment.py refuses names that are labels here already
    if port:
        labels["remote_port"] = port
    return labels
