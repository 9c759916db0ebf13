"""The configuration file, as frozen dataclasses. Everything has a default: no file is a valid configuration.

The keys of the file are the names of the fields, nested as the classes are. The types of the fields say how
values are written and within which bounds; `yamlrecord` reads the file by them.
"""

from __future__ import annotations

import socket
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from exporter.input import yamlfile, yamlrecord
from exporter.input.listenaddress import ListenAddress
from exporter.input.yamlfile import Section
from exporter.input.yamlrecord import Between, Mistake, Read, Seconds
from exporter.instants import DAY_SECONDS

Schema = Literal["native", "mindflavor", "mdlayher"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]
TlsMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


@dataclass(frozen=True, slots=True)
class MindFlavorSettings:
    """Options of the compatibility schema `mindflavor`, named after that exporter's command line.

    `handshake_delay`: also export `wireguard_latest_handshake_delay_seconds` (its `-d`).
    `remote_ip`: label peers with `remote_ip` and `remote_port` (its `-r`).
    """

    handshake_delay: bool = False
    remote_ip: bool = False


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """The metrics on `/metrics`.

    `schema`: `native`, or `mindflavor` or `mdlayher` for the same metrics as one of these exporters.
    `mindflavor`: options of that schema.
    """

    schema: Schema = "native"
    mindflavor: MindFlavorSettings = MindFlavorSettings()


@dataclass(frozen=True, slots=True)
class InterfaceSettings:
    """Which interfaces are read: shell patterns against the label, `wg0` or `blue/wg0`; `*` matches `/` too.

    `include`: at least one must match.
    `exclude`: none may match.
    """

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()

    def wanted(self, label: str) -> bool:
        """Whether to read the interface with this label."""
        included = any(fnmatchcase(label, pattern) for pattern in self.include)
        return included and not any(fnmatchcase(label, pattern) for pattern in self.exclude)

    def mistakes(self) -> Iterator[Mistake]:
        if not self.include:
            remedy = 'write "*" for every interface'
            yield Mistake("include", "is empty, so nothing would be read", remedy)


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """The sources of interfaces.

    `netlink`: read the interfaces of the kernel.
    `uapi`: read the interfaces of userspace implementations (wireguard-go, boringtun).
    `uapi_directory`: the directory of their sockets.
    `timeout`: seconds that reading one interface may take.
    `dump_retries`: how often a dump is repeated when peers changed while it was read.
    """

    netlink: bool = True
    uapi: bool = True
    uapi_directory: Path = Path("/var/run/wireguard")
    timeout: Annotated[float, Seconds(0.1, 300)] = 5.0
    dump_retries: Annotated[int, Between(0, 100)] = 8

    def mistakes(self) -> Iterator[Mistake]:
        if not self.netlink and not self.uapi:
            yield Mistake("uapi", "netlink and uapi are both off, so nothing would be read", "turn one on")


