"""Routes with a body and with other methods than GET, over real sockets: plain, and with TLS and a login."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from exporter.web.limits.connectionlimits import ConnectionLimits
from exporter.web.messages.reply import RefusedError, Reply, text
from exporter.web.messages.request import Request
from exporter.web.routing.route import Route
from tests.kit.web import PATIENCE, Running, client_context, http, read_all, read_until, serving, until
from tests.kit.webfiles import TLS, WebFiles, basic, users

MAX_BODY = 100_000
LOGIN = basic("alice", "right")


@dataclass
class Service:
    """The routes of the tests, and the requests that they got."""

    requests: list[Request] = field(default_factory=list)
    error: Exception | None = None

    @property
    def routes(self) -> tuple[Route, ...]:
        return (
            Route("/graphql", self.handle, ("POST",), max_body=MAX_BODY),
            Route("/scim/v2/*", self.handle, ("GET", "PUT", "PATCH", "DELETE"), max_body=1000),
        )

    async def handle(self, request: Request) -> Reply:
        self.requests.append(request)
        if self.error:
            raise self.error
        return text(HTTPStatus.OK, [f"{request.method} {len(request.body)}"])


@dataclass(frozen=True)
class Site:
    """A running server with those routes, and how to reach it."""

    service: Service
    running: Running
    tls: ssl.SSLContext | None
    headers: dict[str, str]

    @contextlib.contextmanager
    def client(self) -> Iterator[HTTPConnection]:
        with contextlib.closing(http(self.running.port, self.tls)) as connection:
            yield connection

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[HTTPResponse, bytes]:
        """One request on a connection of its own."""
        with self.client() as connection:
            connection.request(method, path, body, self.headers)
            response = connection.getresponse()
            return response, response.read()

    @contextlib.contextmanager
    def raw(self) -> Iterator[socket.socket]:
        """A connection on which the test writes bytes."""
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(self.running.connect())
            if self.tls:
                wrapped = self.tls.wrap_socket(connection, server_hostname="localhost")
                connection = stack.enter_context(wrapped)
            yield connection

    def head(self, request_line: str, *lines: str) -> bytes:
        """The head of a request."""
        login = [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([f"{request_line} HTTP/1.1", "Host: x", *login, *lines, "", ""]).encode()


@contextlib.contextmanager
def site(folder: Path, protected: bool, limits: ConnectionLimits | None = None) -> Iterator[Site]:
    service = Service()
    web_config, tls = None, None
    if protected:
        files = WebFiles(folder)
        web_config, tls = files.write(TLS + users(alice="right")), client_context(files.authority)
    with serving(routes=service.routes, web_config=web_config, limits=limits) as running:
        yield Site(service, running, tls, LOGIN if protected else {})


PROTECTED = pytest.mark.parametrize("protected", [False, True], ids=["plain", "tls and login"])


@PROTECTED
@pytest.mark.parametrize("size", [0, 1, 70_000, MAX_BODY])
def test_a_body_arrives_whole(tmp_path: Path, protected: bool, size: int) -> None:
    """The handler gets every byte of a body up to the maximum, and the user name of the login."""
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    with site(tmp_path, protected) as server:
        response, answer = server.ask("POST", "/graphql", body)
        (request,) = server.service.requests
    assert (response.status, answer) == (200, f"POST {size}\n".encode())
    assert request.body == body
    assert request.user == ("alice" if protected else "")


@PROTECTED
def test_a_chunked_body_arrives_whole(tmp_path: Path, protected: bool) -> None:
    """A body without Content-Length is put together from its chunks."""
    with site(tmp_path, protected) as server, server.client() as connection:
        pieces = [b"a" * 40_000, b"b", b"c" * 50_000]
        headers = {**server.headers, "Transfer-Encoding": "chunked"}
        connection.request("POST", "/graphql", iter(pieces), headers, encode_chunked=True)
        assert connection.getresponse().status == 200
        assert server.service.requests[0].body == b"".join(pieces)


@PROTECTED
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "GET"])
def test_methods_below_a_path(tmp_path: Path, protected: bool, method: str) -> None:
    """A pattern's handler gets method, decoded path, query and headers; DELETE needs no body."""
    body = b"{}" if method in ("PUT", "PATCH") else None
    with site(tmp_path, protected) as server, server.client() as connection:
        headers = {**server.headers, "If-Match": 'W/"3"'}
        path = "/scim/v2/Users/z%C3%B6e?filter=a%20b&attributes=x&attributes=y"
        connection.request(method, path, body, headers)
        assert connection.getresponse().status == 200
        (request,) = server.service.requests
    assert (request.method, request.path, request.body) == (method, "/scim/v2/Users/zöe", body or b"")
    assert request.query == {"filter": ("a b",), "attributes": ("x", "y")}
    assert (request.header("if-match"), request.header("Absent")) == ('W/"3"', "")


