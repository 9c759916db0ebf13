"""The native schema, column by column: states in bulk, ages, interfaces; and the exporter on itself."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import __version__
from exporter.directory.entry import Directory
from exporter.health import Health
from exporter.liveness import State, judge
from exporter.metrics import exporter as own
from exporter.metrics.blocks import Block
from exporter.metrics.exporter import EXPORTER_FAMILIES, Serving, exporter_samples
from exporter.metrics.families import (
    HANDSHAKE_AGE,
    INTERFACE_FAMILIES,
    INTERFACE_PEERS,
    INTERFACE_UP,
    LINK_FAMILIES,
    PEER_FAMILIES,
    DeviceText,
    gather,
    interface_samples,
    states,
)
from exporter.model import Device, Link, Peer, Reading, Snapshot
from exporter.observe import Observed, Observer
from tests.kit.gateways import DIRECTORIES, HANDSHAKES, MOST, NOW, PEERS, Row, history, key, with_peers

ALL = (*INTERFACE_FAMILIES, *PEER_FAMILIES, *EXPORTER_FAMILIES)
WG0 = Device("wg0", "kernel")
NOBODY = Directory()


def observed(*history: Device) -> Observed:
    observer = Observer()
    for device in history:
        observer.update(Snapshot("gw", NOW, (device,)))
    return observer.devices[device.label]


def blocks_of(device: Device, directory: Directory, size: int) -> list[Block]:
    """The device's peers in blocks of a size."""
    starts = range(0, len(device.peers), size)
    return [Block(device.label, tuple(device.peers[start : start + size]), directory) for start in starts]


BYTES = st.integers(0, 1)
TIMES = HANDSHAKES | st.integers(0, 200) | st.integers(int(NOW) - 700, int(NOW) + 10)
TWO_READINGS = st.lists(
    st.tuples(PEERS, TIMES, BYTES, BYTES, BYTES, BYTES), unique_by=lambda row: row[0].public_key, max_size=8
)
CLOCKS = st.sampled_from((0.0, 100.0, NOW)) | st.floats(NOW - 400, NOW + 400)  # 1970: no clock was set yet


@given(TWO_READINGS, DIRECTORIES, CLOCKS, st.integers(1, 20))
def test_states_in_bulk_are_each_peers_state(
    rows: list[tuple[Peer, int, int, int, int, int]], directory: Directory, now: float, size: int
) -> None:
    """Peers counted block by block are in the states that judging each alone gives, on any clock."""
    before = with_peers(WG0, [(peer, then, received, sent) for peer, then, received, sent, _, _ in rows])
    after = with_peers(
        WG0, [(peer, then, received + more, sent + most) for peer, then, received, sent, more, most in rows]
    )
    seen = observed(before, after)
    blocks = blocks_of(after, directory, size)
    windows = [window for block in blocks for window in block.windows]
    expected = [word for block in blocks for word in block.expected]
    alone = Counter(
        judge(then, now, window, word, unanswered=most > 0 and more == 0)
        for (_, then, _, _, more, most), window, word in zip(rows, windows, expected, strict=True)
    )
    assert states(after, blocks, seen, now) == alone


@pytest.mark.parametrize(
    ("handshakes", "now", "expected"),
    [
        ((0, 90), 100.0, {State.NEVER: 1, State.ACTIVE: 1}),  # a clock that starts in 1970
        ((int(NOW) - 320, int(NOW) - 10), NOW, {State.STALE: 1, State.ACTIVE: 1}),
        ((int(NOW) + 6, int(NOW) + 5), NOW, {State.CLOCK_SKEW: 1, State.ACTIVE: 1}),
    ],
)
def test_one_block_with_several_states(
    handshakes: tuple[int, int], now: float, expected: dict[State, int]
) -> None:
    """A block is not judged as one where its peers differ, in window, in state or in having one at all."""
    short, long = Peer(key(1), persistent_keepalive=25), Peer(key(2), persistent_keepalive=500)
    device = with_peers(WG0, [(short, handshakes[0], 0, 0), (long, handshakes[1], 0, 0)])
    assert states(device, blocks_of(device, NOBODY, 2), observed(device), now) == expected


def test_states_of_everything() -> None:
    """The gateway that has everything has a peer in each state that a read peer can be in."""
    before, after = (snapshot.devices[0] for snapshot in history())
    counts = states(after, blocks_of(after, NOBODY, 3), observed(before, after), NOW)
    assert {state for state, count in counts.items() if count} == {*State} - {State.UNOBSERVED}


@pytest.mark.parametrize(
    ("handshake", "now", "age"),
    [(0, NOW, None), (90, 100.99, 10), (100, 100.0, 0), (105, 100.0, 0), (0, 0.0, None)],
)
def test_handshake_age(handshake: int, now: float, age: int | None) -> None:
    """The age is whole seconds, not below 0 for a clock that was set back, and absent when there is none."""
    rows: list[Row] = [(Peer(key(1)), handshake, 0, 0), (Peer(key(2)), 50, 0, 0)]
    device = with_peers(WG0, rows)
    columns = gather(device, blocks_of(device, NOBODY, 1), observed(device), now).columns
    assert columns[HANDSHAKE_AGE][0] == age


