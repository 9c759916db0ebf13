"""The HTTP server, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import shutil
import socket
import subprocess
import threading
import time

import pytest

from exporter import __version__
from exporter.routes.health import healthy_route
from exporter.web.connections.listen import ListenError
from exporter.web.limits.connectionlimits import ConnectionLimits
from exporter.web.messages.page import Page
from exporter.web.server import HttpServer
from tests.kit.web import PATIENCE, http, read_all, read_until, serving, until

TEXT = "text/plain; version=0.0.4; charset=utf-8"


def test_a_page_arrives_whole_from_its_pieces() -> None:
    """Small and large chunks arrive as one body, with Content-Length, Content-Type and Vary."""
    chunks = [b"a" * 10, b"b" * 700_001, b"", b"c" * 300_000, b"d"]

    async def scrape(accept: str, gzip: bool) -> Page:
        return Page(TEXT, "", chunks)

    with serving(scrape) as running:
        response, body = running.get("/metrics")
    assert body == b"".join(chunks)
    assert response.status == 200
    assert response.headers["Content-Length"] == str(len(body))
    assert response.headers["Content-Type"] == TEXT
    assert response.headers["Vary"] == "Accept, Accept-Encoding"
    assert response.headers["Content-Encoding"] is None


def test_the_scrape_gets_what_the_client_accepts() -> None:
    """The scrape gets the Accept header and whether to use gzip; Content-Encoding names its choice."""
    asked = []

    async def scrape(accept: str, wants_gzip: bool) -> Page:
        asked.append((accept, wants_gzip))
        return Page(TEXT, "gzip", [gzip.compress(b"x 1\n"), gzip.compress(b"y 2\n")])

    with serving(scrape) as running:
        response, body = running.get("/metrics", {"Accept": "text/plain;q=0.5", "Accept-Encoding": "gzip"})
        running.get("/metrics", {"Accept-Encoding": "gzip;q=0"})
    assert asked == [("text/plain;q=0.5", True), ("", False)]
    assert response.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == b"x 1\ny 2\n"


def test_head_has_the_headers_of_get_and_no_body() -> None:
    """HEAD /metrics has the length of the body, no body, and the connection serves the next request."""
    with serving() as running, contextlib.closing(http(running.port)) as connection:
        connection.request("HEAD", "/metrics")
        head = connection.getresponse()
        assert (head.status, head.headers["Content-Length"], head.read()) == (200, "10", b"")
        connection.request("GET", "/metrics")
        assert connection.getresponse().read() == b"# nothing\n"


def test_landing_page_leads_to_every_route() -> None:
    """The page at / names the version, and each of its links answers with 200."""
    with serving() as running:
        response, body = running.get("/")
        page = body.decode()
        links = [piece.split('"')[0] for piece in page.split('href="')[1:]]
        assert __version__ in page
        assert links == ["/metrics", "/-/ready", "/-/healthy"]
        assert [running.get(link)[0].status for link in links] == [200, 200, 200]
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"


def test_readiness_says_why_not() -> None:
    """/-/ready is 503 with its reasons while /-/healthy stays 200."""
    with serving(ready=(False, ["wg0: permission"])) as running:
        ready, body = running.get("/-/ready")
        healthy, _ = running.get("/-/healthy")
    assert (ready.status, body) == (503, b"not ready\nwg0: permission\n")
    assert healthy.status == 200


def test_a_failed_scrape_leaks_nothing_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Two failed scrapes get 500 without the error's text; the failure is logged once, and its end once."""
    failing = True

    async def scrape(accept: str, gzip: bool) -> Page:
        if failing:
            raise RuntimeError("the inner secret")
        return Page(TEXT, "", [b"x 1\n"])

    with caplog.at_level(logging.INFO), serving(scrape) as running:
        answers = [running.get("/metrics") for _ in range(2)]
        failing = False
        assert running.get("/metrics")[0].status == 200
        assert running.server.stats.requests == {500: 2, 200: 1}
    assert [response.status for response, _ in answers] == [500, 500]
    assert all(b"secret" not in body and b"Traceback" not in body for _, body in answers)
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert "the inner secret" in caplog.text


def test_a_scrape_that_hangs_is_cancelled() -> None:
    """A scrape that exceeds its time limit is 500, and the next scrape may begin."""

    async def scrape(accept: str, gzip: bool) -> Page:
        await asyncio.sleep(3600)
        raise AssertionError

    with serving(scrape, max_scrapes=1, scrape_seconds=0.05) as running:
        assert [running.get("/metrics")[0].status for _ in range(2)] == [500, 500]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", 413),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", 413),
        (b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 10_000 + b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 100 + b"\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
    ids=["post", "delete", "body", "chunked-body", "long-line", "long-header", "many-headers", "tls-hello"],
)
def test_a_request_that_cannot_be_served_closes_the_connection(request_bytes: bytes, status: int) -> None:
    """Bodies, other methods, oversized heads and other protocols get a status, without a library's name."""
    with serving() as running, running.connect() as connection:
        connection.sendall(request_bytes)
        answer = read_all(connection)
        assert answer[:13] in (b"HTTP/1.1 %d " % status, b"HTTP/1.0 %d " % status)
        assert b"\r\nServer: argus-wg\r\n" in answer
        assert b"aiohttp" not in answer
        assert b"Python" not in answer
        assert running.server.stats.requests == {status: 1}


