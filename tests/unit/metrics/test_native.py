"""Native pages, compared with those of prometheus-client and with those of an exporter that keeps nothing."""

from __future__ import annotations

import gc
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from prometheus_client import CollectorRegistry
from prometheus_client import exposition as prometheus_text
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics_text
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus
from prometheus_client.registry import Collector

from exporter.directory.entry import Directory
from exporter.expectation import expected_of, window_of
from exporter.liveness import State, judge
from exporter.metrics.declarations.interfaces import INTERFACE_FAMILIES, LINK_FAMILIES
from exporter.metrics.declarations.peers import PEER_FAMILIES
from exporter.metrics.gathering import blocks
from exporter.metrics.gathering import exporter as own
from exporter.metrics.rendering.blocks import BlockText
from exporter.metrics.rendering.deflate import Joined
from exporter.model import Device, Peer, Reading, Snapshot
from tests.kit import golden
from tests.kit.gateways import (
    COUNTERS,
    DIRECTORIES,
    DIRECTORY,
    HANDSHAKES,
    MOST,
    NOW,
    PEERS,
    SNAPSHOTS,
    Exporter,
    everything,
    key,
    unzip,
    with_peers,
)

FORMATS = pytest.mark.parametrize("openmetrics", [False, True], ids=["prometheus", "openmetrics"])
READERS: dict[bool, Callable[[str], Iterable[Metric]]] = {False: read_prometheus, True: read_openmetrics}
Read = list[tuple[str, str, str, list[tuple[str, dict[str, str], float]]]]


def read(page: bytes, *, openmetrics: bool) -> Read:
    """What prometheus-client's parser reads from a page: names, types, helps, labels, values, in order."""
    return [
        (
            family.name,
            family.type,
            family.documentation,
            [(sample.name, sample.labels, float(sample.value)) for sample in family.samples],
        )
        for family in READERS[openmetrics](page.decode())
    ]


class Reference(Collector):
    """The families of a first snapshot, made of prometheus-client's classes, one peer after the other."""

    def __init__(self, snapshot: Snapshot, directory: Directory) -> None:
        self.snapshot = snapshot
        self.directory = directory
        self.rows = [
            (device, *row)
            for device in snapshot.devices
            for row in zip(
                device.peers, device.last_handshake, device.receive_bytes, device.transmit_bytes, strict=True
            )
        ]

    def collect(self) -> Iterator[Metric]:
        """The families that have samples."""
        return (family for family in (*self.interfaces(), *self.peers()) if family.samples)

    def interfaces(self) -> Iterator[Metric]:
        helps = {family.name: family.help for family in INTERFACE_FAMILIES}
        info = InfoMetricFamily("wireguard_interface", helps["wireguard_interface_info"])
        up, port, peers = (
            GaugeMetricFamily(f"wireguard_interface_{name}", helps[f"wireguard_interface_{name}"])
            for name in ("up", "listen_port", "peers")
        )
        links = [CounterMetricFamily(family.name, family.help) for family in LINK_FAMILIES.values()]
        for device in self.snapshot.devices:
            names = {"interface": device.label}
            about = {
                "public_key": device.public_key,
                "gateway": self.snapshot.gateway,
                "organisation": "example",
                "kind": device.kind,
            }
            info.add_sample("wireguard_interface_info", names | about, 1)
            port.add_sample(port.name, names, device.listen_port)
            found = [state for at, *_, state in self.states() if at is device]
            for state in State:
                if state is not State.UNOBSERVED:
                    peers.add_sample(peers.name, names | {"state": state.value}, found.count(state))
            if device.link:
                up.add_sample(up.name, names, device.link.up)
                for family in links:
                    field = family.name.removeprefix("wireguard_interface_")
                    family.add_sample(f"{family.name}_total", names, getattr(device.link, field))
        return iter((info, up, port, peers, *links))

    def states(self) -> Iterator[tuple[Device, State]]:
        for device, peer, handshake, _, _ in self.rows:
            entry = self.directory.get(peer.public_key)
            window, word = window_of(peer, entry), expected_of(peer, entry)
            yield device, judge(handshake, self.snapshot.taken_at, window, word, unanswered=False)

    def peers(self) -> Iterator[Metric]:
        made = {family.name: metric(family.name, family.kind, family.help) for family in PEER_FAMILIES}
        for device, peer, handshake, received, sent in self.rows:
            entry = self.directory.get(peer.public_key)
            names = {"interface": device.label, "public_key": peer.public_key}
            about = {
                "peer": (entry.name if entry else "") or peer.public_key,
                "site": entry.site if entry else "",
                "role": entry.role if entry else "",
                "expected": expected_of(peer, entry),
                "criticality": entry.criticality if entry else "normal",
                "owner": entry.owner if entry else "",
            }
            values = {
                "receive_bytes_total": received,
                "transmit_bytes_total": sent,
                "last_handshake_timestamp_seconds": handshake,
                "stale_after_seconds": window_of(peer, entry),
                "persistent_keepalive_seconds": peer.persistent_keepalive,
                "allowed_ips": len(peer.allowed_ips),
                "handshakes_total": 0,
                "endpoint_changes_total": 0,
            }
            if handshake:
                values["handshake_age_seconds"] = max(int(self.snapshot.taken_at) - handshake, 0)
            made["wireguard_peer_info"].add_sample("wireguard_peer_info", names | about, 1)
            for name, value in values.items():
                made[f"wireguard_peer_{name}"].add_sample(f"wireguard_peer_{name}", names, value)
        return iter(made.values())


