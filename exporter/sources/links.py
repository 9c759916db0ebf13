"""The host's network links with their counters: one RTM_GETLINK dump (include/uapi/linux/if_link.h).

The links are read with each scrape, so they are decoded here in a few microseconds each, with the socket
code that devices use as well.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from exporter.model import Link
from exporter.sources.attributes import fixed, text, walk
from exporter.sources.nlsocket import NetlinkSocket, retried

RTM_NEWLINK, RTM_GETLINK = 16, 18
IFLA_IFNAME, IFLA_LINKINFO, IFLA_STATS64, IFLA_INFO_KIND = 3, 18, 23, 1
IFF_UP = 0x1
IFINFO = struct.Struct("=BxHiII")  # family, type, index, flags, change mask
STATS64 = struct.Struct("=8Q")  # received, sent: packets, bytes, errors, dropped, in pairs


@dataclass(frozen=True, slots=True)
class NamedLink:
    """A link with its index, its name, and its kind ("wireguard", "tun", …)."""

    index: int
    name: str
    kind: str
    link: Link


def links(timeout: float, retries: int = 4) -> tuple[list[NamedLink], int]:
    """Every link of the calling thread's network namespace, and the number of interrupted dumps discarded."""
    return retried(lambda: _dump(timeout), retries, "the interfaces")


def _dump(timeout: float) -> list[NamedLink]:
    with NetlinkSocket(socket.NETLINK_ROUTE, timeout) as netlink:
        request = IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        return [decode(netlink.buffer, start, end) for start, end in netlink.dump(RTM_GETLINK, request)]


def decode(buffer: bytes | bytearray, start: int, end: int) -> NamedLink:
    """Decodes one RTM_NEWLINK message."""
    _, _, index, flags, _ = fixed(buffer, IFINFO, start, start + min(IFINFO.size, end - start))
    name = kind = ""
    stats: tuple[int, ...] = (0,) * 8
    for attribute, first, last in walk(buffer, start + IFINFO.size, end):
        if attribute == IFLA_IFNAME:
            name = text(buffer, first, last)
        elif attribute == IFLA_LINKINFO:
            for inner, inner_first, inner_last in walk(buffer, first, last):
                if inner == IFLA_INFO_KIND:
                    kind = text(buffer, inner_first, inner_last)
        elif attribute == IFLA_STATS64:  # newer kernels append more fields
            stats = fixed(buffer, STATS64, first, min(last, first + STATS64.size))
    rx_packets, tx_packets, rx_bytes, tx_bytes, rx_errors, tx_errors, rx_drops, tx_drops = stats
    link = Link(
        up=bool(flags & IFF_UP),
        receive_bytes=rx_bytes,
        transmit_bytes=tx_bytes,
        receive_packets=rx_packets,
        transmit_packets=tx_packets,
        receive_errors=rx_errors,
        transmit_errors=tx_errors,
        receive_drops=rx_drops,
        transmit_drops=tx_drops,
        index=index,
    )
    return NamedLink(index, name, kind, link)
