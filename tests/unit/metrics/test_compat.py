"""The schemas of other exporters, compared with the originals' pages and read by Prometheus's own parsers."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from exporter.directory.entry import Directory, Entry
from exporter.health import Health
from exporter.metrics.declarations.mdlayher import MDLAYHER_FAMILIES
from exporter.metrics.declarations.mindflavor import MINDFLAVOR_FAMILIES
from exporter.metrics.gathering.inputs import Inputs, Serving
from exporter.metrics.gathering.mdlayher import gather_mdlayher
from exporter.metrics.gathering.mindflavor import gather_mindflavor
from exporter.metrics.rendering.lines import LINES_PER_CHUNK
from exporter.metrics.rendering.mdlayher import MDLAYHER_CONTENT_TYPE, render_mdlayher
from exporter.metrics.rendering.mindflavor import MINDFLAVOR_CONTENT_TYPE, render_mindflavor
from exporter.model import Device, Peer, Snapshot
from tests.kit.golden import check

NOW = 1_700_000_000.75
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def key(number: int) -> str:
    """A string with the form of a public key, different for each number below 64."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return alphabet[number] * 42 + "A="


def gateway() -> Snapshot:
    """Three interfaces with peers of every unusual kind; peers and interfaces are not sorted."""
    wg0 = Device(
        name="wg0",
        kind="kernel",
        public_key=key(60),
        peers=(
            Peer(key(9), ("10.0.0.9/32", "fd00::9/128"), "192.0.2.9:51820"),
            Peer(key(2), (), "[fe80::1%eth0]:7"),  # no allowed IPs, a link-local endpoint
            Peer(key(3), ("10.0.0.3/32",)),  # never connected
            Peer(key(4), ("0.0.0.0/0", "::/0"), "[2001:db8::4]:51820"),
            Peer(key(5), ("10.0.0.5/32",), "192.0.2.5:1"),
        ),
        last_handshake=(1_699_999_990, 1_699_999_880, 0, 1_700_000_003, 1_699_000_000),
        receive_bytes=(999_999, 1_000_000, 0, 18_446_744_073_709_551_615, 123_456_789),
        transmit_bytes=(1, 9_007_199_254_740_993, 0, 1_024, 20_000_000),
    )
    blue = Device(
        name="wg0",
        namespace="blue",
        kind="userspace",
        peers=(Peer(key(9), ("10.0.0.10/32",), "[fe80::9%veth0]:9"), Peer(key(6), ("10.0.0.1/32",))),
        last_handshake=(1_700_000_000, 0),
        receive_bytes=(5, 6),
        transmit_bytes=(7, 8),
    )
    empty = Device(name="a0", kind="kernel", public_key=key(61))
    return snapshot_of(wg0, blue, empty)


DIRECTORY = {
    key(9): Entry(key(9), name='Anna "the boss" C:\\temp'),
    key(2): Entry(key(2), name="two\nlines"),
    key(3): Entry(key(3), name="Größe ☃"),
    key(4): Entry(key(4), name="gate", extra=(("id", "7"), ("username", "Zoë"))),
    key(5): Entry(key(5), extra=(("note", 'a "quoted" one'),)),
}


def inputs(snapshot: Snapshot, directory: dict[str, Entry]) -> Inputs:
    return Inputs(snapshot, {}, Health(), Directory(directory), 1, Serving())


def mindflavor_pieces(
    snapshot: Snapshot,
    directory: dict[str, Entry] = DIRECTORY,
    *,
    handshake_delay: bool = False,
    remote_ip: bool = False,
) -> list[bytes]:
    """The page without the families that this exporter adds, in pieces."""
    content = gather_mindflavor(
        inputs(snapshot, directory), handshake_delay=handshake_delay, remote_ip=remote_ip
    )
    return render_mindflavor(replace(content, tables={}), gzip=False)


def mindflavor_page(snapshot: Snapshot, directory: dict[str, Entry] = DIRECTORY, **switches: bool) -> bytes:
    return b"".join(mindflavor_pieces(snapshot, directory, **switches))


def mdlayher_pieces(snapshot: Snapshot, directory: dict[str, Entry] = DIRECTORY) -> list[bytes]:
    """The page without the families that this exporter adds, in pieces."""
    content = gather_mdlayher(inputs(snapshot, directory))
    return render_mdlayher(replace(content, tables={}), gzip=False)


def mdlayher_page(snapshot: Snapshot, directory: dict[str, Entry] = DIRECTORY) -> bytes:
    return b"".join(mdlayher_pieces(snapshot, directory))