def metric(name: str, kind: str, text: str) -> Metric:
    if kind == "info":
        return InfoMetricFamily(name.removesuffix("_info"), text)
    return CounterMetricFamily(name, text) if kind == "counter" else GaugeMetricFamily(name, text)


@FORMATS
@settings(max_examples=60)
@given(snapshot=SNAPSHOTS, directory=DIRECTORIES)
def test_page_is_prometheus_clients(openmetrics: bool, snapshot: Snapshot, directory: Directory) -> None:
    """A page has the families and samples of prometheus-client's page of the same snapshot, in its order."""
    registry = CollectorRegistry()
    registry.register(Reference(snapshot, directory))
    render = openmetrics_text if openmetrics else prometheus_text
    exporter = Exporter()
    exporter.update(snapshot)
    page = b"".join(exporter.pieces(snapshot, directory, openmetrics=openmetrics))
    expected = read(render.generate_latest(registry), openmetrics=openmetrics)
    assert read(page, openmetrics=openmetrics) == expected


@pytest.mark.parametrize("compressed", [False, True])
def test_integers_are_written_in_full(compressed: bool) -> None:
    """A counter of 2^64 - 1 has all of its twenty digits on the page."""
    snapshot = Snapshot(
        "gw", NOW, (with_peers(Device("wg0", "kernel"), [(Peer(key(1)), 1, MOST, MOST - 1)]),)
    )
    exporter = Exporter()
    exporter.update(snapshot)
    pieces = exporter.pieces(snapshot, DIRECTORY, compressed=compressed)
    page = (unzip(pieces) if compressed else b"".join(pieces)).decode()
    names = f'{{interface="wg0",public_key="{key(1)}"}}'
    assert f"wireguard_peer_receive_bytes_total{names} 18446744073709551615\n" in page
    assert f"wireguard_peer_transmit_bytes_total{names} 18446744073709551614\n" in page


def test_unchanged_pieces_are_not_compressed_again() -> None:
    """When only traffic has changed, the pieces of all other families are the same objects as before."""
    peers = [Peer(key(number)) for number in range(2 * blocks.SIZE)]
    exporter = Exporter()
    pages: list[list[bytes]] = []
    for received in (1, 2):
        rows = [(peer, 0, received, 0) for peer in peers]
        snapshot = Snapshot("gw", NOW, (with_peers(Device("wg0", "kernel"), rows),))
        exporter.update(snapshot)
        pages.append(exporter.pieces(snapshot, DIRECTORY, compressed=True))
    same = {*map(id, pages[0])} & {*map(id, pages[1])}
    steady = (
        len(PEER_FAMILIES) - 2
    )  # without the received bytes, and without the age, as there is no handshake
    assert len(same) >= 2 * steady


def test_a_removed_interface_leaves_nothing_behind() -> None:
    """The text of a removed interface is freed, so interfaces that come and go do not fill the memory."""

    def kept() -> int:
        gc.collect()
        return sum(isinstance(thing, (blocks.KeptBlock, BlockText, Joined)) for thing in gc.get_objects())

    exporter = Exporter()
    counts = []
    for label in ("", "wg0", "wg1", ""):
        rows = [(Peer(key(1)), 0, 0, 0)]
        devices = (with_peers(Device(label, "kernel"), rows),) if label else ()
        snapshot = Snapshot("gw", NOW, devices)
        exporter.update(snapshot)
        exporter.pieces(snapshot, DIRECTORY, compressed=True)
        counts.append(kept())
    nothing, one, another, nothing_again = counts
    assert nothing < one
    assert (one, nothing) == (another, nothing_again)


NUMBERS = st.integers(0, 30)
LABELS = ("wg0", "blue/wg0", "tun%d")


