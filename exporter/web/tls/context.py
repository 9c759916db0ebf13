"""Makes an `ssl.SSLContext` from the settings and the present certificates on disk."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from exporter.errors import InputError
from exporter.input.inputfile import read_bytes
from exporter.web.tls.clientnames import has_allowed_name
from exporter.web.tls.parameters import (
    CURVES,
    IF_GIVEN,
    TLS12_SUITES,
    TLS13_SUITES,
    VERSIONS,
    X25519,
    can_set_x25519,
)
from exporter.web.tls.settings import Pem, TlsSettings


@dataclass(frozen=True, slots=True)
class ServerTls:
    """TLS of a server."""

    context: ssl.SSLContext
    client_names: tuple[str, ...]  # one of these must be in the client's certificate; () = any or none

    def admits(self, certificate: Mapping[str, Any]) -> bool:
        """Whether a client with this certificate, in the form of `getpeercert()`, may connect."""
        return not self.client_names or has_allowed_name(certificate, self.client_names)


def server_tls(settings: TlsSettings) -> ServerTls:
    """Reads the certificates and the key. Raises `InputError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[settings.min_version]
    context.maximum_version = VERSIONS[settings.max_version]
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    if not settings.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    _choose_curve(context, settings)
    _choose_ciphers(context, settings)
    _load_certificate(context, settings)
    _load_client_ca(context, settings)
    return ServerTls(context, settings.client_allowed_sans)


def _choose_curve(context: ssl.SSLContext, settings: TlsSettings) -> None:
    if not settings.curve or (settings.curve == X25519 and not can_set_x25519()):
        return
    try:
        context.set_ecdh_curve(CURVES[settings.curve])
    except (ValueError, ssl.SSLError):
        problem = f"{settings.curve} is disabled in this host's OpenSSL"
        raise settings.section.error("curve_preferences", problem, "leave the key out") from None


def _choose_ciphers(context: ssl.SSLContext, settings: TlsSettings) -> None:
    wanted = [TLS12_SUITES[suite] for suite in settings.cipher_suites if suite in TLS12_SUITES]
    if not wanted:
        return
    with contextlib.suppress(ssl.SSLError):  # raised when OpenSSL has none of them; the loop names the first
        context.set_ciphers(":".join(wanted))
    offered = {cipher["name"] for cipher in context.get_ciphers()}
    for suite in settings.cipher_suites:
        if TLS12_SUITES.get(suite, suite) not in offered | set(TLS13_SUITES):
            problem = f"{suite} is disabled in this host's OpenSSL"
            raise settings.section.error("cipher_suites", problem, "remove it")


def _load_certificate(context: ssl.SSLContext, settings: TlsSettings) -> None:
    with _opened(settings, settings.cert, "cert") as cert, _opened(settings, settings.key, "key") as key:
        try:
            # Without a password here, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(cert, key, password="")
        except OSError as error:  # an ssl.SSLError, or a file that was replaced after _opened
            problem, remedy = _chain_problem(error)
            raise settings.section.error(_field("key", settings.key), problem, remedy) from None


def _load_client_ca(context: ssl.SSLContext, settings: TlsSettings) -> None:
    if settings.client_ca is None:
        return
    context.verify_mode = ssl.CERT_OPTIONAL if settings.client_auth == IF_GIVEN else ssl.CERT_REQUIRED
    with _opened(settings, settings.client_ca, "client_ca") as authorities:
        try:
            context.load_verify_locations(authorities)
        except OSError:
            problem = "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
            raise settings.section.error(_field("client_ca", settings.client_ca), problem) from None


@contextlib.contextmanager
def _opened(settings: TlsSettings, pem: Pem, key: str) -> Iterator[str]:
    """A path that OpenSSL can read. A PEM text in the configuration becomes a file in memory."""
    if pem.path:
        try:
            read_bytes(pem.path)  # its error has the reason; OpenSSL's does not
        except InputError as error:
            raise settings.section.error(_field(key, pem), error.problem, error.remedy) from None
        yield str(pem.path)
        return
    with os.fdopen(os.memfd_create(key, os.MFD_CLOEXEC), "wb") as memory:
        memory.write(pem.text.encode())
        memory.flush()
        yield f"/proc/self/fd/{memory.fileno()}"


def _field(key: str, pem: Pem) -> str:
    return f"{key}_file" if pem.path else key


def _chain_problem(error: OSError) -> tuple[str, str]:
    """(problem, remedy)"""
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return "this key does not belong to the certificate", "replace one of the two"
    problem = "certificate or key is not PEM that OpenSSL can read, or the key has a passphrase"
    return problem, "write it without"