def on_wg0(*peers: Peer, last_handshake: int = 0, receive_bytes: int = 0, transmit_bytes: int = 0) -> Device:
    """An interface with these peers, all with the same counters."""
    return Device(
        name="wg0",
        kind="kernel",
        public_key=key(60),
        peers=peers,
        last_handshake=(last_handshake,) * len(peers),
        receive_bytes=(receive_bytes,) * len(peers),
        transmit_bytes=(transmit_bytes,) * len(peers),
    )


def snapshot_of(*devices: Device) -> Snapshot:
    return Snapshot(gateway="gw", taken_at=NOW, devices=devices)


PAGES: dict[str, Callable[[Snapshot], bytes]] = {
    "mindflavor.txt": mindflavor_page,
    "mindflavor-all.txt": lambda snapshot: mindflavor_page(snapshot, handshake_delay=True, remote_ip=True),
    "mdlayher.txt": mdlayher_page,
}


def samples(page: bytes) -> Samples:
    """What prometheus-client reads from a page. A repeated series is an error."""
    read: Samples = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            series = (sample.name, tuple(sorted(sample.labels.items())))
            assert series not in read
            read[series] = sample.value
    return read


def by_key(page: bytes, name: str) -> dict[str, tuple[dict[str, str], float]]:
    """The samples of one family by the public key of their peer."""
    found = {}
    for (sample_name, pairs), value in samples(page).items():
        if sample_name == name:
            labels = dict(pairs)
            found[labels["public_key"]] = (labels, value)
    return found


