"""TLS, client certificates and passwords, and changes of their files, over real connections."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import logging
import os
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from exporter.errors import InputError
from exporter.web.configuration import webconfig
from exporter.web.limits.connectionlimits import ConnectionLimits
from exporter.web.messages.page import Page
from exporter.web.server import HttpServer
from tests.kit.web import PATIENCE, client_context, http, make_pair, read_all, read_until, serving, until
from tests.kit.webfiles import CLIENTS, TLS, WebFiles, basic, users

HELLO = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def files(tmp_path: Path) -> WebFiles:
    return WebFiles(tmp_path)


def serial(port: int, tls: ssl.SSLContext, name: str | None = "localhost") -> int:
    """The serial number of the server's certificate on a new connection; `name` None = without SNI."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain,
        (context if name is None else tls).wrap_socket(plain, server_hostname=name) as connection,
    ):
        der = connection.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der).serial_number


def test_tls_serves_http(files: WebFiles) -> None:
    """A client that trusts the authority gets the page; a client without TLS gets no answer."""
    with serving(web_config=files.write(TLS)) as running:
        response, body = running.get("/metrics", tls=client_context(files.authority))
        assert (response.status, body) == (200, b"# nothing\n")
        with running.connect() as plain:
            plain.sendall(HELLO)
            assert b"HTTP" not in read_all(plain)


def test_a_large_page_arrives_over_tls(files: WebFiles) -> None:
    """A page of 200 pieces arrives whole over TLS."""
    chunks = [bytes([number]) * 65_537 for number in range(200)]

    async def scrape(accept: str, gzip: bool) -> Page:
        return Page("text/plain", "", chunks)

    with serving(scrape, web_config=files.write(TLS)) as running:
        _, body = running.get("/metrics", tls=client_context(files.authority))
    assert body == b"".join(chunks)


def test_a_reader_that_stalls_is_cut_off_over_tls_too(files: WebFiles) -> None:
    """Over TLS, a client that does not read its answer is disconnected after `write_seconds`."""

    async def scrape(accept: str, gzip: bool) -> Page:
        return Page("text/plain", "", [b"x" * 40_000_000])

    context = client_context(files.authority)
    limits = ConnectionLimits(write_seconds=0.3)
    with (
        serving(scrape, web_config=files.write(TLS), limits=limits) as running,
        running.connect() as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: running.server.stats.write_timeouts == 1)
        received = 0
        with contextlib.suppress(OSError):
            while piece := connection.recv(1_000_000):
                received += len(piece)
        assert received < 40_000_000


def test_a_handshake_that_never_ends_is_cut_off(files: WebFiles) -> None:
    """A client that connects and sends nothing is disconnected after `head_seconds`."""
    with (
        serving(web_config=files.write(TLS), limits=ConnectionLimits(head_seconds=0.1)) as running,
        running.connect() as silent,
    ):
        assert read_all(silent) == b""
        until(lambda: running.server.stats.handshake_failures == 1)


