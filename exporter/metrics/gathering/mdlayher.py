"""From a reading to the content of a page of mdlayher/wireguard_exporter (`collector.go`).

It is built on client_golang, whose registry sorts series by their label values.
docs/migrating.md lists the differences.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter

from exporter.metrics.declarations.content import Group, MdlayherContent
from exporter.metrics.declarations.family import Family
from exporter.metrics.declarations.mdlayher import (
    ALLOWED_IPS_INFO,
    DEVICE_INFO,
    LAST_HANDSHAKE,
    PEER_INFO,
    RECEIVED_BYTES,
    TRANSMITTED_BYTES,
)
from exporter.metrics.gathering.inputs import Inputs
from exporter.metrics.gathering.own import own_samples
from exporter.model import Device, Peer, split_endpoint

NO_PUBLIC_KEY = "A" * 43 + "="  # of a device without a key: 32 zero bytes in base64


def gather_mdlayher(inputs: Inputs) -> MdlayherContent:
    """The families in the order of their names, their series in the order of the label values."""
    devices = sorted(inputs.snapshot.devices, key=lambda device: device.label)

    def name(device: Device, peer: Peer) -> str:
        entry = inputs.directory.get(peer.public_key, device.label)
        return entry.name if entry else ""

    groups = [
        _info(
            DEVICE_INFO,
            ("device", "public_key"),
            ((device.label, device.public_key or NO_PUBLIC_KEY) for device in devices),
        ),
        _info(
            ALLOWED_IPS_INFO,
            ("allowed_ips", "device", "family", "public_key"),
            (
                (network, device.label, "IPv6" if ":" in network else "IPv4", peer.public_key)
                for device in devices
                for peer in device.peers
                for network in peer.allowed_ips
            ),
        ),
        _info(
            PEER_INFO,
            ("device", "endpoint", "name", "public_key"),
            (
                (device.label, _endpoint(device, peer), name(device, peer), peer.public_key)
                for device in devices
                for peer in device.peers
            ),
        ),
        _counters(devices),
    ]
    return MdlayherContent(groups, own_samples(inputs))


def _info(family: Family, names: Sequence[str], series: Iterable[tuple[str, ...]]) -> Group:
    """A family whose values are all 1, sorted by its labels."""
    rows = _in_order(series)
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    return Group(dict(zip(names, columns, strict=True)), {family: [1] * len(rows)})


def _counters(devices: Iterable[Device]) -> Group:
    """Handshakes and bytes of each peer."""
    rows = [
        (device.label, *row)
        for device in devices
        for row in sorted(
            zip(
                [peer.public_key for peer in device.peers],
                device.last_handshake,
                device.receive_bytes,
                device.transmit_bytes,
                strict=True,
            )
        )
    ]
    labels, keys, handshakes, received, transmitted = zip(*rows, strict=True) if rows else ((),) * 5
    return Group(
        {"device": labels, "public_key": keys},
        {LAST_HANDSHAKE: handshakes, RECEIVED_BYTES: received, TRANSMITTED_BYTES: transmitted},
    )


def _in_order(series: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Series sorted by their label values.

    Sorting holds the interpreter's lock, so it is kept short: strings sort several times faster than
    tuples, and values joined by a NUL have the same order, since no character is smaller.
    """
    keyed = [("\0".join(values), values) for values in series]
    keyed.sort(key=itemgetter(0))
    return [values for _, values in keyed]


def _endpoint(device: Device, peer: Peer) -> str:
    """The endpoint as wgctrl-go reads it: from the kernel without the zone of a link-local address."""
    if device.kind == "userspace" or "%" not in peer.endpoint:
        return peer.endpoint
    address, port = split_endpoint(peer.endpoint)
    return f"[{address.partition('%')[0]}]:{port}"
