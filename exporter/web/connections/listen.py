"""Listening sockets. An error names the address and the remedy."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Sequence

from exporter.errors import ArgusError

BACKLOG = 128

# This host may have only some of the addresses of a name: "localhost" is also ::1 where IPv6 is disabled.
_MISSING_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class ListenError(ArgusError):
    """The server cannot listen on an address."""


async def listen(addresses: Sequence[tuple[str, int]]) -> list[socket.socket]:
    """Non-blocking sockets that listen on each (host, port); for a name, on all its addresses.

    `::` is every IPv6 address, and no IPv4 address: that is `0.0.0.0`. Raises `ListenError`, and then no
    socket stays open.
    """
    with contextlib.ExitStack() as opened:
        sockets = [
            opened.enter_context(listener)
            for host, port in addresses
            for listener in await _all_of(host, port)
        ]
        opened.pop_all()
    return sockets


async def _all_of(host: str, port: int) -> list[socket.socket]:
    """One socket for each address of the host; at least one."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise ListenError(
            f"cannot listen on {_name(host, port)}: {error.strerror}", "correct the host"
        ) from None
    sockets: list[socket.socket] = []
    missing = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for family, _, _, _, address in dict.fromkeys(found):
        try:
            sockets.append(_bind(family, address))
        except OSError as error:
            if error.errno in _MISSING_HERE:
                missing = error
                continue
            for listener in sockets:
                listener.close()
            raise _error(host, port, error) from None
    if not sockets:
        raise _error(host, port, missing)
    return sockets


def _bind(family: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _error(host: str, port: int, error: OSError) -> ListenError:
    remedy = {
        errno.EADDRINUSE: f"another program listens: `ss -ltnp sport = :{port}` shows which;"
        " stop it or choose another port",
        errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher port",
        errno.EADDRNOTAVAIL: "this host has no such address; `ip address` shows those it has",
        errno.EAFNOSUPPORT: "this host does not have this address family",
    }.get(error.errno or 0, "choose another address")
    return ListenError(f"cannot listen on {_name(host, port)}: {error.strerror}", remedy)


def _name(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
