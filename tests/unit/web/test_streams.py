"""Answers that are sent piece by piece, over real sockets: plain, and with TLS and a login."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from http.client import HTTPResponse
from pathlib import Path

import pytest

from exporter.web.limits.connectionlimits import ConnectionLimits
from exporter.web.messages.request import Request
from exporter.web.messages.stream import Stream
from exporter.web.routing.route import Route
from tests.kit.web import PATIENCE, Running, client_context, http, read_all, serving, until
from tests.kit.webfiles import TLS, WebFiles, basic, users

EVENTS = "text/event-stream"
PROTECTED = pytest.mark.parametrize("protected", [False, True], ids=["plain", "tls and login"])


@dataclass
class Events:
    """A stream that yields a piece whenever the test calls `send`; "error" makes it fail."""

    begun: int = 0
    ended: int = 0
    queues: list[asyncio.Queue[bytes]] = field(default_factory=list)
    loop: asyncio.AbstractEventLoop | None = None

    async def handle(self, _: Request) -> Stream:
        return Stream(EVENTS, self._pieces(), {"X-Accel-Buffering": "no"})

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.queues.append(queue)
        self.loop = asyncio.get_running_loop()
        self.begun += 1
        try:
            while True:
                piece = await queue.get()
                if piece == b"error":
                    raise RuntimeError("the inner secret")
                if piece == b"end":
                    return
                yield piece
        finally:
            self.ended += 1

    def send(self, piece: bytes) -> None:
        """The next piece of every stream."""
        assert self.loop
        for queue in self.queues:
            self.loop.call_soon_threadsafe(queue.put_nowait, piece)


@dataclass(frozen=True)
class Site:
    """A running server with the stream `/events`, and how to reach it."""

    events: Events
    running: Running
    files: WebFiles | None
    tls: ssl.SSLContext | None
    headers: dict[str, str]

    @contextlib.contextmanager
    def listening(self, method: str = "GET") -> Iterator[HTTPResponse]:
        """The answer to a request for the stream, of which the head is read."""
        with contextlib.closing(http(self.running.port, self.tls)) as connection:
            connection.request(method, "/events", headers=self.headers)
            response = connection.getresponse()
            try:
                yield response
            finally:
                response.close()

    @contextlib.contextmanager
    def raw(self, protocol: str = "HTTP/1.1") -> Iterator[socket.socket]:
        """A connection that has requested the stream and reads nothing."""
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(self.running.connect())
            if self.tls:
                wrapped = self.tls.wrap_socket(connection, server_hostname="localhost")
                connection = stack.enter_context(wrapped)
            login = [f"{name}: {value}" for name, value in self.headers.items()]
            connection.sendall("\r\n".join([f"GET /events {protocol}", "Host: x", *login, "", ""]).encode())
            yield connection


@contextlib.contextmanager
def site(
    folder: Path,
    protected: bool,
    limits: ConnectionLimits | None = None,
    *,
    seconds: float = 30.0,
    max_concurrent: int | None = None,
) -> Iterator[Site]:
    events = Events()
    route = Route("/events", events.handle, seconds=seconds, max_concurrent=max_concurrent)
    files = WebFiles(folder) if protected else None
    web_config = files.write(TLS + users(alice="right")) if files else None
    tls = client_context(files.authority) if files else None
    with serving(routes=[route], web_config=web_config, limits=limits) as running:
        yield Site(events, running, files, tls, basic("alice", "right") if protected else {})


@PROTECTED
def test_a_piece_is_sent_as_soon_as_it_comes(tmp_path: Path, protected: bool) -> None:
    """The client receives the head before the first piece is made, and each piece before the next one is
    made."""
    with site(tmp_path, protected) as server, server.listening() as response:
        assert (response.status, response.headers["Content-Type"]) == (200, EVENTS)
        assert response.headers["X-Accel-Buffering"] == "no"
        assert response.headers["Cache-Control"] == "no-store"
        until(lambda: server.events.begun == 1)
        for piece in (b"data: 1\n\n", b"data: 2\n\n", b"x" * 300_000):
            server.events.send(piece)
            assert response.read(len(piece)) == piece
        server.events.send(b"end")
        assert response.read() == b""
        assert server.events.ended == 1
    assert server.running.server.stats.requests == {200: 1}


@PROTECTED
def test_a_stream_outlives_every_time_limit(tmp_path: Path, protected: bool) -> None:
    """Limits of a handler, a head, a body, an answer and an idle connection do not end a stream."""
    limits = ConnectionLimits(head_seconds=0.5, body_seconds=0.5, write_seconds=0.5, keepalive_seconds=0.5)
    with site(tmp_path, protected, limits, seconds=0.5) as server, server.listening() as response:
        until(lambda: server.events.begun == 1)
        for _ in range(2):
            time.sleep(0.8)
            server.events.send(b": still here\n")
            assert response.read(13) == b": still here\n"
        assert server.events.ended == 0


@PROTECTED
def test_a_slow_reader_of_a_stream_is_cut_off(tmp_path: Path, protected: bool) -> None:
    """A client that does not take a piece within `write_seconds` is disconnected, and the stream is
    closed."""
    limits = ConnectionLimits(write_seconds=0.3)
    with site(tmp_path, protected, limits, max_concurrent=1) as server, server.raw() as connection:
        until(lambda: server.events.begun == 1)
        server.events.send(b"x" * 40_000_000)
        until(lambda: server.running.server.stats.write_timeouts == 1)
        until(lambda: server.events.ended == 1)
        until(lambda: server.running.active("/events") == 0)
        with contextlib.suppress(ssl.SSLError):
            assert len(read_all(connection)) < 40_000_000


@PROTECTED
def test_stop_ends_streams(tmp_path: Path, protected: bool) -> None:
    """A stop does not wait for streams: each is closed, and its client gets a complete answer."""
    with (
        site(tmp_path, protected) as server,
        server.listening() as first,
        server.listening() as second,
    ):
        until(lambda: server.events.begun == 2)
        server.events.send(b"data: 1\n\n")
        assert first.read(9) == second.read(9) == b"data: 1\n\n"
        began = time.monotonic()
        server.running.stop(PATIENCE)
        assert time.monotonic() - began < PATIENCE / 2
        assert server.events.ended == 2
        assert first.read() == second.read() == b""


@PROTECTED
def test_a_stream_ends_when_its_client_leaves(
    tmp_path: Path, protected: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a piece to send, the end of the connection closes the stream and frees its place; no log
    line."""
    with caplog.at_level(logging.INFO), site(tmp_path, protected) as server:
        with server.listening():
            until(lambda: server.events.begun == 1)
        until(lambda: server.events.ended == 1)
        until(lambda: server.running.active("/events") == 0)
        until(lambda: server.running.connections == 0)
    assert caplog.records == []