def test_a_repeated_header_is_one_value(tmp_path: Path) -> None:
    """The values of a header that is sent twice are joined by a comma."""
    with site(tmp_path, False) as server, server.raw() as connection:
        connection.sendall(server.head("GET /scim/v2/x", "Accept: a/b", "accept: c/d", "Connection: close"))
        read_all(connection)
        assert server.service.requests[0].header("Accept") == "a/b, c/d"


@PROTECTED
def test_a_connection_is_kept_from_body_to_body(tmp_path: Path, protected: bool) -> None:
    """One connection serves several bodies, also with a pause in between that is longer than a head may
    take."""
    limits = ConnectionLimits(head_seconds=0.5)
    with site(tmp_path, protected, limits) as server, server.client() as connection:
        for _ in range(2):
            connection.request("POST", "/graphql", b"x" * 50_000, server.headers)
            assert connection.getresponse().read() == b"POST 50000\n"
            first = connection.sock
            time.sleep(0.8)
        assert connection.sock is first
        assert server.running.server.stats.head_timeouts == 0


def test_a_head_behind_a_body_has_a_deadline(tmp_path: Path) -> None:
    """When a head begins after the answer to a body and does not end, the connection is closed at the
    deadline."""
    with site(tmp_path, False, ConnectionLimits(head_seconds=0.2)) as server, server.raw() as connection:
        connection.sendall(server.head("POST /graphql", "Content-Length: 3") + b"abc")
        read_until(connection, b"POST 3\n")
        connection.sendall(b"GET / HT")
        assert read_all(connection) == b""
        assert server.running.server.stats.head_timeouts == 1


def test_requests_behind_a_body_are_answered(tmp_path: Path) -> None:
    """A client that sends two requests with bodies and one without at once gets three answers, in order."""
    with site(tmp_path, False) as server, server.raw() as connection:
        posts = [server.head("POST /graphql", f"Content-Length: {n}") + b"x" * n for n in (3, 40_000)]
        connection.sendall(b"".join(posts) + server.head("GET /-/healthy", "Connection: close"))
        answers = read_all(connection)
    positions = [answers.find(body) for body in (b"POST 3\n", b"POST 40000\n", b"healthy\n")]
    assert positions == sorted(positions)
    assert -1 not in positions


@PROTECTED
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_body_that_is_too_large_is_refused(tmp_path: Path, protected: bool, chunked: bool) -> None:
    """One byte above the maximum is 413, the connection is closed, and the handler is not called."""
    body = b"x" * (MAX_BODY + 1)
    with site(tmp_path, protected) as server, server.client() as connection:
        headers = {**server.headers, **({"Transfer-Encoding": "chunked"} if chunked else {})}
        content = iter([body]) if chunked else body
        connection.request("POST", "/graphql", content, headers, encode_chunked=chunked)
        response = connection.getresponse()
        assert (response.status, response.headers["Connection"]) == (413, "close")
        assert server.service.requests == []


def test_a_body_without_an_end_is_not_kept(tmp_path: Path) -> None:
    """A client that sends chunk after chunk is answered, and cut off within seconds, not when it stops."""
    with site(tmp_path, False) as server, server.raw() as connection:
        connection.sendall(server.head("POST /graphql", "Transfer-Encoding: chunked"))
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 1 << 30:
                connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                sent += 0x10000
        assert sent < 100 << 20
        assert server.running.server.stats.requests == {413: 1}


@PROTECTED
def test_a_body_that_is_too_slow_is_refused(tmp_path: Path, protected: bool) -> None:
    """A body that does not end within its time limit gets 408, even if a byte arrives now and then."""
    limits = ConnectionLimits(body_seconds=0.3)
    with site(tmp_path, protected, limits) as server, server.raw() as connection:
        connection.sendall(server.head("POST /graphql", "Content-Length: 1000"))
        connection.settimeout(0.02)
        received = b""
        while not received:
            connection.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                received = connection.recv(65536)
        assert received.startswith(b"HTTP/1.1 408 ")
        assert b"\r\nConnection: close\r\n" in received
        assert server.service.requests == []