@dataclass(frozen=True, slots=True)
class DirectorySettings:
    """The files that give names and expectations to peers.

    `files`: directory files, each a YAML mapping of public keys; see deploy/directory.yml.
    `wg_quick`: shell patterns of wg-quick files whose comments name peers.
    `email_names`: comments that are e-mail addresses become names. Addresses in friendly tags always do.
    `reload_every`: seconds between two checks for changed files.
    """

    files: tuple[Path, ...] = ()
    wg_quick: Annotated[tuple[str, ...], Read(_patterns)] = ("/etc/wireguard/*.conf",)
    email_names: bool = False
    reload_every: Annotated[float, Seconds(0.1, DAY_SECONDS)] = 5.0

    def mistakes(self) -> Iterator[Mistake]:
        yield from _twice("files", "file", self.files)


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Limits of the server.

    `request_timeout`: seconds that a request may take.
    `max_concurrent`: requests served at a time; the server refuses more.
    """

    request_timeout: Annotated[float, Seconds(0.1, 3600)] = 30.0
    max_concurrent: Annotated[int, Between(1, 10_000)] = 16


@dataclass(frozen=True, slots=True)
class RecordingSettings:
    """The recording of snapshots in PostgreSQL.

    `enabled`: write snapshots to a database.
    `interval`: seconds between two snapshots; well below the ten minutes of silence after which another
    installation may write under the gateway's name.
    `clearance`: minimum clearance needed to read the records of this gateway, its interfaces and its peers.
    `lifetime_counters`: metrics of each peer's bytes across counter resets, from the database.
    `spool_megabytes`: space on this host for snapshots while the database is unreachable.
    `keep_raw`: seconds until a day is compacted to one row per peer.
    `keep_history`: seconds until a day is dropped.
    """

    enabled: bool = True
    interval: Annotated[float, Seconds(1, 300)] = 30.0
    clearance: Annotated[int, Between(0, 32767)] = 0
    lifetime_counters: bool = False
    spool_megabytes: Annotated[int, Between(16, 1_000_000)] = 1024
    keep_raw: Annotated[float, Seconds(DAY_SECONDS)] = 7 * DAY_SECONDS
    keep_history: Annotated[float, Seconds(DAY_SECONDS)] = 400 * DAY_SECONDS

    def mistakes(self) -> Iterator[Mistake]:
        if self.keep_history < self.keep_raw:
            problem = "is shorter than keep_raw, so days would be dropped before they are compacted"
            yield Mistake("keep_history", problem, "lengthen it, or shorten keep_raw")


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """The database that snapshots are written to. Keys that are left out come from libpq's environment
    (PGHOST, PGUSER …).

    `address`: `host`, `host:port`, `[::1]:port`, or the directory of a Unix socket. Empty, and no PGHOST in
    the environment: a private PostgreSQL under `state_directory`.
    `name`: the name of the database.
    `user`: the role that logs in.
    `password_file`: a file that holds nothing but the password.
    `tls`: libpq's `sslmode`; empty = `verify-full`, and `prefer` on loopback.
    `ca_file`: the certificates of the authorities that the server's certificate may be signed by.
    `certificate_file`, `key_file`: the client certificate of the daemon and its key.
    """

    address: str = ""
    name: str = ""
    user: str = ""
    password_file: Path | None = None
    tls: TlsMode | Literal[""] = ""
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None

    def mistakes(self) -> Iterator[Mistake]:
        if bool(self.certificate_file) != bool(self.key_file):
            missing = "key_file" if self.certificate_file else "certificate_file"
            yield Mistake(missing, "certificate_file and key_file go together", "write both or neither")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The daemon's log, on standard error.

    `level`: the lowest severity that is written: `debug`, `info`, `warning` or `error`.
    `format`: `text` to be read by people, `json` by log collectors.
    """

    level: LogLevel = "info"
    format: LogFormat = "text"


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration.

    `gateway`: the name of this gateway; the host name by default.
    `organisation`: the organisation that the gateway belongs to.
    `listen`: the addresses of the server: `host:port` or `[::1]:port`, one or a list.
    `web_config`: a web configuration file (TLS and authentication, in exporter-toolkit's format).
    `allow_unauthenticated`: listen beyond loopback even without `web_config`.
    `state_directory`: the directory of files that the daemon keeps over a restart: the spool, and the data
    of the private PostgreSQL if there is one.
    `metrics`, `interfaces`, `sources`, `directory`, `recording`, `database`, `limits`, `log`: see their
    classes.
    `namespaces`: further network namespaces to read: a list of names, or `all`. For `all`,
    `all_namespaces` is true and the tuple empty.
    """

    gateway: Annotated[str, Read(_gateway)] = field(default_factory=socket.gethostname)
    organisation: str = ""
    listen: Annotated[tuple[ListenAddress, ...], Read(_listen)] = (ListenAddress("127.0.0.1", 9586),)
    web_config: Path | None = None
    allow_unauthenticated: bool = False
    metrics: MetricsSettings = MetricsSettings()
    interfaces: InterfaceSettings = InterfaceSettings()
    namespaces: Annotated[tuple[str, ...], Read(_namespaces)] = ()
    all_namespaces: Annotated[bool, Read(_all_namespaces, key="namespaces")] = False
    sources: SourceSettings = SourceSettings()
    directory: DirectorySettings = DirectorySettings()
    state_directory: Path = Path("/var/lib/argus-wireguard")
    recording: RecordingSettings = RecordingSettings()
    database: DatabaseSettings = DatabaseSettings()
    limits: LimitSettings = LimitSettings()
    log: LogSettings = LogSettings()

    def mistakes(self) -> Iterator[Mistake]:
        yield from _twice("listen", "address", self.listen)
        yield from _twice("namespaces", "name", self.namespaces)
        exposed = [address for address in self.listen if not address.loopback]
        if exposed and not self.web_config and not self.allow_unauthenticated:
            yield Mistake(
                "listen",
                f"{exposed[0]} can be reached from other hosts without a password",
                "set web_config to a file with authentication, or listen on 127.0.0.1, or set "
                "allow_unauthenticated: true",
            )


def load(path: Path | None) -> Config:
    """The configuration in a file, or the defaults without one. Raises `InputError` at the first mistake."""
    return yamlrecord.record(yamlfile.load(path), Config) if path else Config()


def keys() -> list[str]:
    """Every key that the file may have, dotted: `gateway`, `listen`, `metrics.schema` …"""
    return yamlrecord.keys(Config)


def _gateway(section: Section, key: str, default: str) -> str:
    name = section.string(key, default)
    if not name.strip():
        raise section.error(key, "is empty", "write a name, or leave the key out")
    return name


def _listen(section: Section, key: str, default: tuple[ListenAddress, ...]) -> tuple[ListenAddress, ...]:
    try:
        addresses = tuple(map(ListenAddress.parse, section.strings(key)))
    except ValueError as error:
        raise section.error(key, str(error)) from None
    if key in section and not addresses:
        raise section.error(key, "is empty", 'write "127.0.0.1:9586", or leave the key out')
    return addresses or default


def _namespaces(section: Section, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    names = section.strings(key, default)
    for name in names:
        if not name or "/" in name or name in (".", ".."):
            raise section.error(key, "must be `all`, or names as `ip netns list` shows them")
    if "all" in names and len(names) > 1:
        raise section.error(key, "`all` includes the others", "write `namespaces: all`")
    return () if names == ("all",) else names


def _all_namespaces(section: Section, key: str, default: bool) -> bool:
    return section.strings(key) == ("all",) if key in section else default


def _patterns(section: Section, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """Patterns of files; a relative one starts at the directory of the file."""
    return tuple(str(section.base / pattern) for pattern in section.strings(key, default))


def _twice(key: str, noun: str, values: Sequence[Hashable]) -> Iterator[Mistake]:
    if len(set(values)) < len(values):
        yield Mistake(key, f"the same {noun} is listed twice", "remove one of the two")
