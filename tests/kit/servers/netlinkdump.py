"""Makes the netlink messages that the kernel sends for a dump of given peers."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface

from exporter.sources import addresses
from exporter.sources import wgdump as wg

HEADER_SIZE = 20  # netlink and generic netlink header
NESTED = 0x8000


@dataclass(frozen=True)
class PeerFacts:
    """A peer in the kernel, with raw keys."""

    key: bytes
    preshared_key: bytes = bytes(32)
    handshake: tuple[int, int] = (0, 0)
    keepalive: int = 0
    sent: int = 0
    received: int = 0
    endpoint: tuple[str, int] | tuple[str, int, int] | None = None  # address, port, scope of IPv6
    allowed_ips: Sequence[str] = ()
    version: int = 1


def attribute(kind: int, payload: bytes) -> bytes:
    """An attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def peer_attributes(peer: PeerFacts) -> list[bytes]:
    """The attributes of a peer in the order of the kernel."""
    made = [
        attribute(wg.P_PUBLIC_KEY, peer.key),
        attribute(wg.P_PRESHARED_KEY, peer.preshared_key),
        attribute(wg.P_HANDSHAKE, struct.pack("=qq", *peer.handshake)),
        attribute(wg.P_KEEPALIVE, struct.pack("=H", peer.keepalive)),
        attribute(wg.P_TX_BYTES, struct.pack("=Q", peer.sent)),
        attribute(wg.P_RX_BYTES, struct.pack("=Q", peer.received)),
        attribute(wg.P_PROTOCOL_VERSION, struct.pack("=I", peer.version)),
    ]
    if peer.endpoint:
        made.append(attribute(wg.P_ENDPOINT, sockaddr(*peer.endpoint)))
    if peer.allowed_ips:
        made.append(attribute(wg.P_ALLOWED_IPS | NESTED, allowed_ips(peer.allowed_ips)))
    return made


def sockaddr(address: str, port: int, scope: int = 0) -> bytes:
    big = struct.pack("!H", port)
    if ":" in address:
        raw = socket.inet_pton(socket.AF_INET6, address)
        return struct.pack("=H2sI16sI", socket.AF_INET6, big, 0, raw, scope)
    return struct.pack("=H2s4s8x", socket.AF_INET, big, socket.inet_pton(socket.AF_INET, address))


def allowed_ips(prefixes: Iterable[str]) -> bytes:
    made = b""
    for prefix in prefixes:
        network = ip_interface(prefix)
        family = socket.AF_INET if network.version == 4 else socket.AF_INET6
        inside = attribute(addresses.A_MASK, struct.pack("=B", network.network.prefixlen))
        inside += attribute(addresses.A_FAMILY, struct.pack("=H", family)) + attribute(
            addresses.A_ADDRESS, network.packed
        )
        made += attribute(NESTED, inside)
    return made


def device_attributes(name: str, private_key: bytes = b"", public_key: bytes = b"", port: int = 0) -> bytes:
    made = attribute(wg.LISTEN_PORT, struct.pack("=H", port)) + attribute(wg.FWMARK, struct.pack("=I", 0))
    made += attribute(wg.IFINDEX, struct.pack("=I", 7)) + attribute(wg.IFNAME, name.encode() + b"\0")
    if private_key:
        made += attribute(wg.PRIVATE_KEY, private_key) + attribute(wg.PUBLIC_KEY, public_key)
    return made


def nested(parts: Iterable[bytes], pad: bool = False, base: int = 0) -> bytes:
    """A peer's nest. With `pad`, an empty attribute precedes each u64 that would not be aligned, as on
    architectures without unaligned access; `base` is the offset of the nest in its message."""
    inside = b""
    for part in parts:
        kind = struct.unpack_from("=HH", part)[1]
        if pad and kind in (wg.P_TX_BYTES, wg.P_RX_BYTES) and (base + 4 + len(inside)) % 8 == 0:
            inside += attribute(0, b"")
        inside += part
    return attribute(NESTED, inside)


def messages(
    head: bytes, peers: Sequence[PeerFacts], per_message: int = 3, *, pad: bool = False
) -> list[bytes]:
    """The attributes of each message of a dump: the device with its first peers, then the other peers."""
    made = []
    for at in range(0, max(len(peers), 1), per_message):
        front = head if at == 0 else b""
        nests = b""
        for peer in peers[at : at + per_message]:
            base = HEADER_SIZE + len(front) + 4 + len(nests)
            nests += nested(peer_attributes(peer), pad, base)
        made.append(front + (attribute(wg.PEERS | NESTED, nests) if nests else b""))
    return made