@PROTECTED
def test_a_failing_stream_is_cut_off(
    tmp_path: Path, protected: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """When a stream fails, its client sees an incomplete answer; the first failure and the end of the
    failures are logged."""
    with caplog.at_level(logging.INFO), site(tmp_path, protected) as server:
        for number, piece in enumerate((b"error", b"error", b"end"), start=1):
            with server.raw() as connection:
                until(lambda number=number: server.events.begun == number)  # type: ignore[misc]
                server.events.send(b"data: 1\n\n")
                server.events.send(piece)
                with contextlib.suppress(ssl.SSLError):
                    answer = b""
                    while not answer.endswith(b"\r\n0\r\n\r\n") and (received := connection.recv(65536)):
                        answer += received
            assert answer.endswith(b"\r\n0\r\n\r\n") == (piece == b"end")
            assert b"secret" not in answer
            server.events.queues.clear()
            until(lambda: server.running.active("/events") == 0)
        assert server.running.get("/metrics", tls=server.tls)[0].status == (401 if protected else 200)
    assert [record.getMessage() for record in caplog.records] == [
        "requests for /events fail",
        "requests for /events succeed again",
    ]


@PROTECTED
def test_streams_count_against_the_limits(tmp_path: Path, protected: bool) -> None:
    """A stream above the route's maximum is 503 while other routes answer; one that ends makes room."""
    with site(tmp_path, protected, max_concurrent=2) as server:
        with server.listening(), server.listening() as second:
            until(lambda: server.events.begun == 2)
            with server.listening() as third:
                assert (third.status, third.headers["Retry-After"]) == (503, "5")
            assert server.running.get("/-/healthy", server.headers, tls=server.tls)[0].status == 200
            server.events.queues.pop(0)
            server.events.send(b"end")
            assert second.read() == b""
            with server.listening() as fourth:
                assert fourth.status == 200
        until(lambda: server.events.ended == 3)


def test_streams_count_as_connections(tmp_path: Path) -> None:
    """While streams use all connections, the next client is refused."""
    with (
        site(tmp_path, False, ConnectionLimits(connections=2)) as server,
        server.listening(),
        server.listening(),
    ):
        until(lambda: server.events.begun == 2)
        with server.running.connect() as third:
            assert read_all(third).startswith(b"HTTP/1.1 503 ")
        assert server.running.server.stats.connections_refused == 1


def test_a_removed_user_gets_no_further_piece(tmp_path: Path) -> None:
    """A change of the web configuration ends a stream before its next piece; a new request needs the new
    login."""
    with site(tmp_path, True) as server, server.listening() as response:
        assert server.files
        until(lambda: server.events.begun == 1)
        server.events.send(b"data: 1\n\n")
        assert response.read(9) == b"data: 1\n\n"
        server.files.write(TLS + users(bob="other"))
        server.events.send(b"data: 2\n\n")
        assert response.read() == b""
        with server.listening() as again:
            assert again.status == 401


def test_head_of_a_stream(tmp_path: Path) -> None:
    """HEAD gets the headers of the stream, and its generator is never started."""
    with site(tmp_path, False) as server, server.listening("HEAD") as response:
        assert (response.status, response.headers["Content-Type"]) == (200, EVENTS)
        assert response.read() == b""
        until(lambda: server.running.active("/events") == 0)
        assert server.events.begun == 0


def test_a_stream_over_http_1_0(tmp_path: Path) -> None:
    """Without chunks, the end of the connection is the end of the stream."""
    with site(tmp_path, False) as server, server.raw("HTTP/1.0") as connection:
        until(lambda: server.events.begun == 1)
        server.events.send(b"data: 1\n\n")
        server.events.send(b"end")
        assert read_all(connection).endswith(b"\r\n\r\ndata: 1\n\n")


def test_a_stream_that_begins_while_the_server_stops(tmp_path: Path) -> None:
    """A handler that is still at work at the stop may return a stream: it ends at once, without a piece."""
    release = threading.Event()
    events = Events()

    async def slow(request: Request) -> Stream:
        await asyncio.to_thread(release.wait, PATIENCE)
        return await events.handle(request)

    with serving(routes=[Route("/slow", slow)]) as running, running.connect() as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: running.active("/slow") == 1)
        stopping = threading.Thread(target=running.stop, args=(PATIENCE,))
        stopping.start()
        until(lambda: not running.listening)
        release.set()
        answer = read_all(connection)
        stopping.join(PATIENCE)
        assert not stopping.is_alive()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n0\r\n\r\n")
    assert events.begun == 0