def test_unknown_paths_are_not_found() -> None:
    """Paths that only resemble a route are 404; a query does not matter."""
    with serving() as running:
        paths = ["/metrics/", "//metrics", "/-/healthy/../../metrics", "/metrics%00", "/%2e%2e/etc/passwd"]
        assert [running.get(path)[0].status for path in paths] == [404] * 5
        assert running.get("/metrics?name[]=up")[0].status == 200


def test_no_answer_names_the_software_behind_it() -> None:
    """The header Server has no version, neither on answers nor on refusals."""
    with serving() as running:
        servers = {path: running.get(path)[0].headers["Server"] for path in ("/", "/metrics", "/nowhere")}
    assert set(servers.values()) == {"argus-wg"}


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"], ids=["silent", "half a head"])
def test_a_head_that_never_ends_is_cut_off(sent: bytes) -> None:
    """A client that sends nothing, or a head byte by byte, is disconnected after `head_seconds`."""
    with serving(limits=ConnectionLimits(head_seconds=0.2)) as running, running.connect() as connection:
        connection.sendall(sent)
        connection.settimeout(0.02)
        received = b"open"
        with contextlib.suppress(ConnectionError):
            while received:
                if sent:
                    connection.sendall(b"X")
                with contextlib.suppress(TimeoutError):
                    received = connection.recv(1)
        assert running.server.stats.head_timeouts == 1


def test_the_second_head_of_a_connection_has_a_deadline_too() -> None:
    """A head that begins after an answer, or behind a request that is answered, has the same deadline."""
    with serving(limits=ConnectionLimits(head_seconds=0.2)) as running:
        for request in (
            b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\nGET / HT",
            b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n",
        ):
            with running.connect() as connection:
                connection.sendall(request)
                read_until(connection, b"healthy\n")
                if not request.endswith(b"HT"):
                    connection.sendall(b"GET / HT")
                read_all(connection)
        assert running.server.stats.head_timeouts == 2


def test_a_kept_connection_may_pause_longer_than_a_head_may_take() -> None:
    """The deadline for a head does not run between two requests."""
    with (
        serving(limits=ConnectionLimits(head_seconds=0.1)) as running,
        contextlib.closing(http(running.port)) as connection,
    ):
        for _ in range(2):
            connection.request("GET", "/-/healthy")
            assert connection.getresponse().read() == b"healthy\n"
            first = connection.sock
            time.sleep(0.3)
        assert connection.sock is first
        assert running.server.stats.head_timeouts == 0


def test_an_idle_connection_ends() -> None:
    """A connection without a next request is closed after `keepalive_seconds`."""
    with serving(limits=ConnectionLimits(keepalive_seconds=0.1)) as running, running.connect() as connection:
        connection.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_all(connection).endswith(b"healthy\n")


