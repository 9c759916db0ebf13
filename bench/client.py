"""An HTTP client that does as little as one can: what is timed is the server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

# What Prometheus 3 asks for.
ACCEPT = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
BUFFER = 1024 * 1024


class Client:
    """Fetches pages from a port of this host. `connection` is kept open between fetches if `keep` says so."""

    def __init__(self, port: int, encoding: str = "gzip", *, keep: bool = False) -> None:
        self._port = port
        self._encoding = encoding
        self._keep = keep
        self._buffer = bytearray(BUFFER)
        self._sock: socket.socket | None = None
        self.size = 0  # bytes of the last body

    def close(self) -> None:
        if self._sock:
            self._sock.close()
            self._sock = None

    def fetch(self, path: str = "/metrics") -> float:
        """Seconds from before the connection, if there is none yet, until the last byte of the answer."""
        started = time.perf_counter()
        for _ in self._pieces(path):
            pass
        return time.perf_counter() - started

    def body(self, path: str = "/metrics") -> bytes:
        """The body, as it was sent."""
        return b"".join(bytes(piece) for piece in self._pieces(path))

    def _pieces(self, path: str) -> Iterator[memoryview]:
        """The body as it comes in; each piece is overwritten by the next."""
        if self._sock is None:
            self._sock = socket.create_connection(("127.0.0.1", self._port), timeout=600)
        asked = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {ACCEPT}\r\n"
        self._sock.sendall(f"{asked}Accept-Encoding: {self._encoding}\r\n\r\n".encode())
        view = memoryview(self._buffer)
        have = self._receive(0)
        while (end := self._buffer.find(b"\r\n\r\n", 0, have) + 4) < 4:
            have += self._receive(have)
        self.size = self._length(end)
        yield view[end:have]
        left = self.size - (have - end)
        while left > 0:
            size = self._receive(0)
            yield view[:size]
            left -= size
        if not self._keep:
            self.close()

    def _receive(self, at: int) -> int:
        assert self._sock
        size = self._sock.recv_into(memoryview(self._buffer)[at:])
        if not size:
            raise ConnectionError("the server ended the connection in the middle of its answer")
        return size

    def _length(self, end: int) -> int:
        """The length of the body that a head announces. Any answer but 200 is an error."""
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        if lines[0].split()[1] != "200":
            raise ConnectionError(f"the server answers {lines[0]}")
        fields = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        return int(fields["content-length"])


@dataclass(slots=True)
class Polls:
    """How long `/-/healthy` took to answer, poll by poll."""

    seconds: list[float] = field(default_factory=list)
    failure: Exception | None = None


@contextmanager
def polling_health(port: int, pause: float = 0.001) -> Iterator[Polls]:
    """Ask `/-/healthy` again and again on one connection, `pause` seconds apart, while the block runs."""
    polls = Polls()
    over = threading.Event()

    def poll() -> None:
        client = Client(port, "identity", keep=True)
        try:
            while not over.is_set():
                polls.seconds.append(client.fetch("/-/healthy"))
                time.sleep(pause)
        except OSError as error:
            polls.failure = error
        finally:
            client.close()

    thread = threading.Thread(target=poll, name="healthy")
    thread.start()
    try:
        yield polls
    finally:
        over.set()
        thread.join()
    if polls.failure:
        raise polls.failure
