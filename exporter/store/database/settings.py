"""Where the database is, and how it is spoken to: the configuration first, then libpq's environment.

The variables are those of https://www.postgresql.org/docs/current/libpq-envars.html. A password file of libpq
(PGPASSFILE, ~/.pgpass) is read by asyncpg when a password is asked for and none is known.
"""

from __future__ import annotations

import configparser
import ipaddress
import os
import pwd
import re
import ssl
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from exporter.config import DatabaseSettings
from exporter.errors import InputError
from exporter.inputfile import read_text

TlsMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]

PORT = 5432
NAME = "argus"
SERVICE_KEYS = {
    "host": "PGHOST",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
}


@dataclass(frozen=True, slots=True)
class Target:
    """One database of one server, and who asks."""

    host: str  # a name, an address, or the directory of a Unix socket
    port: int
    database: str
    user: str
    password: str = field(default="", repr=False)
    tls: TlsMode = "disable"
    context: ssl.SSLContext | None = field(default=None, repr=False)  # None = as `tls` says, without files

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}:{self.port}/{self.database}"


def target(database: DatabaseSettings, environ: Mapping[str, str]) -> Target | None:
    """Where snapshots go; None = nothing is configured: a private server of our own.

    Files are read anew with each call. Raises `InputError` that names the file, the key or the variable.
    """
    environ = {**environ, **_service(environ)}
    if not database.address and not environ.get("PGHOST"):
        return None
    host, port = _address(database.address) if database.address else (_host(environ["PGHOST"]), None)
    tls = _tls(database, environ, host)
    return Target(
        host=host,
        port=_port(environ) if port is None else port,
        database=database.name or environ.get("PGDATABASE") or NAME,
        user=database.user or environ.get("PGUSER") or pwd.getpwuid(os.geteuid()).pw_name,
        password=_password(database.password_file)
        if database.password_file
        else environ.get("PGPASSWORD", ""),
        tls=tls,
        context=_context(database, environ, tls) if tls in ("require", "verify-ca", "verify-full") else None,
    )


def _wrong(key: str, problem: str) -> InputError:
    return InputError("the configuration", 0, f"database.{key}", problem)


def _wrong_variable(name: str, problem: str) -> InputError:
    return InputError("the environment", 0, name, problem)


def _address(text: str) -> tuple[str, int | None]:
    if text.startswith("/"):
        return text, None
    match = re.fullmatch(r"(?:\[(?P<six>[^]]+)\]|(?P<host>[^][:/,\s]+))(?::(?P<port>[0-9]{1,5}))?", text)
    port = int(match["port"]) if match and match["port"] else None
    if not match or (match["six"] and not _is_ipv6(match["six"])) or port == 0 or (port or 0) > 65535:
        raise _wrong(
            "address",
            f"{text} is no address; write host, host:port, [::1]:port, or the directory of a Unix socket",
        )
    return match["six"] or match["host"], port


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def _host(text: str) -> str:
    if "," in text:
        raise _wrong_variable("PGHOST", "names several hosts; one is needed, which may be a virtual address")
    return text


def _port(environ: Mapping[str, str]) -> int:
    text = environ.get("PGPORT") or str(PORT)
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) <= 65535:
        raise _wrong_variable("PGPORT", f"{text} is no port; write a number from 1 to 65535")
    return int(text)


def _service(environ: Mapping[str, str]) -> dict[str, str]:
    """What the service of PGSERVICE says, as the variables that it takes the place of."""
    name = environ.get("PGSERVICE")
    if not name:
        return {}
    path = Path(environ.get("PGSERVICEFILE") or Path(environ.get("HOME", "/"), ".pg_service.conf"))
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(read_text(path))
    except configparser.Error as error:
        problem = error.message.splitlines()[0]
    else:
        if parser.has_section(name):
            return {SERVICE_KEYS[key]: value for key, value in parser.items(name) if key in SERVICE_KEYS}
        problem = f"there is no service [{name}], which PGSERVICE asks for"
    raise InputError(str(path), 0, "", problem)


def _private(path: Path) -> None:
    """libpq's rule for keys, kept for passwords, too: nobody else reads it, but root's may have a group."""
    try:
        found = path.stat()
    except OSError:
        return  # whoever reads it will say why
    allowed = 0o640 if found.st_uid == 0 else 0o600
    if stat.S_IMODE(found.st_mode) & ~allowed & 0o077:
        raise InputError(
            str(path),
            0,
            "",
            f"others may read it (mode {stat.S_IMODE(found.st_mode):04o}); chmod 0600 {path}",
        )


def _password(path: Path) -> str:
    _private(path)
    lines = read_text(path).splitlines()
    if len(lines) != 1 or not lines[0]:
        raise InputError(str(path), 0, "", "must hold one line, the password, and nothing else")
    return lines[0]


def _tls(database: DatabaseSettings, environ: Mapping[str, str], host: str) -> TlsMode:
    """Which of libpq's modes. Beyond loopback the default verifies the server; libpq's own would not."""
    if host.startswith("/"):
        return "disable"
    files = [key for key in ("ca_file", "certificate_file") if getattr(database, key)]
    if database.tls:
        if files and database.tls in ("disable", "allow", "prefer"):
            raise _wrong(
                "tls", f"{database.tls} makes no use of {files[0]}; write require, verify-ca or verify-full"
            )
        return database.tls
    if not files and environ.get("PGSSLMODE"):
        for mode in get_args(TlsMode):
            if mode == environ["PGSSLMODE"]:
                found: TlsMode = mode
                return found
        raise _wrong_variable("PGSSLMODE", f"must be one of {', '.join(get_args(TlsMode))}")
    return "prefer" if _is_loopback(host) and not files else "verify-full"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _context(database: DatabaseSettings, environ: Mapping[str, str], tls: TlsMode) -> ssl.SSLContext:
    """asyncpg makes one from PGSSL* alone, and knows no certificates of the system."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["postgresql"])  # PostgreSQL 17 and later look at it
    context.check_hostname = tls == "verify-full"
    ca_file = _ca_file(database, environ)
    if ca_file:
        _load(ca_file, "certificates (PEM)", lambda: context.load_verify_locations(ca_file))
    elif tls == "require":  # as libpq: a certificate of the authorities is looked at where there is one
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    certificate = _file(database.certificate_file, environ, "PGSSLCERT", "postgresql.crt")
    if certificate:
        key = _file(database.key_file, environ, "PGSSLKEY", "postgresql.key")
        if key:
            _private(key)
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
    """The file that is configured or in the environment, or libpq's own place for it if it is there."""
    if configured:
        return configured
    if environ.get(variable):
        return Path(environ[variable])
    usual = Path(environ.get("HOME") or "/nonexistent", ".postgresql", name)
    return usual if os.access(usual, os.R_OK) else None


def _load(path: Path, wanted: str, load: Callable[[], None]) -> None:
    read_text(path)  # says what keeps us from reading it
    try:
        load()
    except (OSError, ValueError) as error:
        text = error.reason if isinstance(error, ssl.SSLError) else str(error)
        raise InputError(str(path), 0, "", f"must hold {wanted}: {text}") from None
