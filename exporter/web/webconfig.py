"""The web configuration file: TLS, headers, users, rate. The format is exporter-toolkit's.

https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md describes it.
Strict: what is unknown, wrong or cannot be honoured is an `InputError` with file, line and key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter import yamlfile
from exporter.duration import duration
from exporter.web import tls
from exporter.web.basicauth import MAX_COST, hash_cost
from exporter.web.ratelimit import RateLimit
from exporter.yamlfile import Section

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
    """A web configuration. The one without arguments is plain HTTP for everybody."""

    tls: tls.TlsSettings | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, bytes] = field(default_factory=dict, repr=False)  # name → bcrypt hash
    rate_limit: RateLimit | None = None
    notes: tuple[str, ...] = ()  # what is accepted and has no effect; for the log

    @property
    def authenticates(self) -> bool:
        """Whether nobody is answered without a password or a client certificate."""
        return bool(self.users) or bool(self.tls and self.tls.client_auth == tls.REQUIRED)


def load(path: Path) -> WebConfig:
    """The file, with every certificate it names opened and tried. Raises `InputError`."""
    config = parse(path)
    if config.tls:
        config.tls.context()
    return config


def parse(path: Path) -> WebConfig:
    """The file alone, without opening those it names. Raises `InputError`."""
    root = yamlfile.load(path)
    settings = tls.read_section(root.section("tls_server_config"))
    headers, notes = _http(root.section("http_server_config"))
    users = _users(root.section("basic_auth_users"))
    rate_limit = _rate_limit(root.section("rate_limit"))
    root.finish()
    return WebConfig(settings, headers, users, rate_limit, notes + (settings.notes if settings else ()))


def lowered(old: WebConfig, new: WebConfig) -> str:
    """The protection that `old` gives and `new` does not; "" = none.

    A file that is being written can be seen cut off at any line, and still be YAML.
    """
    if old.users and not new.users:
        return "basic_auth_users"
    if old.tls and not new.tls:
        return "tls_server_config"
    if old.tls and new.tls:
        if new.tls.client_auth != old.tls.client_auth == tls.REQUIRED:
            return f"client_auth_type: {tls.REQUIRED}"
        if old.tls.client_allowed_sans and not new.tls.client_allowed_sans:
            return "client_allowed_sans"
    return ""


def _http(section: Section) -> tuple[Mapping[str, str], tuple[str, ...]]:
    http2 = section.boolean("http2", False)
    written = section.section("headers")
    section.finish()
    headers = {name: _header(written, name) for name in HEADERS if name in written}
    for name in written.keys():  # noqa: SIM118 - a Section is no mapping
        if name not in HEADERS:
            raise written.error(name, f"cannot be set; these can: {', '.join(HEADERS)}")
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
        problem = (
            f"the cost {cost} would compute for minutes at each new login; at most {MAX_COST}, 10 is usual"
        )
        raise section.error(name, problem)
    return password_hash


def _rate_limit(section: Section) -> RateLimit | None:
    text = section.string("interval", "0")
    burst = section.integer("burst", 0, 0, 1_000_000)
    section.finish()
    interval = duration(text)
    if interval is None or (interval and not text[-1:].isalpha()):
        # exporter-toolkit takes a bare number for nanoseconds, which nobody means.
        raise section.error(
            "interval", "must be a duration with its unit, such as 1s or 250ms; 0 turns it off"
        )
    if not interval:
        return None
    if burst == 0:
        raise section.error("burst", "must be at least 1, or every request would be refused")
    return RateLimit(interval, burst)
