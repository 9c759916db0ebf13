"""The configuration file → frozen dataclasses. Everything has a default: no file is a valid configuration.

The keys of the file are the names of the fields, nested as the classes are; `keys()` lists them.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, get_args

from exporter import yamlfile
from exporter.instants import DAY_SECONDS
from exporter.yamlfile import Section

Schema = Literal["native", "mindflavor", "mdlayher"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]
TlsMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]

_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where the server listens. `host` is a name or an address without brackets; `port` 0 = any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this host can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True, slots=True)
class MindFlavorSettings:
    """Options of the compatibility schema `mindflavor`, as its command line has them.

    `handshake_delay`: also export `wireguard_latest_handshake_delay_seconds` (its `-d`).
    `remote_ip`: label peers with `remote_ip` and `remote_port` (its `-r`).
    """

    handshake_delay: bool = False
    remote_ip: bool = False


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """What `/metrics` looks like.

    `schema`: `native`, or `mindflavor` or `mdlayher` to replace one of these exporters unnoticed.
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
        """Whether the interface with this label is to be read."""
        included = any(fnmatchcase(label, pattern) for pattern in self.include)
        return included and not any(fnmatchcase(label, pattern) for pattern in self.exclude)


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """Where interfaces are looked for.

    `netlink`: read the kernel's interfaces.
    `uapi`: read those of userspace implementations (wireguard-go, boringtun).
    `uapi_directory`: where their sockets lie.
    `timeout`: seconds that reading one interface may take.
    `dump_retries`: how often a dump is repeated when peers changed while it was read.
    """

    netlink: bool = True
    uapi: bool = True
    uapi_directory: Path = Path("/var/run/wireguard")
    timeout: float = 5.0
    dump_retries: int = 8


@dataclass(frozen=True, slots=True)
class DirectorySettings:
    """Where it is written who a public key is.

    `files`: directory files, each a YAML mapping of public keys; see deploy/directory.yml.
    `wg_quick`: shell patterns of wg-quick files whose comments name peers.
    `reload_every`: seconds between looks whether one of these changed.
    """

    files: tuple[Path, ...] = ()
    wg_quick: tuple[str, ...] = ("/etc/wireguard/*.conf",)
    reload_every: float = 5.0


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """What one client can ask of the server.

    `request_timeout`: seconds that a request may take.
    `max_concurrent`: requests served at a time; more are turned away.
    """

    request_timeout: float = 30.0
    max_concurrent: int = 16


@dataclass(frozen=True, slots=True)
class RecordingSettings:
    """What is kept of the readings.

    `enabled`: write snapshots to a database.
    `interval`: seconds between two snapshots; well below the ten minutes after which a name is free.
    `clearance`: what a reader must have to see this gateway, its interfaces and its peers.
    `lifetime_counters`: metrics with each peer's bytes through every restart, from the database.
    `spool_megabytes`: how much this host keeps while the database is away.
    `keep_raw`: seconds until a day is compacted to one row per peer.
    `keep_history`: seconds until a day is dropped.
    """

    enabled: bool = True
    interval: float = 30.0
    clearance: int = 0
    lifetime_counters: bool = False
    spool_megabytes: int = 1024
    keep_raw: float = 7 * DAY_SECONDS
    keep_history: float = 400 * DAY_SECONDS


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """Where snapshots go. What is not written comes from libpq's environment (PGHOST, PGUSER …).

    `address`: `host`, `host:port`, `[::1]:port`, or the directory of a Unix socket; empty, with no PGHOST
    either: a private PostgreSQL under `state_directory`.
    `name`: of the database.
    `user`: who logs in.
    `password_file`: a file that holds nothing but the password.
    `tls`: libpq's `sslmode`; empty = `verify-full`, and `prefer` on loopback.
    `ca_file`: certificates that may have signed the server's.
    `certificate_file`, `key_file`: the daemon's own.
    """

    address: str = ""
    name: str = ""
    user: str = ""
    password_file: Path | None = None
    tls: TlsMode | Literal[""] = ""
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The daemon's log, on standard error.

    `level`: the least severity that is written: `debug`, `info`, `warning` or `error`.
    `format`: `text` for people, `json` for log collectors.
    """

    level: LogLevel = "info"
    format: LogFormat = "text"


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration.

    `gateway`: the name of this gateway; its host name unless written.
    `organisation`: to whom the gateway belongs.
    `listen`: where the server listens: `host:port` or `[::1]:port`, one or a list.
    `web_config`: a web configuration file (TLS and authentication, in exporter-toolkit's format).
    `allow_unauthenticated`: listen beyond loopback even without `web_config`.
    `state_directory`: what outlives the daemon: the spool, and the private PostgreSQL if there is one.
    `metrics`, `interfaces`, `sources`, `directory`, `recording`, `database`, `limits`, `log`: see their
    classes.
    `namespaces`: network namespaces to read beside the own one: a list of names, or `all`. For `all`,
    `all_namespaces` is true and the tuple empty.
    """

    gateway: str = field(default_factory=socket.gethostname)
    organisation: str = ""
    listen: tuple[ListenAddress, ...] = (ListenAddress("127.0.0.1", 9586),)
    web_config: Path | None = None
    allow_unauthenticated: bool = False
    metrics: MetricsSettings = MetricsSettings()
    interfaces: InterfaceSettings = InterfaceSettings()
    namespaces: tuple[str, ...] = ()
    all_namespaces: bool = field(default=False, metadata={"key": "namespaces"})
    sources: SourceSettings = SourceSettings()
    directory: DirectorySettings = DirectorySettings()
    state_directory: Path = Path("/var/lib/argus-wireguard")
    recording: RecordingSettings = RecordingSettings()
    database: DatabaseSettings = DatabaseSettings()
    limits: LimitSettings = LimitSettings()
    log: LogSettings = LogSettings()