class Scraping(RuleBasedStateMachine):
    """A gateway that changes between scrapes. Its pages must be equal to those of a new exporter."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(blocks, "SIZE", 4)  # so that few peers have many blocks
        self.exporter = Exporter()
        self.devices: dict[str, Device] = {}
        self.failing: set[str] = set()
        self.now = NOW
        self.directory = Directory()
        self.generation = 1

    def teardown(self) -> None:
        self.patch.undo()

    @initialize(many=st.sets(NUMBERS, min_size=8))
    def start(self, many: set[int]) -> None:
        rows = [(Peer(key(number)), 0, 0, 0) for number in many]
        self.devices["wg0"] = with_peers(Device("wg0", "kernel"), rows)
        self.devices["blue/wg0"] = Device("wg0", "kernel", "blue")

    def rows(self, label: str) -> list[tuple[Peer, int, int, int]]:
        device = self.devices.get(label, Device(label, "userspace"))
        columns = device.peers, device.last_handshake, device.receive_bytes, device.transmit_bytes
        return list(zip(*columns, strict=True))

    def put(self, label: str, rows: Iterable[tuple[Peer, int, int, int]]) -> None:
        self.devices[label] = with_peers(self.devices.get(label, Device(label, "userspace")), rows)

    @rule(label=st.sampled_from(LABELS), peer=PEERS, at=NUMBERS)
    def add_or_reconfigure(self, label: str, peer: Peer, at: int) -> None:
        rows = self.rows(label)
        place = next((i for i, row in enumerate(rows) if row[0].public_key == peer.public_key), None)
        if place is None:
            rows.insert(at, (peer, 0, 0, 0))
        else:
            rows[place] = (peer, *rows[place][1:])
        self.put(label, rows)

    @rule(label=st.sampled_from(LABELS), gone=st.sets(NUMBERS, max_size=20))
    def remove(self, label: str, gone: set[int]) -> None:
        keys = {key(number) for number in gone}
        self.put(label, [row for row in self.rows(label) if row[0].public_key not in keys])

    @rule(label=st.sampled_from(LABELS), data=st.data())
    def reorder(self, label: str, data: st.DataObject) -> None:
        self.put(label, data.draw(st.permutations(self.rows(label))))

    @rule(
        label=st.sampled_from(LABELS),
        places=st.dictionaries(NUMBERS, st.tuples(HANDSHAKES, COUNTERS, COUNTERS)),
        passed=st.integers(0, 400),
    )
    def traffic(self, label: str, places: dict[int, tuple[int, int, int]], passed: int) -> None:
        self.now += passed
        rows = self.rows(label)
        self.put(label, [(row[0], *places.get(at, row[1:])) for at, row in enumerate(rows)])

    @rule(label=st.sampled_from(LABELS))
    def remove_interface(self, label: str) -> None:
        self.devices.pop(label, None)

    @rule(label=st.sampled_from(LABELS))
    def fail_or_recover(self, label: str) -> None:
        self.failing ^= {label}

    @rule(directory=DIRECTORIES)
    def reload(self, directory: Directory) -> None:
        self.directory, self.generation = directory, self.generation + 1

    @invariant()
    def pages_are_those_of_a_new_exporter(self) -> None:
        there = [device for label, device in self.devices.items() if label not in self.failing]
        failed = self.failing & self.devices.keys()
        readings = tuple(Reading("netlink", label, 0.1, "timeout") for label in sorted(failed))
        snapshot = Snapshot("gw", self.now, tuple(there), readings)
        self.exporter.update(snapshot)
        for openmetrics in (False, True):
            kept = self.pieces(snapshot, openmetrics=openmetrics)
            zipped = self.pieces(snapshot, openmetrics=openmetrics, compressed=True)
            starting = Exporter()
            starting.observer, starting.health = self.exporter.observer, self.exporter.health
            fresh = starting.pieces(snapshot, self.directory, self.generation, openmetrics=openmetrics)
            assert b"".join(kept) == unzip(zipped) == b"".join(fresh)
        keys = {(device.label, peer.public_key) for device in there for peer in device.peers}
        assert peers_on(b"".join(fresh)) == keys

    def pieces(self, snapshot: Snapshot, **how: object) -> list[bytes]:
        return self.exporter.pieces(snapshot, self.directory, self.generation, **how)  # type: ignore[arg-type]


def peers_on(page: bytes) -> set[tuple[str, str]]:
    """Interface and key of each peer that has a series on a page in OpenMetrics."""
    return {
        (names["interface"], names["public_key"])
        for name, _, _, samples in read(page, openmetrics=True)
        for _, names, _ in samples
        if name.startswith("wireguard_peer")
    }


Scraping.TestCase.settings = settings(max_examples=20, stateful_step_count=15)
TestScraping = Scraping.TestCase


@pytest.fixture
def fixed_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions that do not change with a release."""
    monkeypatch.setattr(own, "__version__", "1.2.3")
    monkeypatch.setattr(platform, "python_version", lambda: "3.11.2")


@FORMATS
@pytest.mark.usefixtures("fixed_build")
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
def test_golden(openmetrics: bool, compressed: bool) -> None:
    """The page of a gateway with every state, every failure and unusual names is the golden file."""
    name = "native-openmetrics.txt" if openmetrics else "native.txt"
    golden.check(name, everything(openmetrics=openmetrics, compressed=compressed))


def test_both_formats_have_the_same_samples() -> None:
    """Both formats have the same samples, with the same values and in the same order."""
    pages = [
        [samples for *_, samples in read(everything(openmetrics=kind, compressed=False), openmetrics=kind)]
        for kind in (False, True)
    ]
    assert pages[0] == pages[1]


def test_promtool_has_no_remark() -> None:
    """Prometheus's linter accepts names, types, units and help texts."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    page = everything(openmetrics=False, compressed=False)
    done = subprocess.run(
        [promtool, "check", "metrics"], input=page, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
