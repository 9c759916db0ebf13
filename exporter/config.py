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

from exporter import strictyaml
from exporter.strictyaml import Section

Schema = Literal["native", "mindflavor", "mdlayher"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]

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
class MindFlavor:
    """Options of the compatibility schema `mindflavor`, as its command line has them.

    `handshake_delay`: also export `wireguard_latest_handshake_delay_seconds` (its `-d`).
    `remote_ip`: label peers with `remote_ip` and `remote_port` (its `-r`).
    """

    handshake_delay: bool = False
    remote_ip: bool = False


@dataclass(frozen=True, slots=True)
class Metrics:
    """What `/metrics` looks like.

    `schema`: `native`, or `mindflavor` or `mdlayher` to replace one of these exporters unnoticed.
    `mindflavor`: options of that schema.
    """

    schema: Schema = "native"
    mindflavor: MindFlavor = MindFlavor()


@dataclass(frozen=True, slots=True)
class Interfaces:
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
class Sources:
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
class DirectoryFiles:
    """Where it is written who a public key is.

    `files`: directory files, each a YAML mapping of public keys; see deploy/directory.yml.
    `wg_quick`: shell patterns of wg-quick files whose comments name peers.
    `reload_every`: seconds between looks whether one of these changed.
    """

    files: tuple[Path, ...] = ()
    wg_quick: tuple[str, ...] = ("/etc/wireguard/*.conf",)
    reload_every: float = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client can ask of the server.

    `request_timeout`: seconds that a request may take.
    `max_concurrent`: requests served at a time; more are turned away.
    """

    request_timeout: float = 30.0
    max_concurrent: int = 16


@dataclass(frozen=True, slots=True)
class Log:
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
    `metrics`, `interfaces`, `sources`, `directory`, `limits`, `log`: see these classes.
    `namespaces`: network namespaces to read beside the own one: a list of names, or `all`. For `all`,
    `all_namespaces` is true and the tuple empty.
    """

    gateway: str = field(default_factory=socket.gethostname)
    organisation: str = ""
    listen: tuple[ListenAddress, ...] = (ListenAddress("127.0.0.1", 9586),)
    web_config: Path | None = None
    allow_unauthenticated: bool = False
    metrics: Metrics = Metrics()
    interfaces: Interfaces = Interfaces()
    namespaces: tuple[str, ...] = ()
    all_namespaces: bool = field(default=False, metadata={"key": "namespaces"})
    sources: Sources = Sources()
    directory: DirectoryFiles = DirectoryFiles()
    limits: Limits = Limits()
    log: Log = Log()


def load(path: Path | None) -> Config:
    """The configuration in a file, or the defaults without one. Raises `InputError` at the first mistake."""
    if path is None:
        return Config()
    root = strictyaml.load(path)
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


def _metrics(section: Section) -> Metrics:
    default = Metrics()
    options = section.section("mindflavor")
    metrics = Metrics(
        schema=section.choice("schema", get_args(Schema), default.schema),
        mindflavor=MindFlavor(
            handshake_delay=options.boolean("handshake_delay", default.mindflavor.handshake_delay),
            remote_ip=options.boolean("remote_ip", default.mindflavor.remote_ip),
        ),
    )
    options.finish()
    section.finish()
    return metrics


def _interfaces(section: Section) -> Interfaces:
    interfaces = Interfaces(
        include=section.strings("include", Interfaces().include),
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


def _sources(section: Section) -> Sources:
    default = Sources()
    sources = Sources(
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


def _directory(section: Section, base: Path) -> DirectoryFiles:
    default = DirectoryFiles()
    directory = DirectoryFiles(
        files=tuple(base / name for name in section.strings("files")),
        wg_quick=tuple(str(base / pattern) for pattern in section.strings("wg_quick", default.wg_quick)),
        reload_every=section.seconds("reload_every", default.reload_every, 0.1, 86400),
    )
    section.finish()
    if len(set(directory.files)) < len(directory.files):
        raise section.error("files", "the same file stands there twice")
    return directory


def _limits(section: Section) -> Limits:
    default = Limits()
    limits = Limits(
        request_timeout=section.seconds("request_timeout", default.request_timeout, 0.1, 3600),
        max_concurrent=section.integer("max_concurrent", default.max_concurrent, 1, 10_000),
    )
    section.finish()
    return limits


def _log(section: Section) -> Log:
    default = Log()
    log = Log(
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