@pytest.mark.parametrize("name", PAGES)
def test_golden(name: str) -> None:
    """A page is equal to its golden file."""
    check(name, PAGES[name](gateway()))


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("snapshot", [gateway(), snapshot_of()], ids=["full", "empty"])
def test_promtool_reads_every_page(name: str, snapshot: Snapshot) -> None:
    """Prometheus's own parser reads each page; remarks on the style of the original names are allowed."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=PAGES[name](snapshot),
        capture_output=True,
        timeout=60,
        check=False,
    )
    # 3 is promtool's exit code for remarks on style alone; an unreadable page is 1.
    assert done.returncode in (0, 3), done.stderr.decode()


def test_mindflavor_prints_what_the_original_prints() -> None:
    """Order of families and labels, blank lines and integers are those of the original's own test
    `test_render_to_prometheus_complex` (src/wireguard.rs), for a name and for friendly_json."""
    first = Peer("first", ("10.0.0.2/32", "fd86:ea04::4/128"), "192.0.2.1:100")
    second = Peer("second", ("10.0.0.4/32", "192.168.0.0/16"), "[2001:db8::2]:100")
    device = Device(
        name="Pippo",
        kind="kernel",
        peers=(first, second),
        last_handshake=(500, 50),
        receive_bytes=(5000, 1_000_000_000),
        transmit_bytes=(1000, 14),
    )
    extra = (("auth_date", "1614869789"), ("first_name", "Coordinator"), ("id", "482217555"))
    directory = {
        "first": Entry("first", name="this is my friendly name"),
        "second": Entry("second", extra=extra),
    }
    page = mindflavor_page(snapshot_of(device), directory, remote_ip=True)
    labels = [
        '{interface="Pippo",public_key="first",allowed_ips="10.0.0.2/32,fd86:ea04::4/128",'
        'friendly_name="this is my friendly name",remote_ip="192.0.2.1",remote_port="100"}',
        '{interface="Pippo",public_key="second",allowed_ips="10.0.0.4/32,192.168.0.0/16",'
        'remote_ip="2001:db8::2",auth_date="1614869789",first_name="Coordinator",id="482217555",'
        'remote_port="100"}',
    ]
    assert page.decode() == (
        "# HELP wireguard_sent_bytes_total Bytes sent to the peer\n"
        "# TYPE wireguard_sent_bytes_total counter\n"
        f"wireguard_sent_bytes_total{labels[0]} 1000\n"
        f"wireguard_sent_bytes_total{labels[1]} 14\n"
        "\n"
        "# HELP wireguard_received_bytes_total Bytes received from the peer\n"
        "# TYPE wireguard_received_bytes_total counter\n"
        f"wireguard_received_bytes_total{labels[0]} 5000\n"
        f"wireguard_received_bytes_total{labels[1]} 1000000000\n"
        "\n"
        "# HELP wireguard_latest_handshake_seconds UNIX timestamp seconds of the last handshake\n"
        "# TYPE wireguard_latest_handshake_seconds gauge\n"
        f"wireguard_latest_handshake_seconds{labels[0]} 500\n"
        f"wireguard_latest_handshake_seconds{labels[1]} 50\n"
    )


def test_mdlayher_prints_what_the_original_prints() -> None:
    """The series are those of the original's own test (collector_test.go): one peer on two devices, on one of
    which it never connected. The large number is from its README."""
    peer = "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM="
    wg0 = replace(
        on_wg0(
            Peer(peer, ("192.168.1.0/24", "2001:db8::/32"), "[fd00::1]:51820"),
            last_handshake=1_588_274_629,
            receive_bytes=76_728,
            transmit_bytes=2,
        ),
        public_key="AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
    )
    wg1 = replace(
        on_wg0(Peer(peer, ("0.0.0.0/0",))),
        name="wg1",
        public_key="AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
    )
    page = mdlayher_page(snapshot_of(wg1, wg0), {peer: Entry(peer, name="foo")}).decode()
    assert [line for line in page.splitlines() if not line.startswith("# ")] == [
        f'wireguard_device_info{{device="wg0",public_key="{wg0.public_key}"}} 1',
        f'wireguard_device_info{{device="wg1",public_key="{wg1.public_key}"}} 1',
        *(
            f'wireguard_peer_allowed_ips_info{{allowed_ips="{network}",device="{device}",'
            f'family="{family}",public_key="{peer}"}} 1'
            for network, device, family in (
                ("0.0.0.0/0", "wg1", "IPv4"),
                ("192.168.1.0/24", "wg0", "IPv4"),
                ("2001:db8::/32", "wg0", "IPv6"),
            )
        ),
        f'wireguard_peer_info{{device="wg0",endpoint="[fd00::1]:51820",name="foo",public_key="{peer}"}} 1',
        f'wireguard_peer_info{{device="wg1",endpoint="",name="foo",public_key="{peer}"}} 1',
        f'wireguard_peer_last_handshake_seconds{{device="wg0",public_key="{peer}"}} 1.588274629e+09',
        f'wireguard_peer_last_handshake_seconds{{device="wg1",public_key="{peer}"}} 0',
        f'wireguard_peer_receive_bytes_total{{device="wg0",public_key="{peer}"}} 76728',
        f'wireguard_peer_receive_bytes_total{{device="wg1",public_key="{peer}"}} 0',
        f'wireguard_peer_transmit_bytes_total{{device="wg0",public_key="{peer}"}} 2',
        f'wireguard_peer_transmit_bytes_total{{device="wg1",public_key="{peer}"}} 0',
    ]


def test_every_counter_is_on_the_page() -> None:
    """A parser reads the numbers of the snapshot, for each peer of each interface."""
    snapshot = gateway()
    columns = {
        "wireguard_sent_bytes_total": "transmit_bytes",
        "wireguard_received_bytes_total": "receive_bytes",
        "wireguard_latest_handshake_seconds": "last_handshake",
        "wireguard_peer_transmit_bytes_total": "transmit_bytes",
        "wireguard_peer_receive_bytes_total": "receive_bytes",
        "wireguard_peer_last_handshake_seconds": "last_handshake",
    }
    read = {
        (name, labels.get("interface") or labels.get("device"), labels["public_key"]): float(value)
        for page in (mindflavor_page(snapshot), mdlayher_page(snapshot))
        for (name, pairs), value in samples(page).items()
        if name in columns
        for labels in (dict(pairs),)
    }
    assert read == {
        (name, device.label, peer.public_key): float(value)
        for name, column in columns.items()
        for device in snapshot.devices
        for peer, value in zip(device.peers, getattr(device, column), strict=True)
    }


def test_mindflavor_has_no_delay_without_a_handshake() -> None:
    """A peer without a handshake has no delay, instead of one of 55 years; its timestamp is 0."""
    page = mindflavor_page(gateway(), handshake_delay=True)
    assert key(3) not in by_key(page, "wireguard_latest_handshake_delay_seconds")
    assert by_key(page, "wireguard_latest_handshake_seconds")[key(3)][1] == 0


def test_mindflavor_delay_counts_whole_seconds_and_never_below_zero() -> None:
    """The delay is rounded down, and 0 for a handshake in the future."""
    delays = by_key(
        mindflavor_page(gateway(), handshake_delay=True), "wireguard_latest_handshake_delay_seconds"
    )
    assert delays[key(2)][1] == 120
    assert delays[key(4)][1] == 0


def test_mindflavor_switches_are_off_by_default() -> None:
    """Without its two switches the page has neither delays nor endpoints."""
    page = mindflavor_page(gateway())
    assert b"delay" not in page
    assert b"remote_" not in page


def test_mindflavor_remote_ip_is_an_address_alone() -> None:
    """`remote_ip` has neither brackets nor zone, the port is another label, and an unknown endpoint has
    neither label."""
    peers = by_key(
        mindflavor_page(snapshot_of(gateway().devices[0]), remote_ip=True), "wireguard_sent_bytes_total"
    )
    assert (peers[key(2)][0]["remote_ip"], peers[key(2)][0]["remote_port"]) == ("fe80::1", "7")
    assert not {"remote_ip", "remote_port"} & peers[key(3)][0].keys()


def test_mindflavor_shows_name_and_json_keys() -> None:
    """A peer with a name and a friendly_json has the labels of both."""
    labels, _ = by_key(mindflavor_page(gateway()), "wireguard_sent_bytes_total")[key(4)]
    assert labels == {
        "interface": "wg0",
        "public_key": key(4),
        "allowed_ips": "0.0.0.0/0,::/0",
        "friendly_name": "gate",
        "id": "7",
        "username": "Zoë",
    }


def test_pages_without_interfaces() -> None:
    """Without interfaces, MindFlavor's page has only headers and mdlayher's is empty, as the originals."""
    nothing = snapshot_of()
    assert mindflavor_page(nothing).count(b"# TYPE") == 3
    assert mdlayher_page(nothing) == b""


def test_mdlayher_shows_the_zone_for_userspace_only() -> None:
    """Endpoints are those of wgctrl-go: without the zone from the kernel, with it from userspace."""
    endpoints = {
        (labels["device"], labels["public_key"]): labels["endpoint"]
        for name, pairs in samples(mdlayher_page(gateway()))
        if name == "wireguard_peer_info"
        for labels in (dict(pairs),)
    }
    assert endpoints["wg0", key(2)] == "[fe80::1]:7"
    assert endpoints["blue/wg0", key(9)] == "[fe80::9%veth0]:9"


def test_mdlayher_device_without_a_key_has_one_of_zeros() -> None:
    """The public key of a device without a private key is the base64 of 32 zero bytes, as in the original."""
    labels, _ = by_key(mdlayher_page(gateway()), "wireguard_device_info")["A" * 43 + "="]
    assert labels["device"] == "blue/wg0"


@given(st.lists(st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"])), max_size=4, unique=True))
def test_mdlayher_series_are_sorted_by_label_values(names: list[str]) -> None:
    """Peers of one device without endpoints are sorted by name, whatever characters the names have."""
    directory = {key(number): Entry(key(number), name=name) for number, name in enumerate(names)}
    page = mdlayher_page(snapshot_of(on_wg0(*map(Peer, directory))), directory)
    shown = [dict(pairs)["name"] for name, pairs in samples(page) if name == "wireguard_peer_info"]
    assert shown == sorted(names)


@given(name=st.text(), value=st.text())
def test_a_parser_reads_any_name(name: str, value: str) -> None:
    """A parser reads any name as it was written, from both pages. Half a surrogate pair, which is not text,
    becomes a question mark."""
    expected = [text.encode("utf-8", "replace").decode() for text in (name, value)]
    snapshot = snapshot_of(on_wg0(Peer(key(1)), Peer(key(2))))
    directory = {key(1): Entry(key(1), name=name), key(2): Entry(key(2), extra=(("note", value),))}
    page = mdlayher_page(snapshot, directory)
    assert by_key(page, "wireguard_peer_info")[key(1)][0]["name"] == expected[0]
    page = mindflavor_page(snapshot, directory)
    peers = by_key(page, "wireguard_sent_bytes_total")
    assert peers[key(1)][0].get("friendly_name", "") == expected[0]
    assert peers[key(2)][0]["note"] == expected[1]


def test_pieces_are_bounded() -> None:
    """The page of many peers is in pieces of at most 512 lines and a header, so that other threads run."""
    peers = (Peer(f"{number:044}", ("10.0.0.1/32",)) for number in range(2 * LINES_PER_CHUNK + 1))
    snapshot = snapshot_of(on_wg0(*peers))
    for pieces in (
        mindflavor_pieces(snapshot, {}, handshake_delay=True, remote_ip=True),
        mdlayher_pieces(snapshot, {}),
    ):
        assert all(piece.count(b"\n") <= LINES_PER_CHUNK + 2 for piece in pieces)


def test_families_are_those_declared() -> None:
    """The pages have all declared families and no other, in the order of the declarations."""
    pages = PAGES["mindflavor-all.txt"](gateway()), PAGES["mdlayher.txt"](gateway())
    for page, families in zip(pages, (MINDFLAVOR_FAMILIES, MDLAYHER_FAMILIES), strict=True):
        names = re.findall(r"^# TYPE (\S+)", page.decode(), re.MULTILINE)
        assert names == [family.name for family in families]


def test_content_types_are_the_originals() -> None:
    """The content type has a character set only in mdlayher's schema, as with the originals."""
    assert MINDFLAVOR_CONTENT_TYPE == "text/plain; version=0.0.4"
    assert MDLAYHER_CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"
