"""Blocks of peers: their labels and numbers, and which blocks are kept when peers come and go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.directory.entry import Directory, Entry
from exporter.metrics.declarations.peers import ALLOWED_IPS, KEEPALIVE, STALE_AFTER
from exporter.metrics.gathering import blocks
from exporter.metrics.gathering.blocks import SIZE, KeptBlock, KeptBlocks, arrange
from exporter.model import Peer
from tests.kit.gateways import DIRECTORY, PEERS, key
from tests.unit.metrics.gathering.kit import NOBODY

SMALL = 4  # peers a block, so that few peers have many blocks


@pytest.fixture
def small() -> Iterator[None]:
    """Blocks of few peers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "SIZE", SMALL)
        yield


def build(peers: tuple[Peer, ...]) -> KeptBlock:
    return KeptBlock("wg0", peers, NOBODY)


def peers_of(numbers: Sequence[int]) -> tuple[Peer, ...]:
    return tuple(Peer(key(number)) for number in numbers)


def test_description() -> None:
    """A peer goes by its name, and without one by its key; other labels are empty or have the default."""
    unnamed = Directory({**DIRECTORY.entries, key(3): Entry(key(3), site="x")})
    block = KeptBlock("wg0", peers_of((1, 2, 3)), unnamed).block
    assert block.description == {
        "peer": ('Anna "the boss" C:\\temp 100%', key(2), key(3)),
        "site": ("Köln\nSüd ☃", "", "x"),
        "role": ("%s %d %%", "", ""),
        "expected": ("standby", "on-demand", "on-demand"),
        "criticality": ("high", "normal", "normal"),
        "owner": ("o'neill@example.org", "", ""),
    }


@given(st.lists(PEERS, unique_by=lambda peer: peer.public_key, min_size=1))
def test_description_of_peers_that_no_file_lists(peers: list[Peer]) -> None:
    """Peers without entries have the same labels as peers with empty entries."""
    empty = Directory({peer.public_key: Entry(peer.public_key) for peer in peers})
    blocks = [KeptBlock("wg0", tuple(peers), directory).block for directory in (NOBODY, empty)]
    assert blocks[0] == blocks[1]


def test_configure_changes_the_block() -> None:
    """A block follows keepalives and allowed IPs, with window and expectation; endpoints do not change it."""
    peers = peers_of(range(2))
    kept = build(peers)
    before = kept.block
    kept.configure((replace(peers[0], endpoint="192.0.2.1:1"), peers[1]))
    assert kept.block is before
    changed = replace(peers[0], persistent_keepalive=300, allowed_ips=("10.0.0.0/8", "::/0"))
    kept.configure((changed, peers[1]))
    assert kept.block.columns[KEEPALIVE] == (300, 0)
    assert kept.block.columns[ALLOWED_IPS] == (2, 0)
    assert kept.block.columns[STALE_AFTER] == kept.windows == (540, 300)
    assert kept.block.description["expected"] == kept.expected == ("always-on", "on-demand")


def test_blocks_are_kept_while_nothing_changes() -> None:
    """The same peers and directory keep their blocks; after a reload of the directory all are new."""
    peers = peers_of([1])
    kept = KeptBlocks("wg0")
    kept.update(peers, NOBODY, 1)
    before = kept.blocks
    kept.update(peers_of([1]), NOBODY, 1)
    assert kept.blocks is before
    kept.update(peers, NOBODY, 2)
    assert kept.blocks[0] is not before[0]


@pytest.mark.usefixtures("small")
@given(st.lists(st.lists(st.integers(0, 40), unique=True, max_size=40), max_size=6))
def test_arrange_has_each_peer_once(history: list[list[int]]) -> None:
    """After any change of peers, the blocks have exactly the present peers, in order."""
    arranged: list[KeptBlock] = []
    for numbers in history:
        peers = peers_of(numbers)
        arranged = arrange(arranged, peers, build)
        assert tuple(peer for block in arranged for peer in block.peers) == peers
        assert [name for block in arranged for name in block.keys] == [peer.public_key for peer in peers]
        assert all(0 < len(block.keys) < 2 * SMALL for block in arranged)


@pytest.mark.usefixtures("small")
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 10_000)), min_size=1, max_size=30))
def test_arrange_keeps_unchanged_blocks(changes: list[tuple[bool, int]]) -> None:
    """When one peer comes or goes, all blocks are kept but the one with the peer and a neighbour."""
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
    """A changed endpoint makes no new block; the block gets the new peer."""
    peers = list(peers_of(range(30)))
    before = arrange([], peers, build)
    for number in changed:
        peers[number] = replace(peers[number], endpoint="192.0.2.1:1")
    after = arrange(before, peers, build)
    assert [*map(id, after)] == [*map(id, before)]
    assert [peer for block in after for peer in block.peers] == peers


def test_arrange_fills_blocks() -> None:
    """Many new peers are divided into full blocks and one smaller one."""
    sizes = [len(block.keys) for block in arrange([], peers_of(range(10 * SIZE + 3)), build)]
    assert sum(sizes) == 10 * SIZE + 3
    assert set(sizes[:-1]) == {SIZE}


def test_arrange_fills_up_what_grows() -> None:
    """Peers that are added one at a time make no more blocks than peers that are added together."""
    arranged: list[KeptBlock] = []
    for count in range(1, 3 * SIZE):
        arranged = arrange(arranged, peers_of(range(count)), build)
        assert len(arranged) <= 1 + count // SIZE


@pytest.mark.parametrize("step", [SIZE, SIZE // 2, 3 * SIZE + 1])
def test_arrange_merges_what_removals_left(step: int) -> None:
    """When nearly all peers are removed, the remaining ones share a block instead of having one each."""
    arranged = arrange([], peers_of(range(40 * SIZE)), build)
    left = peers_of(range(0, 40 * SIZE, step))
    assert len(arrange(arranged, left, build)) == 1
