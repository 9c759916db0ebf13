"""Where the database is: from the configuration, or else from libpq's environment variables.

The variables are those of https://www.postgresql.org/docs/current/libpq-envars.html. The driver itself reads
libpq's password file (PGPASSFILE, ~/.pgpass) if the server asks for a password and none is set.
"""

from __future__ import annotations

import configparser
import ipaddress
import os
import pwd
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.config import DatabaseSettings, TlsMode
from exporter.errors import InputError
from exporter.input.inputfile import read_text
from exporter.store.database import tls
from exporter.store.database.mistakes import check_private, wrong_setting, wrong_variable

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
    """A database, and the login to it."""

    host: str  # a name, an address, or the directory of a Unix socket
    port: int
    database: str
    user: str
    password: str = field(default="", repr=False)
    tls: TlsMode = "disable"
    context: ssl.SSLContext | None = field(default=None, repr=False)  # None: `tls` needs no certificates

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}:{self.port}/{self.database}"


def target(database: DatabaseSettings, environ: Mapping[str, str]) -> Target | None:
    """The configured database; None = the private PostgreSQL is to be used.

    Files are read at every call. Raises InputError that names the file, the key or the variable.
    """
    environ = {**environ, **_service(environ)}
    if not database.address and not environ.get("PGHOST"):
        return None
    host, port = _address(database.address) if database.address else (_host(environ["PGHOST"]), None)
    mode = tls.mode(database, environ, host)
    return Target(
        host=host,
        port=_port(environ) if port is None else port,
        database=database.name or environ.get("PGDATABASE") or NAME,
        user=database.user or environ.get("PGUSER") or pwd.getpwuid(os.geteuid()).pw_name,
        password=_password(database.password_file)
        if database.password_file
        else environ.get("PGPASSWORD", ""),
        tls=mode,
        context=tls.context(database, environ, mode),
    )


def _address(text: str) -> tuple[str, int | None]:
    if text.startswith("/"):
        return text, None
    match = re.fullmatch(r"(?:\[(?P<six>[^]]+)\]|(?P<host>[^][:/,\s]+))(?::(?P<port>[0-9]{1,5}))?", text)
    port = int(match["port"]) if match and match["port"] else None
    if not match or (match["six"] and not _is_ipv6(match["six"])) or port == 0 or (port or 0) > 65535:
        remedy = "write host, host:port, [::1]:port, or the directory of a Unix socket"
        raise wrong_setting("address", f"{text} is not an address", remedy)
    return match["six"] or match["host"], port


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def _host(text: str) -> str:
    if "," in text:
        raise wrong_variable("PGHOST", "names several hosts", "name one, which may have a virtual address")
    return text


def _port(environ: Mapping[str, str]) -> int:
    text = environ.get("PGPORT") or str(PORT)
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) <= 65535:
        raise wrong_variable("PGPORT", f"{text} is not a port", "write a number from 1 to 65535")
    return int(text)


def _service(environ: Mapping[str, str]) -> dict[str, str]:
    """The values of the service that PGSERVICE names, by the variables that they replace."""
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
        problem = f"there is no service [{name}], which PGSERVICE names"
    raise InputError(str(path), 0, "", problem)


def _password(path: Path) -> str:
    check_private(path)
    lines = read_text(path).splitlines()
    if len(lines) != 1 or not lines[0]:
        raise InputError(str(path), 0, "", "must contain one line, the password, and nothing else")
    return lines[0]