@pytest.mark.parametrize("pieces", [1, 80], ids=["one chunk", "many chunks"])
def test_a_reader_that_stalls_is_cut_off(pieces: int) -> None:
    """A client that does not read its answer is disconnected, and the next scrape may begin."""

    async def scrape(accept: str, gzip: bool) -> Page:
        return Page(TEXT, "", [b"x" * (40_000_000 // pieces)] * pieces)

    with (
        serving(scrape, max_scrapes=1, limits=ConnectionLimits(write_seconds=1.0)) as running,
        running.connect() as connection,
    ):
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: running.server.stats.write_timeouts == 1)
        assert len(read_all(connection)) < 40_000_000
        response, body = running.get("/metrics")
        assert (response.status, len(body)) == (200, 40_000_000)


def test_too_many_scrapes_are_refused() -> None:
    """A scrape above the limit is 503 with Retry-After, while /-/healthy answers."""
    release = threading.Event()

    async def scrape(accept: str, gzip: bool) -> Page:
        await asyncio.to_thread(release.wait, PATIENCE)
        return Page(TEXT, "", [b"x 1\n"])

    with serving(scrape, max_scrapes=2) as running, contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(running.connect()) for _ in range(2)]
        for connection in waiting:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        until(lambda: running.active() == 2)
        response, _ = running.get("/metrics")
        assert (response.status, response.headers["Retry-After"]) == (503, "5")
        assert running.get("/-/healthy")[0].status == 200
        release.set()
        assert all(read_all(connection).endswith(b"x 1\n") for connection in waiting)
        assert running.get("/metrics")[0].status == 200


def test_too_many_connections_are_refused() -> None:
    """If all connections had a request admitted, one above the limit gets 503, until another is closed."""
    with serving(limits=ConnectionLimits(connections=2)) as running:
        with running.connect() as first, running.connect() as second:
            for connection in (first, second):
                connection.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
                read_until(connection, b"healthy\n")
            with running.connect() as third:
                answer = read_all(third)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"Retry-After: 5" in answer
            assert running.server.stats.connections_refused == 1
        until(lambda: not running.connections)
        assert running.get("/-/healthy")[0].status == 200


def test_idle_connections_without_a_request_give_way() -> None:
    """At the limit, the oldest connection without an admitted request is closed and the new one is served."""
    with serving(limits=ConnectionLimits(connections=2)) as running, contextlib.ExitStack() as stack:
        kept = stack.enter_context(running.connect())
        kept.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
        read_until(kept, b"healthy\n")
        silent = stack.enter_context(running.connect())
        until(lambda: running.connections == 2)
        assert running.get("/-/healthy")[0].status == 200
        assert read_all(silent) == b""
        kept.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
        read_until(kept, b"healthy\n")
        assert running.server.stats.connections_refused == 1


def test_stop_answers_the_scrape_under_way() -> None:
    """A stop refuses new connections, closes idle ones, and sends the whole answer of a scrape."""
    release = threading.Event()

    async def scrape(accept: str, gzip: bool) -> Page:
        await asyncio.to_thread(release.wait, PATIENCE)
        return Page(TEXT, "", [b"x" * 1_000_000])

    with serving(scrape) as running, running.connect() as idle, running.connect() as busy:
        idle.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
        read_until(idle, b"healthy\n")
        busy.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: running.active() == 1)
        stopping = threading.Thread(target=running.stop, args=(PATIENCE,))
        stopping.start()
        until(lambda: not running.listening)
        with pytest.raises(ConnectionRefusedError):
            running.connect().close()
        release.set()
        assert read_all(busy).endswith(b"x" * 1_000_000)
        assert read_all(idle) == b""
        stopping.join(PATIENCE)
        assert not stopping.is_alive()


def test_stop_does_not_wait_longer_than_its_grace() -> None:
    """A scrape that never ends is cancelled after the grace, and the stop returns."""
    cancelled = threading.Event()

    async def scrape(accept: str, gzip: bool) -> Page:
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()
        raise AssertionError

    with serving(scrape) as running, running.connect() as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: running.active() == 1)
        running.stop(0.05)
        assert read_all(connection) == b""
        assert cancelled.wait(PATIENCE)
        assert not running.connections


def test_several_addresses_and_ipv6() -> None:
    """One server answers on IPv4 and IPv6, on the ports in `addresses`."""

    async def main() -> list[bytes]:
        server = HttpServer([("127.0.0.1", 0), ("::1", 0)], [healthy_route()])
        await server.start()
        answers = []
        for host, port in server.addresses:
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET /-/healthy HTTP/1.0\r\n\r\n")
            answers.append(await reader.read())
            writer.close()
            await writer.wait_closed()
        await server.stop()
        return answers

    answers = asyncio.run(main())
    assert [answer.endswith(b"healthy\n") for answer in answers] == [True, True]


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (
            "127.0.0.1",
            "127.0.0.1:{port}: Address already in use; another program listens: `ss -ltnp sport = :{port}`",
        ),
        ("192.0.2.77", "192.0.2.77:{port}: Cannot assign requested address; this host has no such address"),
        ("2001:db8::77", "[2001:db8::77]:{port}: Cannot assign requested address; this host has no such"),
        ("no-such-host.invalid", "no-such-host.invalid:{port}: "),
    ],
)
def test_an_address_that_cannot_be_used_is_an_error(host: str, words: str) -> None:
    """The error names the address and the remedy, and the server listens on no other address either."""

    async def main(port: int) -> str:
        server = HttpServer([("127.0.0.1", 0), (host, port)], [])
        try:
            with pytest.raises(ListenError) as raised:
                await server.start()
        finally:
            await server.stop()
        return str(raised.value)

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert words.format(port=port) in asyncio.run(main(port))


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed: apt-get install curl")
def test_curl_gets_http_1_1_also_when_it_asks_for_more() -> None:
    """curl --http2 --compressed gets HTTP/1.1 and a compressed page."""

    async def scrape(accept: str, wants_gzip: bool) -> Page:
        body = b"x 1\n"
        return Page(TEXT, "gzip", [gzip.compress(body)]) if wants_gzip else Page(TEXT, "", [body])

    with serving(scrape) as running:
        done = subprocess.run(
            [
                "curl",
                "-sS",
                "--http2",
                "--compressed",
                "-w",
                "%{http_version}",
                f"http://127.0.0.1:{running.port}/metrics",
            ],
            capture_output=True,
            check=True,
            timeout=PATIENCE,
        )
    assert done.stdout == b"x 1\n1.1"