def load(path: Path | None) -> Config:
    """The configuration in a file, or the defaults without one. Raises `InputError` at the first mistake."""
    if path is None:
        return Config()
    root = yamlfile.load(path)
    defaults = Config()
    namespaces = _namespaces(root)
    config = Config(
        gateway=_not_empty(root, "gateway", defaults.gateway),
        organisation=root.string("organisation", defaults.organisation),
        listen=_listen(root, defaults.listen),
        web_config=root.path("web_config", defaults.web_config),
        allow_unauthenticated=root.boolean("allow_unauthenticated", defaults.allow_unauthenticated),
        metrics=_metrics(root.section("metrics")),
        interfaces=_interfaces(root.section("interfaces")),
        namespaces=() if namespaces == ("all",) else namespaces,
        all_namespaces=namespaces == ("all",),
        sources=_sources(root.section("sources")),
        directory=_directory(root.section("directory"), path.parent),
        state_directory=root.path("state_directory", defaults.state_directory),
        recording=_recording(root.section("recording")),
        database=_database(root.section("database")),
        limits=_limits(root.section("limits")),
        log=_log(root.section("log")),
    )
    root.finish()
    _refuse_unprotected(root, config)
    return config


def keys() -> list[str]:
    """Every key that the file may have, dotted: `gateway`, `listen`, `metrics.schema` …"""
    return list(dict.fromkeys(_keys(Config())))


def _keys(record: Any) -> Iterator[str]:
    for item in dataclasses.fields(record):
        value = getattr(record, item.name)
        key = item.metadata.get("key", item.name)
        if dataclasses.is_dataclass(value):
            yield from (f"{key}.{nested}" for nested in _keys(value))
        else:
            yield key


def _refuse_unprotected(root: Section, config: Config) -> None:
    if config.web_config or config.allow_unauthenticated:
        return
    for address in config.listen:
        if not address.loopback:
            raise root.error(
                "listen",
                f"{address} can be reached from other hosts without a password; set web_config to a file "
                "with authentication, or listen on 127.0.0.1, or set allow_unauthenticated: true",
            )


def _listen(root: Section, default: tuple[ListenAddress, ...]) -> tuple[ListenAddress, ...]:
    written = root.strings("listen")
    addresses = tuple(_listen_address(root, text) for text in written)
    if "listen" in root and not addresses:
        raise root.error("listen", 'is empty; write "127.0.0.1:9586", or leave the key out')
    if len(set(addresses)) < len(addresses):
        raise root.error("listen", "the same address stands there twice")
    return addresses or default


def _listen_address(root: Section, text: str) -> ListenAddress:
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if text.startswith(":") and not host:
        raise root.error("listen", f'for every address of this host list "0.0.0.0{text}" and "[::]{text}"')
    if not _is_host(host[1:-1] if bracketed else host, bracketed=bracketed):
        raise root.error("listen", 'must be host:port, such as "127.0.0.1:9586" or "[::1]:9586"')
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise root.error("listen", "must end in a port from 0 to 65535")
    return ListenAddress(host[1:-1] if bracketed else host, int(port))


def _is_host(host: str, *, bracketed: bool) -> bool:
    """An IPv6 address in brackets; without them an IPv4 address, or a name (whose end is no number)."""
    try:
        return (ipaddress.ip_address(host).version == 6) == bracketed
    except ValueError:
        last = host.rpartition(".")[2]
        return not bracketed and not last.isdigit() and _HOST_NAME.fullmatch(host) is not None


