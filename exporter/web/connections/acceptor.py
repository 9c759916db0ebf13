"""Accepts connections.

Each connection gets a task of its own and the TLS context that is in force when it is accepted. At
the limit, a new connection replaces the oldest one that is idle and never had a request admitted. If there
is none, the new connection is closed before its TLS handshake.
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
        self._tasks: set[asyncio.Task[None]] = set()  # also of connections that are being closed
        self._open: dict[asyncio.Task[None], Connection] = {}  # oldest first

    @property
    def open_connections(self) -> int:
        """Connections that are open, or in their TLS handshake."""
        return len(self._open)

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
        await _cancel(self._tasks)

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
            if len(self._open) >= self._limits.connections and not self._evict():
                self._turn_away(accepted, tls)
                continue
            connection = self._protocol()
            task = asyncio.create_task(self._serve(accepted, tls, connection))
            self._tasks.add(task)
            self._open[task] = connection
            task.add_done_callback(self._ended)
            await asyncio.sleep(0)  # a full backlog must not keep connections from sending their requests

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._open.pop(task, None)

    def _evict(self) -> bool:
        """Closes the oldest idle connection without an admitted request; False = there is none."""
        task = next((task for task, connection in self._open.items() if connection.evictable), None)
        if task is None:
            return False
        self._stats.connections_refused += 1
        del self._open[task]
        task.cancel()
        return True

    def _turn_away(self, accepted: socket.socket, tls: ServerTls | None) -> None:
        self._stats.connections_refused += 1
        with accepted, contextlib.suppress(OSError):
            if tls is None:
                accepted.send(BUSY)
                accepted.shutdown(socket.SHUT_WR)

    async def _serve(self, accepted: socket.socket, tls: ServerTls | None, connection: Connection) -> None:
        """One connection, from its TLS handshake until it is lost."""
        loop = asyncio.get_running_loop()
        # The kernel ends a connection whose client acknowledges nothing any more, also while it is being
        # closed.
        milliseconds = int(self._limits.write_seconds * 1000)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        handshake = self._limits.head_seconds if tls else None
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: connection,
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
