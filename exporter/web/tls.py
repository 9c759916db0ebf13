"""`tls_server_config` of a web configuration file → an `ssl.SSLContext`.

What Python's ssl cannot do is refused in words. Names and meanings are those of exporter-toolkit's
docs/web-configuration.md; the cipher suites are the ones Go's crypto/tls calls secure.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exporter.errors import InputError
from exporter.inputfile import read_bytes
from exporter.yamlfile import Section

NO_CERT, IF_GIVEN, REQUIRED = "NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"
UNVERIFIED = ("RequestClientCert", "RequireAnyClientCert")
VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
BROKEN_VERSIONS = ("TLS10", "TLS11")
TLS13_SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
TLS12_SUITES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
X25519 = "X25519"
CURVES = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    X25519: X25519,
}


@dataclass(frozen=True, slots=True)
class Pem:
    """A certificate or key: in the file `path`, or written in the configuration itself as `text`."""

    path: Path | None
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """What the section says, checked as far as that goes without opening the files it names."""

    cert: Pem
    key: Pem
    client_auth: str
    client_ca: Pem | None
    client_allowed_sans: tuple[str, ...]
    min_version: str
    max_version: str
    cipher_suites: tuple[str, ...]
    prefer_server_cipher_suites: bool
    curve: str  # "" = OpenSSL's choice
    section: Section = field(repr=False, compare=False)

    @property
    def files(self) -> tuple[Path, ...]:
        pems = (self.cert, self.key, self.client_ca)
        return tuple(pem.path for pem in pems if pem and pem.path)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is accepted and has no effect."""
        found = []
        if any(suite in TLS13_SUITES for suite in self.cipher_suites):
            found.append("cipher_suites: the suites of TLS 1.3 are always offered, listed or not")
        if self.curve == X25519 and not _can_set_x25519():
            found.append(
                "curve_preferences: this host's Python cannot set X25519; OpenSSL's list of curves is used, "
                "which begins with X25519"
            )
        return tuple(found)

    def context(self) -> ssl.SSLContext:
        """A server context with the files as they are now. Raises `InputError`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = VERSIONS[self.min_version]
        context.maximum_version = VERSIONS[self.max_version]
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        if not self.prefer_server_cipher_suites:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        self._choose_curve(context)
        self._choose_ciphers(context)
        self._load_certificate(context)
        self._load_client_ca(context)
        return context

    def _choose_curve(self, context: ssl.SSLContext) -> None:
        if not self.curve or (self.curve == X25519 and not _can_set_x25519()):
            return
        try:
            context.set_ecdh_curve(CURVES[self.curve])
        except (ValueError, ssl.SSLError):
            problem = f"{self.curve} is disabled in this host's OpenSSL; leave the key out"
            raise self.section.error("curve_preferences", problem) from None

    def _choose_ciphers(self, context: ssl.SSLContext) -> None:
        wanted = [TLS12_SUITES[suite] for suite in self.cipher_suites if suite in TLS12_SUITES]
        if not wanted:
            return
        with contextlib.suppress(ssl.SSLError):  # raised where none is known; the next lines name one
            context.set_ciphers(":".join(wanted))
        offered = {cipher["name"] for cipher in context.get_ciphers()}
        for suite in self.cipher_suites:
            if TLS12_SUITES.get(suite, suite) not in offered | set(TLS13_SUITES):
                raise self.section.error(
                    "cipher_suites", f"{suite} is disabled in this host's OpenSSL; remove it"
                )

    def _load_certificate(self, context: ssl.SSLContext) -> None:
        with self._opened(self.cert, "cert") as cert, self._opened(self.key, "key") as key:
            try:
                # The password keeps OpenSSL from asking for one on the terminal.
                context.load_cert_chain(cert, key, password="")
            except OSError as error:  # ssl's own, or a file replaced this very moment
                raise self.section.error(_written("key", self.key), _chain_problem(error)) from None

    def _load_client_ca(self, context: ssl.SSLContext) -> None:
        if self.client_ca is None:
            return
        context.verify_mode = ssl.CERT_OPTIONAL if self.client_auth == IF_GIVEN else ssl.CERT_REQUIRED
        with self._opened(self.client_ca, "client_ca") as authorities:
            try:
                context.load_verify_locations(authorities)
            except OSError:
                problem = "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
                raise self.section.error(_written("client_ca", self.client_ca), problem) from None

    @contextlib.contextmanager
    def _opened(self, pem: Pem, key: str) -> Iterator[str]:
        """A path that OpenSSL can read: a file in memory for what is written inline."""
        if pem.path:
            try:
                read_bytes(pem.path)  # says what prevents it; OpenSSL would not
            except InputError as error:
                raise self.section.error(_written(key, pem), str(error)) from None
            yield str(pem.path)
            return
        with os.fdopen(os.memfd_create(key, os.MFD_CLOEXEC), "wb") as memory:
            memory.write(pem.text.encode())
            memory.flush()
            yield f"/proc/self/fd/{memory.fileno()}"


def read_section(section: Section) -> TlsSettings | None:
    """The settings in `tls_server_config`; None where the section is absent or empty. Raises `InputError`."""
    if not section.keys():
        return None
    settings = TlsSettings(
        cert=_required_pem(section, "cert"),
        key=_required_pem(section, "key"),
        client_auth=_client_auth(section),
        client_ca=_pem(section, "client_ca"),
        client_allowed_sans=section.strings("client_allowed_sans"),
        min_version=_version(section, "min_version", "TLS12"),
        max_version=_version(section, "max_version", "TLS13"),
        cipher_suites=section.strings("cipher_suites"),
        prefer_server_cipher_suites=section.boolean("prefer_server_cipher_suites", True),
        curve=_curve(section),
        section=section,
    )
    section.finish()
    _check_client_certificates(section, settings)
    _check_versions_and_suites(section, settings)
    return settings


def _check_client_certificates(section: Section, settings: TlsSettings) -> None:
    if settings.client_ca and settings.client_auth == NO_CERT:
        raise section.error("client_auth_type", f"a client CA is given, so write {REQUIRED}")
    if settings.client_auth != NO_CERT and not settings.client_ca:
        problem = f"{settings.client_auth} needs client_ca_file: the authority that signed your clients"
        raise section.error("client_auth_type", problem)
    if "client_allowed_sans" not in section:
        return
    if not settings.client_allowed_sans:
        raise section.error("client_allowed_sans", "is empty, so no client could connect; leave the key out")
    if settings.client_auth != REQUIRED:
        problem = f"needs client_auth_type: {REQUIRED}; without a certificate there is no name to compare"
        raise section.error("client_allowed_sans", problem)


def _check_versions_and_suites(section: Section, settings: TlsSettings) -> None:
    if VERSIONS[settings.min_version] > VERSIONS[settings.max_version]:
        raise section.error("min_version", f"is above max_version, which is {settings.max_version}")
    for suite in settings.cipher_suites:
        if suite not in TLS12_SUITES and suite not in TLS13_SUITES:
            known = ", ".join((*TLS12_SUITES, *TLS13_SUITES))
            raise section.error("cipher_suites", f"{suite} is unknown or insecure; known: {known}")
    speaks_tls12 = settings.min_version == "TLS12"
    if settings.cipher_suites and speaks_tls12 and not set(settings.cipher_suites) & set(TLS12_SUITES):
        raise section.error("cipher_suites", "has no suite of TLS 1.2; add one, or write min_version: TLS13")


def _client_auth(section: Section) -> str:
    choices = (NO_CERT, IF_GIVEN, REQUIRED, *UNVERIFIED)
    client_auth = section.choice("client_auth_type", choices, NO_CERT)
    if client_auth in UNVERIFIED:
        problem = f"{client_auth} takes certificates unverified, which Python's ssl cannot; write {REQUIRED}"
        raise section.error("client_auth_type", problem)
    return client_auth


def _version(section: Section, key: str, default: str) -> str:
    version = section.choice(key, (*VERSIONS, *BROKEN_VERSIONS), default)
    if version in BROKEN_VERSIONS:
        raise section.error(
            key, f"{version} is deprecated as insecure (RFC 8996) and not spoken; write TLS12"
        )
    return version


def _curve(section: Section) -> str:
    curves = section.strings("curve_preferences")
    for curve in curves:
        if curve not in CURVES:
            raise section.error("curve_preferences", f"{curve} is unknown; known: {', '.join(CURVES)}")
    if len(curves) > 1:
        problem = (
            "Python's ssl takes one curve, not a list; keep one, or leave the key out for OpenSSL's list"
        )
        raise section.error("curve_preferences", problem)
    return curves[0] if curves else ""


def _can_set_x25519() -> bool:
    """False where Python's ssl cannot set X25519, although OpenSSL may have it.

    Python 3.11.2 sets a curve through OpenSSL's interface for EC keys, and X25519 is none of those.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ecdh_curve(CURVES[X25519])
    except ssl.SSLError as error:
        return error.library != "EC"
    except ValueError:  # OpenSSL does not know the name
        pass
    return True