def test_columns_are_cut_as_the_blocks_are() -> None:
    """Each block gets the values of its own peers, whether they change or stand fast."""
    device = with_peers(WG0, [(Peer(key(n), persistent_keepalive=n), n, n * 10, n * 100) for n in range(7)])
    gathered = gather(device, blocks_of(device, NOBODY, 3), observed(device), NOW)
    for family, values in (
        ("wireguard_peer_receive_bytes_total", [0, 10, 20, 30, 40, 50, 60]),
        ("wireguard_peer_transmit_bytes_total", [0, 100, 200, 300, 400, 500, 600]),
        ("wireguard_peer_persistent_keepalive_seconds", [0, 1, 2, 3, 4, 5, 6]),
    ):
        parts = [part for _, part in gathered.values(family)]
        assert [len(part) for part in parts] == [3, 3, 1]
        assert [value for part in parts for value in part] == values


def test_text_is_kept_while_nothing_changes() -> None:
    """The same peers and directory keep their blocks; a new directory makes all of them anew."""
    device = with_peers(WG0, [(Peer(key(1)), 0, 0, 0)])
    text = DeviceText()
    text.update(device, NOBODY, 1)
    blocks = text.blocks
    text.update(replace(device, receive_bytes=(1,)), NOBODY, 1)
    assert text.blocks is blocks
    text.update(device, NOBODY, 2)
    assert text.blocks[0] is not blocks[0]


def test_interface_without_a_link() -> None:
    """What is not known of a link is absent, not 0; the rest of the interface is there."""
    samples = interface_samples(Snapshot("gw", NOW, (WG0,)), {"wg0": Counter()}, {}, "")
    unknown = {INTERFACE_UP.name, *(family.name for family, _ in LINK_FAMILIES)}
    assert {name for name, found in samples.items() if not found} == unknown


@given(st.builds(Link, st.booleans(), *[st.integers(0, MOST)] * 8))
def test_link_counters(link: Link) -> None:
    """Each counter of the link is the family of its name."""
    device = replace(WG0, link=link)
    samples = interface_samples(Snapshot("gw", NOW, (device,)), {"wg0": Counter()}, {}, "")
    own_labels = {"interface": "wg0"}
    for field in ("receive", "transmit"):
        for what in ("bytes", "packets", "errors", "drops"):
            value = getattr(link, f"{field}_{what}")
            assert samples[f"wireguard_interface_{field}_{what}_total"] == [(own_labels, value)]
    assert samples[INTERFACE_UP.name] == [(own_labels, int(link.up))]


def test_unread_interface_has_unobserved_peers_only() -> None:
    """Of an interface that could not be read, only the number of its last known peers is said."""
    samples = interface_samples(Snapshot("gw", NOW), {}, {"wg0": 3}, "")
    assert samples.pop(INTERFACE_PEERS.name) == [({"interface": "wg0", "state": "unobserved"}, 3)]
    assert not any(samples.values())


def test_failing_readings_say_why() -> None:
    """A failure is 0 in read_success and stands in read_failing with its reason; a good reading does not."""
    good, bad = Reading("netlink", "", 0.5), Reading("uapi", "tun0", 5.0, "timeout", "no answer", 2)
    health = Health()
    snapshot = Snapshot("gw", NOW, (), (good, bad))
    health.update(snapshot)
    health.update(snapshot)
    samples = exporter_samples(snapshot, health, Serving())
    netlink, tun0 = {"source": "netlink", "interface": ""}, {"source": "uapi", "interface": "tun0"}
    assert samples[own.READ_SUCCESS.name] == [(netlink, 1), (tun0, 0)]
    assert samples[own.READ_DURATION.name] == [(netlink, 0.5), (tun0, 5.0)]
    assert samples[own.READ_FAILING.name] == [({**tun0, "reason": "timeout"}, 1)]
    assert samples[own.READ_ERRORS.name] == [({"source": "uapi", "reason": "timeout"}, 2)]
    assert samples[own.DUMP_RETRIES.name] == [({"source": "netlink"}, 0), ({"source": "uapi"}, 4)]
    assert samples[own.READINGS.name] == [({}, 2)]
    assert samples[own.INTERFACES.name] == [({}, 0)]
    assert samples[own.BUILD_INFO.name][0][0]["version"] == __version__


def test_first_page_has_no_scrape_before_it() -> None:
    """How long the last page took is absent until there was one."""
    samples = exporter_samples(Snapshot("gw", NOW), Health(), Serving())
    assert samples[own.SCRAPE_DURATION.name] == []


def test_names_follow_the_conventions() -> None:
    """Names are unique, also as OpenMetrics shortens them; counters end in _total, infos in _info."""
    short = [
        family.name.removesuffix({"counter": "_total", "info": "_info"}.get(family.kind, ""))
        for family in ALL
    ]
    assert len({*short}) == len({family.name for family in ALL}) == len(ALL)
    for family in ALL:
        assert re.fullmatch("wireguard_(interface|peer|exporter)_[a-z_]+[a-z]", family.name)
        assert family.kind in ("counter", "gauge", "info")
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name
        assert family.name.endswith("_info") == (family.kind == "info"), family.name
        assert family.help.endswith(".")
