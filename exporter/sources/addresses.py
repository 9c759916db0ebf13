"""Decodes the endpoints and allowed IPs of a WireGuard dump, as text in the format of wg(8)."""

from __future__ import annotations

import socket
import struct

from exporter.errors import Malformed
from exporter.sources.attributes import Buffer, fixed, header, walk

A_FAMILY, A_ADDRESS, A_MASK = 1, 2, 3  # attributes of an allowed IP, include/uapi/linux/wireguard.h
U8, U16 = struct.Struct("=B"), struct.Struct("=H")
SOCKADDR_IN = struct.Struct("=H2s4s8x")
SOCKADDR_IN6 = struct.Struct("=H2s4x16sI")


def endpoint(buffer: Buffer, start: int, end: int) -> str:
    """A sockaddr in the format of `wg show`: `192.0.2.1:51820`, `[2001:db8::1]:51820`,
    `[fe80::1%eth0]:51820`."""
    if end - start == SOCKADDR_IN.size:
        _, port, address = SOCKADDR_IN.unpack_from(buffer, start)
        return f"{socket.inet_ntop(socket.AF_INET, address)}:{int.from_bytes(port, 'big')}"
    if end - start == SOCKADDR_IN6.size:
        _, port, address, scope = SOCKADDR_IN6.unpack_from(buffer, start)
        host = socket.inet_ntop(socket.AF_INET6, address)
        if scope:  # getnameinfo gives the name of the link, or its index if it has none: as in wg(8)
            flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
            host = socket.getnameinfo((host, 0, 0, scope), flags)[0]
        return f"[{host}]:{int.from_bytes(port, 'big')}"
    raise Malformed(f"an endpoint has {end - start} bytes; it must have 16 (IPv4) or 28 (IPv6)")


# The order in which the kernel sends the attributes of an allowed IP: nest, mask, family, address.
_MASK, _FAMILY = header(5, A_MASK), header(6, A_FAMILY)
IPV4 = struct.Struct("=IIB3xIH2xI4s")
IPV6 = struct.Struct("=IIB3xIH2xI16s")
IPV4_HEADERS = (_MASK, _FAMILY, socket.AF_INET, header(8, A_ADDRESS))
IPV6_HEADERS = (_MASK, _FAMILY, socket.AF_INET6, header(20, A_ADDRESS))


def allowed_ips(buffer: Buffer, start: int, end: int) -> tuple[str, ...]:
    """The prefixes of a peer: `10.0.0.0/8`, `fd00::/64`."""
    found = []
    for _, first, last in walk(buffer, start, end):
        if last - first == IPV4.size - 4:
            _, mask_header, mask, family_header, family, header, address = IPV4.unpack_from(buffer, first - 4)
            if (mask_header, family_header, family, header) == IPV4_HEADERS and mask <= 32:
                found.append(f"{socket.inet_ntop(socket.AF_INET, address)}/{mask}")
                continue
        elif last - first == IPV6.size - 4:
            _, mask_header, mask, family_header, family, header, address = IPV6.unpack_from(buffer, first - 4)
            if (mask_header, family_header, family, header) == IPV6_HEADERS and mask <= 128:
                found.append(f"{socket.inet_ntop(socket.AF_INET6, address)}/{mask}")
                continue
        found.append(walk_allowed_ip(buffer, first, last))
    return tuple(found)


def walk_allowed_ip(buffer: Buffer, start: int, end: int) -> str:
    """An allowed IP whose attributes have any order."""
    family = mask = -1
    address = b""
    for kind, first, last in walk(buffer, start, end):
        if kind == A_FAMILY:
            (family,) = fixed(buffer, U16, first, last)
        elif kind == A_ADDRESS:
            address = bytes(buffer[first:last])
        elif kind == A_MASK:
            (mask,) = fixed(buffer, U8, first, last)
    if (family, len(address)) not in {(socket.AF_INET, 4), (socket.AF_INET6, 16)} or mask not in range(
        len(address) * 8 + 1
    ):
        raise Malformed("an allowed IP has no valid address, family or mask")
    return f"{socket.inet_ntop(family, address)}/{mask}"
