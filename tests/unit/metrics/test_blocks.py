"""Blocks of peers: their text, and how they stay when peers come and go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from exporter.directory.entry import Directory, Entry
from exporter.metrics import blocks
from exporter.metrics.blocks import INFO, SIZE, Block, arrange, info_labels
from exporter.metrics.text import inflate
from exporter.model import Peer
from tests.kit.gateways import DIRECTORIES, DIRECTORY, MOST, NAMES, PEERS, key

RECEIVED = "wireguard_peer_receive_bytes_total"
AGE = "wireguard_peer_handshake_age_seconds"
KEEPALIVE = "wireguard_peer_persistent_keepalive_seconds"
NOBODY = Directory()
SMALL = 4  # peers a block, so that few peers have many blocks


@pytest.fixture
def small() -> Iterator[None]:
    """Blocks of few peers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "SIZE", SMALL)
        yield


def build(peers: tuple[Peer, ...]) -> Block:
    return Block("wg0", peers, NOBODY)


def peers_of(numbers: Sequence[int]) -> tuple[Peer, ...]:
    return tuple(Peer(key(number)) for number in numbers)


def samples(text: bytes) -> list[tuple[dict[str, str], float]]:
    """What prometheus-client reads from the lines of one family."""
    families = text_string_to_metric_families(text.decode())
    return [(sample.labels, sample.value) for family in families for sample in family.samples]


@given(
    NAMES,
    st.lists(st.tuples(PEERS, st.none() | st.integers(0, MOST)), unique_by=lambda pair: pair[0].public_key),
)
def test_lines_say_interface_key_and_value(interface: str, found: list[tuple[Peer, int | None]]) -> None:
    """Each peer with a value has one line, whatever the interface is called; a peer without one has none."""
    block = Block(interface, tuple(peer for peer, _ in found), NOBODY)
    text = block.text(AGE, tuple(value for _, value in found))
    assert samples(text) == [
        ({"interface": interface, "public_key": peer.public_key}, value)
        for peer, value in found
        if value is not None
    ]


@given(NAMES, DIRECTORIES, st.lists(PEERS, unique_by=lambda peer: peer.public_key, min_size=1))
def test_info_says_what_the_directory_does(interface: str, directory: Directory, peers: list[Peer]) -> None:
    """Names with quotes, newlines, percent signs and letters of any script stand in the info as written."""
    block = Block(interface, tuple(peers), directory)
    expected = zip(peers, block.expected, strict=True)
    assert samples(block.text(INFO, block.fixed[INFO])) == [
        (info_labels(interface, peer, directory.get(peer.public_key), word), 1) for peer, word in expected
    ]


def test_info_labels() -> None:
    """A peer goes by its name, and without one by its key; what nobody wrote is empty or the default."""
    known = info_labels("wg0", Peer(key(1)), DIRECTORY.get(key(1)), "standby")
    assert known == {
        "interface": "wg0",
        "public_key": key(1),
        "peer": 'Anna "the boss" C:\\temp 100%',
        "site": "Köln\nSüd ☃",
        "role": "%s %d %%",
        "expected": "standby",
        "criticality": "high",
        "owner": "o'neill@example.org",
    }
    unknown = info_labels("wg0", Peer(key(2)), None, "on-demand")
    described = ("peer", "site", "role", "expected", "criticality", "owner")
    assert [unknown[name] for name in described] == [key(2), "", "", "on-demand", "normal", ""]
    assert info_labels("wg0", Peer(key(2)), Entry(key(2), site="x"), "on-demand")["peer"] == key(2)


@given(st.lists(st.lists(st.none() | st.integers(0, 2), min_size=3, max_size=3), min_size=1, max_size=8))
def test_what_is_kept_is_what_would_be_made(history: list[list[int | None]]) -> None:
    """Values that change, vanish and come back give the text of a block without a past, compressed too."""
    kept = build(peers_of(range(3)))
    for values in history:
        fresh = build(peers_of(range(3))).text(AGE, tuple(values))
        assert kept.text(AGE, tuple(values)) == fresh
        assert inflate(kept.deflated(AGE, tuple(values))[0]) == fresh