@pytest.mark.parametrize(("version", "spoken"), [("TLS12", "TLSv1.2"), ("TLS13", "TLSv1.3")])
def test_versions_are_those_of_the_file(files: WebFiles, version: str, spoken: str) -> None:
    """min_version and max_version set the version; a client that offers only the other one is refused."""
    path = files.write(f"{TLS}  min_version: {version}\n  max_version: {version}\n")
    with serving(web_config=path) as running:
        with running.connect() as plain:
            context = client_context(files.authority)
            with context.wrap_socket(plain, server_hostname="localhost") as connection:
                assert connection.version() == spoken
        other = client_context(files.authority)
        other.minimum_version = other.maximum_version = (
            ssl.TLSVersion.TLSv1_3 if version == "TLS12" else ssl.TLSVersion.TLSv1_2
        )
        with pytest.raises(ssl.SSLError):
            running.get("/", tls=other)


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl to choose what the client offers")
@pytest.mark.parametrize(("curve", "used"), [("X25519", "X25519"), ("CurveP384", "secp384r1")])
def test_the_curve_is_that_of_the_file(files: WebFiles, curve: str, used: str) -> None:
    """The connection has the curve of the file, unless a note says that the curve has no effect."""
    path = files.write(f"{TLS}  curve_preferences: [{curve}]\n")
    with serving(web_config=path) as running:
        server = f"127.0.0.1:{running.port}"
        done = subprocess.run(
            ["openssl", "s_client", "-connect", server, "-groups", "P-521:P-384:X25519"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    key = next(line for line in done.stdout.splitlines() if line.startswith("Server Temp Key: "))
    assert ("secp521r1" if webconfig.load(path).notes else used) in key


@pytest.mark.parametrize("farewell", ["close", "keep-alive"])
def test_a_tls_connection_may_be_ended_by_either_side(files: WebFiles, farewell: str) -> None:
    """When a client or the server closes a TLS connection, no exception is raised."""
    with serving(web_config=files.write(TLS)) as running:
        context = client_context(files.authority)
        for _ in range(3):
            response, _ = running.get("/", {"Connection": farewell}, tls=context)
            assert response.status == 200
        with running.connect() as plain:
            context.wrap_socket(plain, server_hostname="localhost").close()
        until(lambda: not running.connections)
        gc.collect()


def test_client_certificates_are_required_and_verified(files: WebFiles, tmp_path: Path) -> None:
    """Only a client with a certificate of the authority gets an answer."""
    (tmp_path / "elsewhere").mkdir()
    stranger = make_pair(tmp_path / "elsewhere", "stranger", make_pair(tmp_path / "elsewhere", "other-ca"))
    with serving(web_config=files.write(CLIENTS)) as running:
        good = client_context(files.authority, files.client("prometheus"))
        assert running.get("/metrics", tls=good)[0].status == 200
        for client in (None, stranger):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                running.get("/metrics", tls=client_context(files.authority, client))
        until(lambda: running.server.stats.handshake_failures == 2)


def test_an_optional_client_certificate_is_verified_when_it_is_there(files: WebFiles, tmp_path: Path) -> None:
    """VerifyClientCertIfGiven accepts a client without a certificate, but not one of another authority."""
    (tmp_path / "elsewhere").mkdir()
    stranger = make_pair(tmp_path / "elsewhere", "stranger", make_pair(tmp_path / "elsewhere", "other-ca"))
    path = files.write(CLIENTS.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven"))
    with serving(web_config=path) as running:
        assert running.get("/", tls=client_context(files.authority))[0].status == 200
        with pytest.raises((ssl.SSLError, ConnectionError)):
            running.get("/", tls=client_context(files.authority, stranger))


@pytest.mark.parametrize("number", range(4))
def test_client_names_of_every_kind_are_compared(files: WebFiles, number: int) -> None:
    """With client_allowed_sans, a certificate needs one of the names; each kind of name works."""
    names: list[x509.GeneralName] = [
        x509.DNSName("prometheus.example.com"),
        x509.IPAddress(ipaddress.ip_address("2001:db8::9")),
        x509.RFC822Name("noc@example.com"),
        x509.UniformResourceIdentifier("spiffe://example/prometheus"),
    ]
    allowed = "[prometheus.example.com, '2001:db8::9', noc@example.com, 'spiffe://example/prometheus']"
    with serving(web_config=files.write(f"{CLIENTS}  client_allowed_sans: {allowed}\n")) as running:
        good = client_context(files.authority, files.client("good", names[number]))
        assert running.get("/", tls=good)[0].status == 200
        bad = client_context(files.authority, files.client("bad", x509.DNSName("evil.example.com")))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            running.get("/", tls=bad)
        until(lambda: running.server.stats.handshake_failures == 1)


@pytest.mark.parametrize("path", ["/metrics", "/", "/-/healthy", "/-/ready", "/nowhere"])
def test_every_path_requires_a_password_when_there_are_users(files: WebFiles, path: str) -> None:
    """Without a password and with a wrong one: 401 with a challenge; with the right one: the answer."""
    with serving(web_config=files.write(users(prometheus="right"))) as running:
        without, body = running.get(path)
        wrong, _ = running.get(path, basic("prometheus", "wrong"))
        right, _ = running.get(path, basic("prometheus", "right"))
        assert running.server.stats.auth_failures == 1
    assert (without.status, wrong.status) == (401, 401)
    assert right.status == (404 if path == "/nowhere" else 200)
    assert without.headers["WWW-Authenticate"] == 'Basic realm="argus-wg", charset="UTF-8"'
    assert b"Argus" not in body


def test_a_connection_ends_with_a_401(files: WebFiles) -> None:
    """The server closes a connection after a 401, so a client without a login cannot hold it."""
    with serving(web_config=files.write(users(prometheus="right"))) as running, running.connect() as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"\r\nconnection: close\r\n" in answer.lower()


def test_configured_headers_are_on_every_answer(files: WebFiles) -> None:
    """Refusals have them as well, and they replace the server's own headers."""
    text = (
        "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    Content-Security-Policy: sandbox\n"
    )
    with serving(web_config=files.write(text + users(a="b"))) as running:
        for headers in ({}, basic("a", "b")):
            response, _ = running.get("/", headers)
            assert response.headers["X-Frame-Options"] == "deny"
            assert response.headers.get_all("Content-Security-Policy") == ["sandbox"]


def test_rate_limit_answers_429_above_its_burst(files: WebFiles) -> None:
    """With a burst of two, the third request is refused, although its password is right."""
    with serving(
        web_config=files.write("rate_limit:\n  interval: 1h\n  burst: 2\n" + users(a="b"))
    ) as running:
        assert [running.get("/", basic("a", "b"))[0].status for _ in range(3)] == [200, 200, 429]


def test_a_new_certificate_is_shown_to_the_next_connection(files: WebFiles) -> None:
    """A certificate and key that were overwritten are used for the next connection, with and without SNI."""
    context = client_context(files.authority)
    with serving(web_config=files.write(TLS)) as running:
        assert serial(running.port, context) == files.server.certificate.serial_number
        fresh = make_pair(files.folder, "server", files.authority).certificate.serial_number
        assert serial(running.port, context) == fresh
        assert serial(running.port, context, name=None) == fresh


class Readings:
    """Counts how often the web configuration file is read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._parse = webconfig.parse
        monkeypatch.setattr(webconfig, "parse", self._counted)

    def _counted(self, path: Path) -> webconfig.WebConfig:
        self.count += 1
        return self._parse(path)


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> Readings:
    return Readings(monkeypatch)


def test_half_a_renewal_keeps_the_old_pair(
    files: WebFiles, readings: Readings, caplog: pytest.LogCaptureFixture
) -> None:
    """While only the certificate is new, the old pair is used; an attribute and one log line say why."""
    context = client_context(files.authority)
    old = files.server
    old_key = old.key.read_bytes()
    with caplog.at_level(logging.INFO), serving(web_config=files.write(TLS)) as running:
        fresh = make_pair(files.folder, "server", files.authority)
        new_key = fresh.key.read_bytes()
        fresh.key.write_bytes(old_key)
        for _ in range(3):
            assert serial(running.port, context) == old.certificate.serial_number
        assert "this key does not belong to the certificate" in running.server.web_config_error
        assert readings.count == 2
        fresh.key.write_bytes(new_key)
        assert serial(running.port, context) == fresh.certificate.serial_number
        assert running.server.web_config_error == ""
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert caplog.records[1].getMessage().endswith("is in force again")


def test_a_key_that_is_missing_for_a_while(files: WebFiles) -> None:
    """While the key is missing, the old pair is used; when it is back, the error ends."""
    context = client_context(files.authority)
    with serving(web_config=files.write(TLS)) as running:
        aside = files.server.key.rename(files.folder / "aside")
        assert serial(running.port, context) == files.server.certificate.serial_number
        assert "no such file" in running.server.web_config_error
        aside.rename(files.server.key)
        assert serial(running.port, context) == files.server.certificate.serial_number
        assert running.server.web_config_error == ""


def test_users_change_at_the_next_request_of_an_open_connection(files: WebFiles) -> None:
    """On an open connection, a removed user is refused, and a new user is accepted."""
    with (
        serving(web_config=files.write(users(old="a", stays="b"))) as running,
        contextlib.closing(http(running.port)) as connection,
    ):

        def status(user: str, password: str) -> int:
            connection.request("GET", "/", headers=basic(user, password))
            response = connection.getresponse()
            response.read()
            return int(response.status)

        assert (status("old", "a"), status("stays", "b"), status("new", "c")) == (200, 200, 401)
        files.write(users(new="c", stays="changed"))
        assert (status("old", "a"), status("stays", "b"), status("new", "c")) == (401, 401, 200)
        assert status("stays", "changed") == 200


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("basic_auth_users:\n  a: plain\n", ":2: basic_auth_users.a: must be a bcrypt hash"),
        ("basic_auth_users: [\n", ": this is not YAML"),
        ("", "basic_auth_users is gone; put it back, or restart"),
        (None, ": no such file"),
    ],
)
def test_a_bad_file_keeps_the_last_good_one(
    files: WebFiles, bad: str | None, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the error, the logins stay those of the last good file, and the log has the error once."""
    good = users(a="b")
    with serving(web_config=files.write(good)) as running:
        if bad is None:
            files.path.unlink()
        else:
            files.write(bad)
        statuses = [running.get("/", headers)[0].status for headers in (basic("a", "b"), {}, basic("x", "y"))]
        assert statuses == [200, 401, 401]
        assert words in running.server.web_config_error
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        files.write(good)
        assert running.get("/", basic("a", "b"))[0].status == 200
        assert running.server.web_config_error == ""


def test_a_changed_permission_is_noticed(files: WebFiles, readings: Readings) -> None:
    """After a chmod alone, the file is read again."""
    with serving(web_config=files.write(users(a="b"))) as running:
        before = readings.count
        files.write("nonsense: 1\n")
        assert running.get("/", basic("a", "b"))[0].status == 200
        files.path.chmod(0o600)
        assert running.get("/", basic("a", "b"))[0].status == 200
        assert readings.count == before + 2


def test_tls_can_be_turned_on_without_a_restart(files: WebFiles) -> None:
    """New connections need TLS at once; an open plain connection gets one more answer and is closed."""
    with serving(web_config=files.write("# plain\n")) as running, running.connect() as old:
        old.sendall(HELLO)
        read_until(old, b"healthy\n")
        files.write(TLS)
        old.sendall(HELLO)
        assert read_all(old).endswith(b"healthy\n")
        assert running.get("/", tls=client_context(files.authority))[0].status == 200
        with running.connect() as plain:
            plain.sendall(HELLO)
            assert b"HTTP" not in read_all(plain)


def test_protection_is_not_lost_without_a_restart(files: WebFiles) -> None:
    """A file that ends after any of its lines leaves TLS, client certificates and users in force."""
    whole = CLIENTS + users(a="b")
    client = client_context(files.authority, files.client("prometheus"))
    with serving(web_config=files.write(whole)) as running:
        for lines in range(len(whole.splitlines())):
            files.write("".join(whole.splitlines(keepends=True)[:lines]))
            assert running.get("/", tls=client)[0].status == 401
            with pytest.raises((ssl.SSLError, ConnectionError)):
                running.get("/", basic("a", "b"), tls=client_context(files.authority))
        files.write(whole)
        assert running.get("/", basic("a", "b"), tls=client)[0].status == 200


def test_reload_reads_files_that_look_unchanged(files: WebFiles, readings: Readings) -> None:
    """A file with an error is read once, until it changes; `reload()` reads it again."""
    with serving(web_config=files.write(users(a="b"))) as running:
        files.write("nonsense: 1\n")
        for count in (2, 3):
            running.get("/")
            assert readings.count == count
            running.loop.call_soon_threadsafe(running.server.reload)


def test_a_bad_file_at_the_start_is_an_error(files: WebFiles) -> None:
    """Without a last good file, the server is not made."""

    async def main() -> None:
        path = files.write("basic_auth_users:\n  a: plain\n")
        HttpServer([("127.0.0.1", 0)], [], path)

    with pytest.raises(InputError):
        asyncio.run(main())


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed: apt-get install curl")
def test_curl_with_certificate_and_password(files: WebFiles) -> None:
    """curl as in docs/security.md gets the metrics with TLS, a client certificate and a password."""
    client = files.client("prometheus")
    with serving(web_config=files.write(CLIENTS + users(prometheus="right"))) as running:
        command = [
            *("curl", "-sS", "--fail", "--cacert", str(files.authority.cert)),
            *("--cert", str(client.cert), "--key", str(client.key), "--user", "prometheus:right"),
            f"https://localhost:{running.port}/metrics",
        ]
        environment = {**os.environ, "no_proxy": "localhost"}
        done = subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE, env=environment)
    assert done.stdout == b"# nothing\n"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_client_that_leaves_early_is_not_an_error(
    files: WebFiles, tls: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """When a client closes in the middle of an answer, its request ends, and the log has no line."""

    async def scrape(accept: str, gzip: bool) -> Page:
        return Page("text/plain", "", [b"x" * 40_000_000])

    with (
        caplog.at_level(logging.INFO),
        serving(scrape, web_config=files.write(TLS if tls else "# plain\n")) as running,
    ):
        with running.connect() as plain, contextlib.ExitStack() as stack:
            connection = plain
            if tls:
                wrapped = client_context(files.authority).wrap_socket(plain, server_hostname="localhost")
                connection = stack.enter_context(wrapped)
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(1000)
        until(lambda: not running.connections)
        until(lambda: running.active() == 0)
    assert caplog.records == []
