"""TLS to the database: the mode of libpq, and the context with the certificates."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import get_args

from exporter.config import DatabaseSettings, TlsMode
from exporter.errors import InputError
from exporter.input.inputfile import read_text
from exporter.input.listenaddress import is_loopback
from exporter.store.database.mistakes import check_private, wrong_setting, wrong_variable

VERIFYING = ("require", "verify-ca", "verify-full")  # modes that use certificates


def mode(database: DatabaseSettings, environ: Mapping[str, str], host: str) -> TlsMode:
    """The mode for a host: configured, or of PGSSLMODE, or verify-full, and prefer on loopback.

    The default of libpq is prefer everywhere, which does not verify the server.
    """
    if host.startswith("/"):
        return "disable"
    files = [key for key in ("ca_file", "certificate_file") if getattr(database, key)]
    if database.tls:
        if files and database.tls not in VERIFYING:
            raise wrong_setting(
                "tls", f"{database.tls} does not use {files[0]}", "write require, verify-ca or verify-full"
            )
        return database.tls
    if not files and environ.get("PGSSLMODE"):
        for each in get_args(TlsMode):
            if each == environ["PGSSLMODE"]:
                found: TlsMode = each
                return found
        choices = ", ".join(get_args(TlsMode))
        raise wrong_variable("PGSSLMODE", f"{environ['PGSSLMODE']} is not a mode", f"write one of {choices}")
    return "prefer" if is_loopback(host) and not files else "verify-full"


def context(database: DatabaseSettings, environ: Mapping[str, str], tls: TlsMode) -> ssl.SSLContext | None:
    """The context for a mode, with the certificates; None for a mode that uses none.

    The driver's own context would read only PGSSL*, and ignore the certificates of the system. Raises
    InputError that names the file.
    """
    if tls not in VERIFYING:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["postgresql"])  # PostgreSQL 17 and later check it
    context.check_hostname = tls == "verify-full"
    ca_file = _ca_file(database, environ)
    if ca_file:
        _load(ca_file, "certificates (PEM)", lambda: context.load_verify_locations(ca_file))
    elif tls == "require":  # as libpq, which verifies the certificate only if there is a file of authorities
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    certificate = _file(database.certificate_file, environ, "PGSSLCERT", "postgresql.crt")
    if certificate:
        key = _file(database.key_file, environ, "PGSSLKEY", "postgresql.key")
        if key:
            check_private(key)
        _load(
            certificate,
            f"a certificate with its key{f' in {key}' if key else ''} (PEM, no passphrase)",
            lambda: context.load_cert_chain(certificate, key, password=""),
        )
    return context


def _ca_file(database: DatabaseSettings, environ: Mapping[str, str]) -> Path | None:
    if not database.ca_file and environ.get("PGSSLROOTCERT") == "system":
        return None
    return _file(database.ca_file, environ, "PGSSLROOTCERT", "root.crt")


def _file(configured: Path | None, environ: Mapping[str, str], variable: str, name: str) -> Path | None:
    """The configured file, or that of the variable, or libpq's default file if it is readable."""
    if configured:
        return configured
    if environ.get(variable):
        return Path(environ[variable])
    usual = Path(environ.get("HOME") or "/nonexistent", ".postgresql", name)
    return usual if os.access(usual, os.R_OK) else None


def _load(path: Path, wanted: str, load: Callable[[], None]) -> None:
    read_text(path)  # raises with the reason if the file cannot be read
    try:
        load()
    except (OSError, ValueError) as error:
        text = error.reason if isinstance(error, ssl.SSLError) else str(error)
        raise InputError(str(path), 0, "", f"must contain {wanted}: {text}") from None
