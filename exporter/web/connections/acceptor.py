"""Accepts connections.

Each connection gets a task of its own and the TLS context that is in force when it is accepted. A
connection above the limit is closed before its TLS handshake.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Collection

from exporter.web.connections.connection import Connection, abort
from exporter.web.limits.connectionlimits import ConnectionLimits
from exporter.web.messages.reply import RETRY_AFTER
from exporter.web.stats import WebStats
from exporter.web.tls.context import ServerTls

CLOSE_SECONDS = 1.0  # for closing a connection; the event loop needs milliseconds

BUSY = (
    "HTTP/1.1 503 Service Unavailable\r\n"
    f"Retry-After: {RETRY_AFTER}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
).encode()


class Acceptor:
    """`start`, then `stop_accepting`, then `close`.

    `protocol` makes the protocol of a connection. `tls` gives the TLS settings in force; None = plain HTTP.
    """

    def __init__(
        self,
        protocol: Callable[[], Connection],
        tls: Callable[[], ServerTls | None],
        limits: ConnectionLimits,
        stats: WebStats,
        log: logging.Logger,
    ) -> None:
        self._protocol = protocol
        self._tls = tls
        self._limits = limits
        self._stats = stats
        self._log = log
        self._listeners: tuple[socket.socket, ...] = ()
        self._accepting: list[asyncio.Task[None]] = []
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def open_connections(self) -> int:
        """Connections that are open, or in their TLS handshake."""
        return len(self._connections)

    def start(self, listeners: Collection[socket.socket]) -> None:
        """Accepts connections on these sockets, and closes them in the end."""
        self._listeners = tuple(listeners)
        self._accepting = [asyncio.create_task(self._accept(listener)) for listener in self._listeners]

    async def stop_accepting(self) -> None:
        """Closes the listening sockets. Connections stay open."""
        await _cancel(self._accepting)
        for listener in self._listeners:
            listener.close()

    async def close(self) -> None:
        """Closes every connection at once."""
        await _cancel(self._connections)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        failing = False
        while True:
            try:
                accepted, _ = await loop.sock_accept(listener)
            except OSError as error:  # usually no file descriptor is left; the client waits in the backlog
                if not failing:
                    self._log.error("cannot accept connections: %s; trying every second", error.strerror)
                failing = True
                await asyncio.sleep(1)
                continue
            if failing:
                self._log.info("connections are accepted again")
            failing = False
            tls = self._tls()
            if len(self._connections) >= self._limits.connections:
                self._turn_away(accepted, tls)
                continue
            task = asyncio.create_task(self._serve(accepted, tls))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    def _turn_away(self, accepted: socket.socket, tls: ServerTls | None) -> None:
        self._stats.connections_refused += 1
        with accepted, contextlib.suppress(OSError):
            if tls is None:
                accepted.send(BUSY)
                accepted.shutdown(socket.SHUT_WR)

    async def _serve(self, accepted: socket.socket, tls: ServerTls | None) -> None:
        """One connection, from its TLS handshake until it is lost."""
        loop = asyncio.get_running_loop()
        # The kernel ends a connection whose client acknowledges nothing any more, also while it is being
        # closed.
        milliseconds = int(self._limits.write_seconds * 1000)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        handshake = self._limits.head_seconds if tls else None
        try:
            transport, connection = await loop.connect_accepted_socket(
                self._protocol,
                accepted,
                ssl=tls.context if tls else None,
                ssl_handshake_timeout=handshake,
                ssl_shutdown_timeout=handshake,
            )
        except OSError as error:
            self._stats.handshake_failures += 1
            self._log.debug("TLS handshake failed: %s", error)
            return
        try:
            if tls and not tls.admits(transport.get_extra_info("peercert") or {}):
                self._stats.handshake_failures += 1
                self._log.warning(
                    "%s has a certificate without a name in client_allowed_sans", _client(transport)
                )
                return
            await connection.lost
        finally:
            abort(transport)
            with contextlib.suppress(
                OSError
            ):  # abort() does nothing for a TLS transport that was closed twice
                accepted.shutdown(socket.SHUT_RDWR)
            await asyncio.wait((connection.lost,), timeout=CLOSE_SECONDS)


def _client(transport: asyncio.BaseTransport) -> str:
    return str((transport.get_extra_info("peername") or ("a client",))[0])


async def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    waiting = list(tasks)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
