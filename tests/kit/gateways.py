"""Gateways to render: one with every feature, and random ones from hypothesis."""

from __future__ import annotations

import zlib
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from exporter.directory.entry import Directory, Entry, Site
from exporter.errors import ReadError
from exporter.health import Health
from exporter.metrics.declarations.content import NativeContent
from exporter.metrics.declarations.exporter import EXPORTER_FAMILIES
from exporter.metrics.gathering.inputs import Inputs, RecordedTotals, Serving
from exporter.metrics.gathering.native import NativeGatherer
from exporter.metrics.rendering.native import NativeRenderer
from exporter.model import Device, Link, Peer, Reading, Snapshot
from exporter.observe import Observer
from exporter.recording import RecordingState, Work

NOW = 1_700_000_000.25
MOST = 2**64 - 1  # of a counter

Row = tuple[Peer, int, int, int]  # a peer, its last handshake, bytes received and sent


def key(number: int) -> str:
    """A public key, different for each number."""
    return b64encode(number.to_bytes(32, "big")).decode()


def with_peers(device: Device, rows: Iterable[Row]) -> Device:
    """The device with these peers and their counters."""
    columns = tuple(zip(*rows, strict=True)) or ((), (), (), ())
    peers, handshakes, received, sent = columns
    return replace(
        device, peers=peers, last_handshake=handshakes, receive_bytes=received, transmit_bytes=sent
    )


def unzip(pieces: Iterable[bytes]) -> bytes:
    """Decompresses a gzip stream, which must be one member with a correct checksum and size."""
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    text = stream.decompress(b"".join(pieces))
    assert stream.eof
    assert not stream.unused_data
    return text


class Exporter:
    """Makes pages of snapshots, without reading a gateway or serving HTTP."""

    def __init__(self, totals: Mapping[str, RecordedTotals] | None = None) -> None:
        self.observer = Observer()
        self.health = Health()
        self.totals = totals
        self.gatherer = NativeGatherer("example", lifetime=True)
        self.renderer = NativeRenderer()

    def update(self, snapshot: Snapshot) -> None:
        self.observer.update(snapshot)
        self.health.update(snapshot)

    def gather(
        self,
        snapshot: Snapshot,
        directory: Directory,
        generation: int = 1,
        *,
        serving: Serving | None = None,
        recording: RecordingState | None = None,
    ) -> NativeContent:
        """The content of a page, without the process's metrics, and without the exporter's own unless
        `serving` is given."""
        inputs = Inputs(
            snapshot,
            self.observer.devices,
            self.health,
            directory,
            generation,
            serving or Serving(),
            recording,
            self.totals,
        )
        content = self.gatherer.gather(inputs)
        tables = {
            family: samples
            for family, samples in content.tables.items()
            if family.name.startswith("wireguard_") and (serving or family not in EXPORTER_FAMILIES)
        }
        return replace(content, tables=tables)

    def pieces(
        self,
        snapshot: Snapshot,
        directory: Directory,
        generation: int = 1,
        *,
        openmetrics: bool = False,
        compressed: bool = False,
        serving: Serving | None = None,
        recording: RecordingState | None = None,
    ) -> list[bytes]:
        """The page of the same content."""
        content = self.gather(snapshot, directory, generation, serving=serving, recording=recording)
        return self.renderer.render(content, openmetrics=openmetrics, gzip=compressed)


DIRECTORY = Directory(
    {
        key(1): Entry(
            key(1),
            name='Anna "the boss" C:\\temp 100%',
            site="Köln\nSüd ☃",
            role="%s %d %%",
            owner="o'neill@example.org",
            expected="standby",
            criticality="high",
        ),
        key(7): Entry(key(7), name="slow", expected="always-on", criticality="low", stale_after=3600),
    },
    {"Köln\nSüd ☃": Site("Köln\nSüd ☃", 50.9, 7), "Tierra": Site("Tierra", -54.8, -68.3)},
    lists_peers=True,
)

