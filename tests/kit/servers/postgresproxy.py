"""A TCP proxy in front of a server's Unix socket, which can cut and refuse connections."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from exporter.store.database.settings import Target

ANY_PORT = ("127.0.0.1", 0)


class Proxy:
    """Forwards connections from `port` of 127.0.0.1. A context manager.

    `connections`: the number of accepted ones; `cuts`: how often all of them were cut.
    """

    def __init__(self, server: Path) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._left: int | None = None  # bytes to the server until the cut; None = no cut
        self._address = ANY_PORT
        self._listener: socket.socket | None = None
        self.connections = 0
        self.cuts = 0

    def __enter__(self) -> Proxy:
        self.accept()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        self.cut()
        for thread in self._threads:
            thread.join()

    @property
    def port(self) -> int:
        return self._address[1]

    def target(self, behind: Target) -> Target:
        """The same database, through this proxy."""
        return dataclasses.replace(behind, host=self._address[0], port=self.port)

    def accept(self) -> None:
        """Accept connections, on the same port as before."""
        self._listener = socket.create_server(self._address)
        self._address = self._listener.getsockname()
        self._start(self._listen, self._listener)

    def refuse(self) -> None:
        """Refuse new connections; existing ones stay."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread
            self._listener.close()
            self._listener = None

    def cut(self) -> None:
        """End every connection now."""
        with self._lock:
            self._cut()

    def cut_after(self, size: int) -> None:
        """End every connection, once, when `size` more bytes went to the server, even within a message."""
        with self._lock:
            self._left = size

    def _cut(self) -> None:
        self.cuts += 1
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _listen(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._start(self._serve, listener.accept()[0])

    def _serve(self, client: socket.socket) -> None:
        """Forward both directions of one connection; the end of one ends both."""
        with client, socket.socket(socket.AF_UNIX) as server:
            with contextlib.suppress(OSError):  # without a server, the client's connection ends
                server.connect(str(self._server))
                with self._lock:
                    self.connections += 1
                    self._open |= {client, server}
                back = threading.Thread(target=self._pump, args=(server, client, False))
                back.start()
                self._pump(client, server, True)
                back.join()
            with self._lock:
                self._open -= {client, server}

    def _pump(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(self._allowed(data) if counted else data)
                if counted:
                    self._cut_when_due()
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _allowed(self, data: bytes) -> bytes:
        with self._lock:
            if self._left is None:
                return data
            data = data[: self._left]
            self._left -= len(data)
            return data

    def _cut_when_due(self) -> None:
        with self._lock:
            if self._left == 0:
                self._left = None
                self._cut()