def test_what_did_not_change_is_not_compressed_again() -> None:
    """The same values are answered with the same compressed piece, and without a text."""
    block = build(peers_of(range(3)))
    piece, text = block.deflated(RECEIVED, (1, 2, 3))
    assert text is not None
    again, nothing = block.deflated(RECEIVED, (1, 2, 3))
    assert again is piece
    assert nothing is None
    assert block.deflated(RECEIVED, (1, 2, 4))[0] is not piece


def test_configure_changes_what_is_fixed() -> None:
    """Keepalive, allowed IPs, window and expectation follow the peers' configuration, at the next text."""
    peers = peers_of(range(2))
    block = build(peers)
    for family in block.fixed:
        block.deflated(family, block.fixed[family])
    changed = replace(peers[0], persistent_keepalive=300, allowed_ips=("10.0.0.0/8", "::/0"))
    block.configure((changed, peers[1]))
    assert [value for _, value in samples(block.text(KEEPALIVE, block.fixed[KEEPALIVE]))] == [300, 0]
    assert block.fixed["wireguard_peer_allowed_ips"] == (2, 0)
    assert block.fixed["wireguard_peer_stale_after_seconds"] == block.windows == (540, 300)
    info = samples(block.text(INFO, block.fixed[INFO]))
    assert [names["expected"] for names, _ in info] == ["always-on", "on-demand"]


@pytest.mark.usefixtures("small")
@given(st.lists(st.lists(st.integers(0, 40), unique=True, max_size=40), max_size=6))
def test_arrange_loses_and_doubles_nobody(history: list[list[int]]) -> None:
    """Whoever comes, goes and moves: the blocks hold exactly the peers there are, in their order."""
    arranged: list[Block] = []
    for numbers in history:
        peers = peers_of(numbers)
        arranged = arrange(arranged, peers, build)
        assert tuple(peer for block in arranged for peer in block.peers) == peers
        assert [name for block in arranged for name in block.keys] == [peer.public_key for peer in peers]
        assert all(0 < len(block.keys) < 2 * SMALL for block in arranged)


@pytest.mark.usefixtures("small")
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 10_000)), min_size=1, max_size=30))
def test_arrange_keeps_the_blocks_of_who_stayed(changes: list[tuple[bool, int]]) -> None:
    """When one peer comes or goes, all blocks but the one it is in and a neighbour stay as they are."""
    numbers = list(range(60))
    arranged = arrange([], peers_of(numbers), build)
    for newcomer, (comes, where) in enumerate(changes, start=1000):
        place = where % len(numbers)
        if comes:
            numbers.insert(place, newcomer)
        else:
            del numbers[place]
        before = arranged
        arranged = arrange(before, peers_of(numbers), build)
        assert len({*map(id, before)} & {*map(id, arranged)}) >= len(before) - 2


@pytest.mark.usefixtures("small")
@given(st.lists(st.integers(0, 29), unique=True))
def test_arrange_keeps_blocks_when_peers_are_reconfigured(changed: list[int]) -> None:
    """An endpoint that moves makes no new block: the block that has the peer learns of it."""
    peers = list(peers_of(range(30)))
    before = arrange([], peers, build)
    for number in changed:
        peers[number] = replace(peers[number], endpoint="192.0.2.1:1")
    after = arrange(before, peers, build)
    assert [*map(id, after)] == [*map(id, before)]
    assert [peer for block in after for peer in block.peers] == peers


def test_arrange_fills_blocks() -> None:
    """Many peers at once are cut into blocks of about one size."""
    sizes = [len(block.keys) for block in arrange([], peers_of(range(10 * SIZE + 3)), build)]
    assert sum(sizes) == 10 * SIZE + 3
    assert set(sizes[:-1]) == {SIZE}


def test_arrange_fills_up_what_grows() -> None:
    """Peers that are added one at a time share blocks as if they had come at once."""
    arranged: list[Block] = []
    for count in range(1, 3 * SIZE):
        arranged = arrange(arranged, peers_of(range(count)), build)
        assert len(arranged) <= 1 + count // SIZE


@pytest.mark.parametrize("step", [SIZE, SIZE // 2, 3 * SIZE + 1])
def test_arrange_merges_what_removals_left(step: int) -> None:
    """When nearly all peers are gone, those left share a block instead of having one each."""
    arranged = arrange([], peers_of(range(40 * SIZE)), build)
    left = peers_of(range(0, 40 * SIZE, step))
    assert len(arrange(arranged, left, build)) == 1