SERVING = Serving(
    directory_entries=2,
    directory_mistakes={"/etc/wireguard/wg1.conf": 1},
    directory_loaded_at=1_699_999_000.1239,
    reload_success={"directory": True, "web_config": False},
    last_scrape_duration=0.0123456789,
    requests={401: 2, 200: 18_446_744_073_709_551_615},
    refusals={"login": 2, "slow-head": 1},
)

RECORDING = RecordingState(
    interval=30.0,
    snapshots=Counter(spooled=100, recorded=97, lost=2),
    gaps=Counter({"spool-full": 1}),
    spooled_at=NOW - 5.25,
    recorded_at=NOW - 95,
    take_duration=0.012_345_678_9,
    write_duration=1.5,
    spool_snapshots=3,
    spool_bytes=65_536,
    spool_quota=1 << 30,
    spool_oldest=NOW - 65.001,
    spool_full=True,
    database="argus@db.example.com:5432/argus",
    database_errors=Counter(unreachable=4),
    failing={"unreachable": "no answer"},
    default_rows=7,
    partitions_until=NOW + 3 * 86400,
    work={"replay": Work(1, 4)},
)

OLD = int(NOW) - 100_000


@dataclass(frozen=True)
class Recorded:
    """What the database holds of an interface: public key → both totals, and when it was first seen."""

    rows: Mapping[str, tuple[int, int, int]]

    def get(self, public_key: str) -> Sequence[int] | None:
        return self.rows.get(public_key)

    def first_seen(self, public_key: str) -> int | None:
        row = self.rows.get(public_key)
        return row and row[2]


TOTALS = {
    "wg0": Recorded({key(1): (2**53 + 1, 5, OLD), key(7): (1, 1, OLD)})
}  # the other peers are not recorded yet

WG0 = Device(
    "wg0",
    "kernel",
    public_key=key(100),
    listen_port=51820,
    link=Link(True, MOST, 2, 3, 4, 5, 6, 7, 8),
)
ODD = Device('u"\\%s', "userspace", public_key=key(101), listen_port=65535, link=Link(up=False))
BLUE = Device("wg0", "kernel", "blue")  # no key, no port, no peers, and a link that could not be read
BUSY = Device("busy0", "kernel", public_key=key(102))


def history() -> tuple[Snapshot, Snapshot]:
    """Two snapshots 30 seconds apart. The second has every state of a peer and every reason of a failure."""
    one, five = Peer(key(1), ("10.0.0.1/32", "fd00::1/128"), "192.0.2.1:1", 25), Peer(key(5))
    others: list[Row] = [
        (Peer(key(2), ("10.0.0.2/32",), has_preshared_key=True), 0, 0, 0),  # never
        (Peer(key(3)), OLD, 2**53 + 1, 999_999),  # idle
        (Peer(key(4), persistent_keepalive=25), OLD, 1_000_000, 1),  # stale
        (Peer(key(6), persistent_keepalive=65535), int(NOW) + 60, MOST, MOST),  # clock-skew
        (Peer(key(7)), int(NOW) - 1000, 1, 1),  # active: the directory gives it an hour
    ]
    before = [(one, int(NOW) - 130, 1, 2), (five, OLD, 10, 10), *others]
    after = [
        (replace(one, endpoint="[2001:db8::1]:2"), int(NOW) - 10, 3, 4),
        (replace(five, allowed_ips=("10.0.0.5/32",)), OLD, 10, 11),
        *others,
    ]
    odd = with_peers(ODD, [(Peer(key(1)), int(NOW) - 180, 0, 148)])
    busy = with_peers(BUSY, [(Peer(key(number)), 0, 0, 0) for number in range(10, 13)])
    good = tuple(
        Reading(source, interface, 0.000_123_4)
        for source, interface in (
            ("netlink", ""),
            ("netlink@blue", ""),
            ("uapi", ""),
            ("netlink", "wg0"),
            ("netlink@blue", "blue/wg0"),
            ("uapi", ODD.label),
        )
    )
    first = Snapshot("gw", NOW - 30, (with_peers(WG0, before), BLUE, odd, busy), good)
    return first, Snapshot("gw", NOW, (with_peers(WG0, after), BLUE, odd), good + failures())