@pytest.mark.parametrize(
    ("lines", "body", "status"),
    [
        (["Transfer-Encoding: chunked"], b"nonsense\r\n", 400),
        (["Content-Encoding: gzip", "Content-Length: 3"], b"abc", 415),
        (["Content-Length: 3", "Transfer-Encoding: chunked"], b"abc", 400),
        (["Content-Length: -1"], b"", 400),
    ],
    ids=["malformed chunk", "compressed", "two lengths", "negative length"],
)
def test_a_body_that_cannot_be_read_is_refused(
    tmp_path: Path, lines: list[str], body: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Malformed and compressed bodies have a status of their own, close the connection, and are not
    logged."""
    with site(tmp_path, False) as server, server.raw() as connection:
        connection.sendall(server.head("POST /graphql", *lines) + body)
        answer = read_all(connection)
        assert answer.startswith((b"HTTP/1.1 %d " % status, b"HTTP/1.0 %d " % status))
        assert b"\r\nServer: argus-wg\r\n" in answer
        assert server.service.requests == []
    assert caplog.records == []


@PROTECTED
def test_a_client_may_ask_before_it_sends(tmp_path: Path, protected: bool) -> None:
    """`Expect: 100-continue` is answered with 100 where the body may come, and with the refusal where not."""
    with site(tmp_path, protected) as server:
        with server.raw() as connection:
            connection.sendall(
                server.head("POST /graphql", "Content-Length: 3", "Expect: 100-continue", "Connection: close")
            )
            read_until(connection, b"HTTP/1.1 100 Continue\r\n\r\n")
            connection.sendall(b"abc")
            assert read_all(connection).endswith(b"\r\n\r\nPOST 3\n")
        with server.raw() as connection:
            connection.sendall(server.head("POST /graphql", "Content-Length: 100001", "Expect: 100-continue"))
            assert read_all(connection).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("path", ["/graphql", "/nowhere"])
def test_a_body_without_a_login_is_refused(tmp_path: Path, path: str) -> None:
    """Without a login the answer is 401, the handler is not called, and the client is not reset while it
    sends."""
    with site(tmp_path, True) as server, server.client() as connection:
        connection.request("POST", path, b"x" * 900_000)
        response = connection.getresponse()
        assert (response.status, response.headers["Connection"]) == (401, "close")
        assert server.service.requests == []


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/graphql", 405, "POST"),
        ("POST", "/scim/v2/Users", 405, "GET, HEAD, PUT, PATCH, DELETE"),
        ("POST", "/metrics", 405, "GET, HEAD"),
        ("POST", "/nowhere", 404, None),
    ],
)
def test_methods_are_those_of_the_table(
    tmp_path: Path, method: str, path: str, status: int, allow: str | None
) -> None:
    """Another method is 405 with the methods of that path; another path is 404 for every method."""
    with site(tmp_path, False) as server:
        response, _ = server.ask(method, path, b"body")
    assert (response.status, response.headers["Allow"]) == (status, allow)


def test_a_client_that_leaves_while_it_sends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Half a body and then nothing frees the connection, calls no handler, and is not logged."""
    with site(tmp_path, False) as server:
        with server.raw() as connection:
            connection.sendall(server.head("POST /graphql", "Content-Length: 10") + b"half")
            until(lambda: server.running.connections == 1)
        until(lambda: server.running.connections == 0)
        assert server.service.requests == []
    assert caplog.records == []


def test_a_failing_handler_costs_its_request_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each failed request is 500 and the connection stays; the log has the first failure and the end of
    it."""
    with (
        caplog.at_level(logging.INFO),
        site(tmp_path, False) as server,
        server.client() as connection,
    ):

        def status(path: str) -> int:
            connection.request("PUT" if path.startswith("/scim") else "POST", path, b"{}")
            response = connection.getresponse()
            response.read()
            return int(response.status)

        server.service.error = RuntimeError("the inner secret")
        assert [status("/graphql"), status("/graphql"), status("/scim/v2/x")] == [500, 500, 500]
        assert server.running.get("/metrics")[0].status == 200
        server.service.error = None
        assert [status("/graphql"), status("/graphql")] == [200, 200]
    assert [record.getMessage() for record in caplog.records] == [
        "requests for /graphql fail",
        "requests for /scim/v2/* fail",
        "requests for /graphql succeed again",
    ]


def test_a_handler_may_refuse(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A refusal is the answer, with its headers, and is no failure."""
    with site(tmp_path, False) as server:
        server.service.error = RefusedError(HTTPStatus.CONFLICT, "it changed meanwhile", ETag='W/"4"')
        response, body = server.ask("PUT", "/scim/v2/Users/7", b"{}")
    assert (response.status, body) == (409, b"409 Conflict: it changed meanwhile\n")
    assert response.headers["ETag"] == 'W/"4"'
    assert caplog.records == []


def test_a_body_under_way_is_answered_while_the_server_stops(tmp_path: Path) -> None:
    """The server reads the rest of a body that began before the stop, answers it, and closes the
    connection."""
    with site(tmp_path, False) as server, server.raw() as connection:
        connection.sendall(server.head("POST /graphql", "Content-Length: 10") + b"first")
        until(lambda: server.running.server._responder._answering == 1)
        stopping = threading.Thread(target=server.running.stop, args=(PATIENCE,))
        stopping.start()
        until(lambda: not server.running.listening)
        connection.sendall(b"other")
        assert read_all(connection).endswith(b"POST 10\n")
        stopping.join(PATIENCE)
        assert not stopping.is_alive()
