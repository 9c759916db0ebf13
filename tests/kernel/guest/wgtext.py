"""A device written as the real `wg` writes it, and what `wg` wrote, both without keys that are secret."""

from __future__ import annotations

from exporter.model import Device, Peer
from tests.kernel.guest.helpers import Namespace

NONE, SET = "(none)", "(set)"


def dump_of(device: Device) -> list[list[str]]:
    """The fields that `wg show INTERFACE dump` prints for this device."""
    fwmark = f"0x{device.fwmark:x}" if device.fwmark else "off"
    counters = zip(device.last_handshake, device.receive_bytes, device.transmit_bytes, strict=True)
    return [[device.public_key or NONE, str(device.listen_port), fwmark]] + [
        [
            peer.public_key,
            SET if peer.has_preshared_key else NONE,
            peer.endpoint or NONE,
            ",".join(peer.allowed_ips) or NONE,
            *map(str, numbers),
            str(peer.persistent_keepalive or "off"),
        ]
        for peer, numbers in zip(device.peers, counters, strict=True)
    ]


def dump_by_wg(space: Namespace, interface: str) -> list[list[str]]:
    """What `wg show INTERFACE dump` prints, without the private key; of a preshared key, that it is there."""
    device, *peers = space.dump(interface)
    return [device[1:]] + [[peer[0], peer[1] if peer[1] == NONE else SET, *peer[2:]] for peer in peers]


def conf_of(device: Device, *, private_key: bool) -> list[str]:
    """The lines that `wg showconf` prints for this device, in the masked form of `conf_by_wg`."""
    fields = {
        "ListenPort": str(device.listen_port or ""),
        "FwMark": f"0x{device.fwmark:x}" if device.fwmark else "",
        "PrivateKey": SET if private_key else "",
    }
    return _section("Interface", fields) + [line for peer in device.peers for line in _peer_section(peer)]


def conf_by_wg(space: Namespace, interface: str) -> list[str]:
    """The lines of `wg showconf` that are not empty, secret keys replaced by `(set)`."""
    lines = space.run("wg", "showconf", interface).splitlines()
    secret = ("PrivateKey = ", "PresharedKey = ")
    return [
        line.partition("=")[0] + f"= {SET}" if line.startswith(secret) else line for line in lines if line
    ]


def _peer_section(peer: Peer) -> list[str]:
    fields = {
        "PublicKey": peer.public_key,
        "PresharedKey": SET if peer.has_preshared_key else "",
        "AllowedIPs": ", ".join(peer.allowed_ips),
        "Endpoint": peer.endpoint,
        "PersistentKeepalive": str(peer.persistent_keepalive or ""),
    }
    return _section("Peer", fields)


def _section(title: str, fields: dict[str, str]) -> list[str]:
    return [f"[{title}]", *(f"{name} = {value}" for name, value in fields.items() if value)]