def failures() -> tuple[Reading, ...]:
    """One failed reading for each reason."""
    places = {
        "permission": ("netlink@locked", ""),
        "module": ("netlink@bare", ""),
        "namespace": ("netlink@gone", ""),
        "interrupted": ("netlink", "busy0"),
        "timeout": ("uapi", "slow0"),
        "stale-socket": ("uapi", "dead0"),
    }
    return tuple(
        Reading(*places.get(reason, ("netlink", f"{reason}0")), 5.25, reason, f"it is {reason}", retries)
        for retries, reason in enumerate(sorted(kind.reason for kind in ReadError.__subclasses__()))
    )


def everything(*, openmetrics: bool = False, compressed: bool = False) -> bytes:
    """The page of the gateway with every feature, with the exporter's own families."""
    exporter = Exporter(TOTALS)
    before, now = history()
    exporter.update(before)
    exporter.update(now)
    pieces = exporter.pieces(
        now,
        DIRECTORY,
        openmetrics=openmetrics,
        compressed=compressed,
        serving=SERVING,
        recording=RECORDING,
    )
    return unzip(pieces) if compressed else b"".join(pieces)


HANDSHAKES = st.sampled_from(
    (0, 0, OLD, int(NOW) - 301, int(NOW) - 300, int(NOW) - 5, int(NOW), int(NOW) + 6)
)
COUNTERS = st.sampled_from((0, 1, 148, 2**53 + 1, MOST)) | st.integers(0, MOST)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('%"\\\n{}, #d'), max_size=12)
NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Z", "C"], exclude_characters="/"), min_size=1, max_size=15
)
PEERS = st.builds(
    Peer,
    public_key=st.integers(0, 30).map(key),
    allowed_ips=st.integers(0, 3).map(lambda count: ("10.0.0.0/8",) * count),
    endpoint=st.sampled_from(("", "192.0.2.1:1", "[2001:db8::1]:2")),
    persistent_keepalive=st.sampled_from((0, 25, 61, 65535)),
)
ENTRIES = st.builds(
    Entry,
    public_key=st.integers(0, 30).map(key),
    name=TEXTS,
    site=TEXTS,
    role=TEXTS,
    owner=TEXTS,
    expected=st.sampled_from((None, "always-on", "on-demand", "standby")),
    criticality=st.sampled_from(("low", "normal", "high")),
    stale_after=st.sampled_from((None, 1, 300, 100_000)),
)
DIRECTORIES = st.lists(ENTRIES, max_size=12).map(
    lambda entries: Directory({entry.public_key: entry for entry in entries})
)
ROWS = st.lists(
    st.tuples(PEERS, HANDSHAKES, COUNTERS, COUNTERS), max_size=14, unique_by=lambda row: row[0].public_key
)
LINKS = st.none() | st.builds(Link, st.booleans(), *[COUNTERS] * 8)
DEVICES = st.builds(
    with_peers,
    st.builds(
        Device,
        name=NAMES,
        kind=st.sampled_from(("kernel", "userspace")),
        namespace=st.just("") | NAMES,
        public_key=st.just("") | st.just(key(99)),
        listen_port=st.integers(0, 65535),
        link=LINKS,
    ),
    ROWS,
)
SNAPSHOTS = st.builds(
    Snapshot,
    gateway=TEXTS,
    taken_at=st.floats(NOW - 400, NOW + 400) | st.just(100.0),  # 1970: before the clock was set
    devices=st.lists(DEVICES, max_size=3, unique_by=lambda device: device.label).map(tuple),
)
