"""Receiving a dump without looking into it: the least that any reader of WireGuard must do."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from exporter.sources.netlink import (
    GENL_HEADER,
    GET_DEVICE,
    INDEX_ATTRIBUTE,
    NETLINK_GENERIC,
    VERSION,
    WGDEVICE_A_IFINDEX,
    resolve_family,
)
from exporter.sources.nlsocket import BUFFER_SIZE, HEADER, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR


def request(family: int, index: int) -> bytes:
    """The request for the dump of the device with an interface index."""
    payload = GENL_HEADER.pack(GET_DEVICE, VERSION) + INDEX_ATTRIBUTE.pack(8, WGDEVICE_A_IFINDEX, index)
    return HEADER.pack(HEADER.size + len(payload), family, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + payload


def receive(sock: socket.socket, asked: bytes, buffer: bytearray) -> int:
    """Ask, and receive until DONE; the bytes that came. Looks at the headers of messages and nothing else."""
    total = 0
    sock.send(asked)
    while True:
        size = sock.recv_into(buffer)
        total += size
        at = 0
        while at < size:
            length, kind = HEADER.unpack_from(buffer, at)[:2]
            if kind == NLMSG_DONE:
                return total
            if kind == NLMSG_ERROR:
                raise OSError("the kernel refuses the dump")
            at += length + 3 & ~3


class RawDump:
    """A contender: one dump, from opening the socket to closing it. `opener` gives the socket to ask on."""

    def __init__(self, opener: Callable[[], socket.socket], asked: bytes) -> None:
        self._open = opener
        self._asked = asked
        self._buffer = bytearray(BUFFER_SIZE)
        self.bytes = 0

    def __call__(self) -> float:
        started = time.perf_counter()
        with self._open() as sock:
            self.bytes = receive(sock, self._asked, self._buffer)
        return time.perf_counter() - started


def of_kernel(interface: str) -> RawDump:
    """The raw dump of a WireGuard interface of this network namespace."""
    asked = request(resolve_family(), socket.if_nametoindex(interface))
    return RawDump(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC), asked)