def _metrics(section: Section) -> MetricsSettings:
    default = MetricsSettings()
    options = section.section("mindflavor")
    metrics = MetricsSettings(
        schema=section.choice("schema", get_args(Schema), default.schema),
        mindflavor=MindFlavorSettings(
            handshake_delay=options.boolean("handshake_delay", default.mindflavor.handshake_delay),
            remote_ip=options.boolean("remote_ip", default.mindflavor.remote_ip),
        ),
    )
    options.finish()
    section.finish()
    return metrics


def _interfaces(section: Section) -> InterfaceSettings:
    interfaces = InterfaceSettings(
        include=section.strings("include", InterfaceSettings().include),
        exclude=section.strings("exclude"),
    )
    section.finish()
    if not interfaces.include:
        raise section.error("include", 'is empty, so nothing would be read; write "*" for every interface')
    return interfaces


def _namespaces(root: Section) -> tuple[str, ...]:
    names = root.strings("namespaces")
    for name in names:
        if not name or "/" in name or name in (".", ".."):
            raise root.error("namespaces", "must be `all`, or names as `ip netns list` shows them")
    if "all" in names and len(names) > 1:
        raise root.error("namespaces", "`all` includes the others; write `namespaces: all`")
    if len(set(names)) < len(names):
        raise root.error("namespaces", "the same name stands there twice")
    return names


def _sources(section: Section) -> SourceSettings:
    default = SourceSettings()
    sources = SourceSettings(
        netlink=section.boolean("netlink", default.netlink),
        uapi=section.boolean("uapi", default.uapi),
        uapi_directory=section.path("uapi_directory", default.uapi_directory),
        timeout=section.seconds("timeout", default.timeout, 0.1, 300),
        dump_retries=section.integer("dump_retries", default.dump_retries, 0, 100),
    )
    section.finish()
    if not sources.netlink and not sources.uapi:
        raise section.error("uapi", "netlink and uapi are both off, so nothing would be read; turn one on")
    return sources


def _directory(section: Section, base: Path) -> DirectorySettings:
    default = DirectorySettings()
    directory = DirectorySettings(
        files=tuple(base / name for name in section.strings("files")),
        wg_quick=tuple(str(base / pattern) for pattern in section.strings("wg_quick", default.wg_quick)),
        reload_every=section.seconds("reload_every", default.reload_every, 0.1, DAY_SECONDS),
    )
    section.finish()
    if len(set(directory.files)) < len(directory.files):
        raise section.error("files", "the same file stands there twice")
    return directory


def _limits(section: Section) -> LimitSettings:
    default = LimitSettings()
    limits = LimitSettings(
        request_timeout=section.seconds("request_timeout", default.request_timeout, 0.1, 3600),
        max_concurrent=section.integer("max_concurrent", default.max_concurrent, 1, 10_000),
    )
    section.finish()
    return limits


def _recording(section: Section) -> RecordingSettings:
    default = RecordingSettings()
    recording = RecordingSettings(
        enabled=section.boolean("enabled", default.enabled),
        interval=section.seconds("interval", default.interval, 1, 300),
        clearance=section.integer("clearance", default.clearance, 0, 32767),
        lifetime_counters=section.boolean("lifetime_counters", default.lifetime_counters),
        spool_megabytes=section.integer("spool_megabytes", default.spool_megabytes, 16, 1_000_000),
        keep_raw=section.seconds("keep_raw", default.keep_raw, DAY_SECONDS),
        keep_history=section.seconds("keep_history", default.keep_history, DAY_SECONDS),
    )
    section.finish()
    if recording.keep_history < recording.keep_raw:
        raise section.error(
            "keep_history", "is shorter than keep_raw; days are compacted first, then dropped"
        )
    return recording


def _database(section: Section) -> DatabaseSettings:
    default = DatabaseSettings()
    database = DatabaseSettings(
        address=section.string("address", default.address),
        name=section.string("name", default.name),
        user=section.string("user", default.user),
        password_file=section.path("password_file", default.password_file),
        tls=section.choice("tls", get_args(TlsMode), default.tls),
        ca_file=section.path("ca_file", default.ca_file),
        certificate_file=section.path("certificate_file", default.certificate_file),
        key_file=section.path("key_file", default.key_file),
    )
    section.finish()
    if bool(database.certificate_file) != bool(database.key_file):
        missing = "key_file" if database.certificate_file else "certificate_file"
        raise section.error(missing, "certificate_file and key_file go together; write both or neither")
    return database


def _log(section: Section) -> LogSettings:
    default = LogSettings()
    log = LogSettings(
        level=section.choice("level", get_args(LogLevel), default.level),
        format=section.choice("format", get_args(LogFormat), default.format),
    )
    section.finish()
    return log


def _not_empty(section: Section, key: str, default: str) -> str:
    text = section.string(key, default)
    if not text.strip():
        raise section.error(key, "is empty; write a name, or leave the key out")
    return text
