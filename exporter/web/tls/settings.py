"""`tls_server_config` of a web configuration file.

Names and meanings are those of exporter-toolkit's docs/web-configuration.md. A setting that Python's ssl
cannot honour is an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from exporter.input.yamlfile import Section
from exporter.web.tls.parameters import (
    BROKEN_VERSIONS,
    CURVES,
    IF_GIVEN,
    NO_CERT,
    REQUIRED,
    TLS12_SUITES,
    TLS13_SUITES,
    UNVERIFIED,
    VERSIONS,
    X25519,
    can_set_x25519,
)


@dataclass(frozen=True, slots=True)
class Pem:
    """A certificate or key: in the file `path`, or as `text` in the configuration itself."""

    path: Path | None
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """The section, checked except for the files that it names."""

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
        """The files that the section names."""
        pems = (self.cert, self.key, self.client_ca)
        return tuple(pem.path for pem in pems if pem and pem.path)

    @property
    def notes(self) -> tuple[str, ...]:
        """The settings that are accepted and have no effect."""
        found = []
        if any(suite in TLS13_SUITES for suite in self.cipher_suites):
            found.append("cipher_suites: the suites of TLS 1.3 are always offered, listed or not")
        if self.curve == X25519 and not can_set_x25519():
            found.append(
                "curve_preferences: this host's Python cannot set X25519; OpenSSL's list of curves is used, "
                "which begins with X25519"
            )
        return tuple(found)


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
        problem = "is empty, so no client could connect"
        raise section.error("client_allowed_sans", problem, "leave the key out")
    if settings.client_auth != REQUIRED:
        problem = f"needs client_auth_type: {REQUIRED}; without a certificate there is no name to compare"
        raise section.error("client_allowed_sans", problem)


def _check_versions_and_suites(section: Section, settings: TlsSettings) -> None:
    if VERSIONS[settings.min_version] > VERSIONS[settings.max_version]:
        raise section.error("min_version", f"is above max_version, which is {settings.max_version}")
    for suite in settings.cipher_suites:
        if suite not in TLS12_SUITES and suite not in TLS13_SUITES:
            known = ", ".join((*TLS12_SUITES, *TLS13_SUITES))
            raise section.error("cipher_suites", f"{suite} is unknown or insecure", f"known: {known}")
    allows_tls12 = settings.min_version == "TLS12"
    if settings.cipher_suites and allows_tls12 and not set(settings.cipher_suites) & set(TLS12_SUITES):
        raise section.error(
            "cipher_suites", "has no suite of TLS 1.2", "add one, or write min_version: TLS13"
        )


def _client_auth(section: Section) -> str:
    choices = (NO_CERT, IF_GIVEN, REQUIRED, *UNVERIFIED)
    client_auth = section.choice("client_auth_type", choices, NO_CERT)
    if client_auth in UNVERIFIED:
        problem = f"{client_auth} takes certificates unverified, which Python's ssl cannot"
        raise section.error("client_auth_type", problem, f"write {REQUIRED}")
    return client_auth


def _version(section: Section, key: str, default: str) -> str:
    version = section.choice(key, (*VERSIONS, *BROKEN_VERSIONS), default)
    if version in BROKEN_VERSIONS:
        problem = f"{version} is deprecated as insecure (RFC 8996) and not spoken"
        raise section.error(key, problem, "write TLS12")
    return version


def _curve(section: Section) -> str:
    curves = section.strings("curve_preferences")
    for curve in curves:
        if curve not in CURVES:
            raise section.error("curve_preferences", f"{curve} is unknown", f"known: {', '.join(CURVES)}")
    if len(curves) > 1:
        problem = "Python's ssl takes one curve, not a list"
        remedy = "keep one, or leave the key out for OpenSSL's list"
        raise section.error("curve_preferences", problem, remedy)
    return curves[0] if curves else ""


def _required_pem(section: Section, key: str) -> Pem:
    pem = _pem(section, key)
    if pem is None:
        raise section.error(f"{key}_file", "is missing", "TLS needs cert_file and key_file")
    return pem


def _pem(section: Section, key: str) -> Pem | None:
    path = section.path(f"{key}_file", None)
    text = section.string(key, "")
    if path and text:
        raise section.error(key, f"is given twice: remove it, or {key}_file")
    return Pem(path, text) if path or text else None