def _required_pem(section: Section, key: str) -> Pem:
    pem = _pem(section, key)
    if pem is None:
        raise section.error(f"{key}_file", "is missing; TLS needs cert_file and key_file")
    return pem


def _pem(section: Section, key: str) -> Pem | None:
    path = section.path(f"{key}_file", None)
    text = section.string(key, "")
    if path and text:
        raise section.error(key, f"is given twice: remove it, or {key}_file")
    return Pem(path, text) if path or text else None


def _written(key: str, pem: Pem) -> str:
    return f"{key}_file" if pem.path else key


def _chain_problem(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return "this key does not belong to the certificate; replace one of the two"
    return (
        "certificate or key is not PEM that OpenSSL can read, or the key has a passphrase; write it without"
    )


def has_allowed_name(certificate: Mapping[str, Any], allowed: tuple[str, ...]) -> bool:
    """Whether a subject alternative name of a peer certificate, as `getpeercert()` gives it, is allowed.

    DNS names, e-mail addresses and URIs compare as they are written, addresses by value.
    """
    names = certificate.get("subjectAltName", ())
    return any(_plain(kind, value) in allowed for kind, value in names)


def _plain(kind: str, value: str) -> str:
    # OpenSSL writes an IPv6 address in capitals and in full; operators write 2001:db8::1.
    return str(ipaddress.ip_address(value.strip())) if kind == "IP Address" else value
