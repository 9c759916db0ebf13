"""For the tests of exporter.web: certificates, a server in a thread, and clients."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any

import bcrypt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from exporter.routes.metrics import PATH, Scrape
from exporter.routes.table import exporter_routes
from exporter.web.limits.connectionlimits import ConnectionLimits
from exporter.web.messages.page import Page
from exporter.web.routing.route import Route
from exporter.web.server import HttpServer

PATIENCE = 20.0  # seconds after which a test fails; a test that passes does not wait for them


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in files."""

    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey
    cert: Path
    key: Path


def make_pair(
    folder: Path, name: str, issuer: Pair | None = None, sans: Sequence[x509.GeneralName] = ()
) -> Pair:
    """`name`.crt and `name`.key in `folder`: an authority, or a certificate that `issuer` signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(True, False, False, False, False, issuer is None, issuer is None, False, False)
    signer = (issuer.private_key if issuer else key).public_key()
    names = list(sans) or [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        # Python 3.13 refuses certificates without these.
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )
    certificate = builder.sign(issuer.private_key if issuer else key, hashes.SHA256())
    cert_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(pem(key))
    return Pair(certificate, key, cert_file, key_file)


def pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes = b"") -> bytes:
    """The key in PEM form."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def password_hash(password: str, cost: int = 4) -> str:
    """A bcrypt hash with the prefix that htpasswd writes."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode().replace("$2b$", "$2y$", 1)


async def scrape_nothing(accept: str, gzip: bool) -> Page:
    """A scrape whose page is one comment."""
    return Page("text/plain; version=0.0.4; charset=utf-8", "", (b"# nothing\n",))


@dataclass(frozen=True)
class Running:
    """A server that runs in a thread of its own."""

    server: HttpServer
    loop: asyncio.AbstractEventLoop

    @property
    def port(self) -> int:
        return self.server.addresses[0][1]

    @property
    def connections(self) -> int:
        """Connections that are open."""
        assert self.server._acceptor
        return self.server._acceptor.open_connections

    @property
    def listening(self) -> bool:
        """Whether the listening socket is open."""
        assert self.server._acceptor
        return self.server._acceptor._listeners[0].fileno() != -1

    def active(self, path: str = PATH, method: str = "GET") -> int:
        """Requests under way for a path and method."""
        return self.server._responder.table.find(method, path).active

    def stop(self, grace: float) -> None:
        """`HttpServer.stop`, as the daemon would call it."""
        asyncio.run_coroutine_threadsafe(self.server.stop(grace), self.loop).result(PATIENCE)

    def connect(self) -> socket.socket:
        """A plain connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def get(
        self, path: str, headers: dict[str, str] | None = None, *, tls: ssl.SSLContext | None = None
    ) -> tuple[HTTPResponse, bytes]:
        """One GET on a connection of its own."""
        connection = http(self.port, tls)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            return response, response.read()


def http(port: int, tls: ssl.SSLContext | None = None) -> HTTPConnection:
    """A client whose connection stays open between requests."""
    if tls:
        return HTTPSConnection("127.0.0.1", port, timeout=PATIENCE, context=tls)
    return HTTPConnection("127.0.0.1", port, timeout=PATIENCE)


@contextlib.contextmanager
def serving(
    scrape: Scrape = scrape_nothing,
    *,
    web_config: Path | None = None,
    limits: ConnectionLimits | None = None,
    ready: tuple[bool, Sequence[str]] = (True, ()),
    max_scrapes: int = 16,
    scrape_seconds: float = 30.0,
    routes: Sequence[Route] = (),
    log: logging.Logger | None = None,
) -> Iterator[Running]:
    """A server on a free port of loopback, with the routes of the exporter and `routes`; stopped without
    grace at the end.

    An exception that no task retrieves fails the test.
    """
    loop = asyncio.new_event_loop()
    lost: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: lost.append(context))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:

        async def start() -> HttpServer:
            table = (*exporter_routes(scrape, lambda: ready, max_scrapes, scrape_seconds), *routes)
            server = HttpServer([("127.0.0.1", 0)], table, web_config=web_config, limits=limits, log=log)
            await server.start()
            return server

        running = Running(asyncio.run_coroutine_threadsafe(start(), loop).result(PATIENCE), loop)
        try:
            yield running
        finally:
            running.stop(0.01)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    assert not lost


def client_context(authority: Pair | None = None, client: Pair | None = None) -> ssl.SSLContext:
    """TLS of a client that trusts `authority` and has the certificate `client`."""
    context = ssl.create_default_context(cafile=authority.cert if authority else None)
    if client:
        context.load_cert_chain(client.cert, client.key)
    return context


def read_all(connection: socket.socket) -> bytes:
    """Reads until the server closes or resets the connection."""
    received = bytearray()
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            received += piece
    return bytes(received)


def until(condition: Callable[[], bool]) -> None:
    """Waits until a condition holds that another thread brings about."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def read_until(connection: socket.socket, end: bytes) -> None:
    """Reads until the bytes received end with `end`; fails when the connection ends before."""
    received = b""
    while not received.endswith(end):
        piece = connection.recv(65536)
        assert piece, f"the connection ended after {received!r}"
        received += piece
