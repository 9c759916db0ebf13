"""The web configuration file: TLS, headers, users, rate limit. The format is exporter-toolkit's.

https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md describes it. A key
that is unknown, wrong or cannot be honoured is an `InputError` with file, line and key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.input import yamlfile
from exporter.input.duration import duration
from exporter.input.yamlfile import Section
from exporter.web.limits.ratelimit import RateLimit
from exporter.web.logins.bcrypthash import MAX_COST, hash_cost
from exporter.web.tls.context import server_tls
from exporter.web.tls.parameters import REQUIRED
from exporter.web.tls.settings import TlsSettings, read_section

# Headers that may be set, each with the values it may have; () = any.
HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}


@dataclass(frozen=True, slots=True)
class WebConfig:
    """A web configuration. `WebConfig()` is plain HTTP without logins."""

    tls: TlsSettings | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, bytes] = field(default_factory=dict, repr=False)  # name → bcrypt hash
    rate_limit: RateLimit | None = None
    notes: tuple[str, ...] = ()  # settings that are accepted and have no effect; for the log

    @property
    def authenticates(self) -> bool:
        """Whether every request needs a password or a client certificate."""
        return bool(self.users) or bool(self.tls and self.tls.client_auth == REQUIRED)


def load(path: Path) -> WebConfig:
    """The file. The certificates that it names are read as well, and then closed. Raises `InputError`."""
    config = parse(path)
    if config.tls:
        server_tls(config.tls)
    return config


def parse(path: Path) -> WebConfig:
    """The file alone, without the files that it names. Raises `InputError`."""
    root = yamlfile.load(path)
    settings = read_section(root.section("tls_server_config"))
    headers, notes = _http(root.section("http_server_config"))
    users = _users(root.section("basic_auth_users"))
    rate_limit = _rate_limit(root.section("rate_limit"))
    root.finish()
    return WebConfig(settings, headers, users, rate_limit, notes + (settings.notes if settings else ()))


def _http(section: Section) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """(headers, notes)"""
    http2 = section.boolean("http2", False)
    written = section.section("headers")
    section.finish()
    headers = {name: _header(written, name) for name in HEADERS if name in written}
    for name in written.keys():  # noqa: SIM118 - a Section is no mapping
        if name not in HEADERS:
            raise written.error(name, "cannot be set", f"these can: {', '.join(HEADERS)}")
    set_headers = {name: value for name, value in headers.items() if value}
    return set_headers, ("http2: not spoken; clients get HTTP/1.1",) if http2 else ()


def _header(section: Section, name: str) -> str:
    if HEADERS[name]:
        return section.choice(name, HEADERS[name], "")
    value = section.string(name, "")
    if not (value.isascii() and value.isprintable()) and value:
        raise section.error(name, "must be printable ASCII on one line")
    return value


def _users(section: Section) -> Mapping[str, bytes]:
    return {name: _password_hash(section, name) for name in section.keys()}  # noqa: SIM118


def _password_hash(section: Section, name: str) -> bytes:
    if not name or ":" in name:
        raise section.error(name, "a user's name is not empty and has no colon (RFC 7617)")
    password_hash = section.string(name, "").encode()
    cost = hash_cost(password_hash)
    if cost is None:
        raise section.error(name, 'must be a bcrypt hash, as `htpasswd -nBC 10 ""` makes it, not a password')
    if cost > MAX_COST:
        problem = f"the cost {cost} would compute for minutes at each new login"
        raise section.error(name, problem, f"at most {MAX_COST}, 10 is usual")
    return password_hash


def _rate_limit(section: Section) -> RateLimit | None:
    text = section.string("interval", "0")
    burst = section.integer("burst", 0, 0, 1_000_000)
    section.finish()
    interval = duration(text)
    if interval is None or (interval and not text[-1:].isalpha()):
        # exporter-toolkit reads a number without a unit as nanoseconds. That is never intended.
        problem = "must be a duration with its unit, such as 1s or 250ms"
        raise section.error("interval", problem, "0 turns it off")
    if not interval:
        return None
    if burst == 0:
        raise section.error("burst", "must be at least 1, or every request would be refused")
    return RateLimit(interval, burst)
