"""The text of peers: each line, and the text that is kept between scrapes."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from exporter.metrics.declarations.content import Block, InterfacePeers, Values
from exporter.metrics.declarations.family import Family
from exporter.metrics.rendering.blocks import BlockText, InterfaceText
from exporter.metrics.rendering.deflate import inflate
from tests.kit.gateways import MOST, NAMES, TEXTS, key

INFO = Family("wireguard_peer_info", "info", "Labels.")
AGE = Family("wireguard_peer_handshake_age_seconds", "gauge", "A number that changes.")
KEEPALIVE = Family("wireguard_peer_persistent_keepalive_seconds", "gauge", "A number that is configured.")


def block_of(keys: Sequence[str], site: str = "", keepalive: int = 0) -> Block:
    description = {"peer": tuple(keys), "site": (site,) * len(keys)}
    return Block(tuple(keys), description, {KEEPALIVE: (keepalive,) * len(keys)})


def samples(text: bytes) -> list[tuple[dict[str, str], float]]:
    """What prometheus-client reads from the lines of one family."""
    families = text_string_to_metric_families(text.decode())
    return [(sample.labels, sample.value) for family in families for sample in family.samples]


@given(NAMES, st.lists(st.none() | st.integers(0, MOST)))
def test_lines_have_interface_key_and_value(interface: str, values: list[int | None]) -> None:
    """Each peer with a value has one line, whatever the interface's name is. A peer without one has none."""
    block = block_of([key(number) for number in range(len(values))])
    text = BlockText(interface, block.keys).text(AGE, block, tuple(values))
    assert samples(text) == [
        ({"interface": interface, "public_key": public_key}, value)
        for public_key, value in zip(block.keys, values, strict=True)
        if value is not None
    ]


@given(
    NAMES,
    st.dictionaries(st.sampled_from(["peer", "site", "owner"]), st.lists(TEXTS, min_size=2, max_size=2)),
)
def test_info_has_the_description(interface: str, description: dict[str, list[str]]) -> None:
    """A parser reads labels with quotes, newlines, percent signs and letters of any script as written."""
    columns = {name: tuple(values) for name, values in description.items()}
    block = Block((key(0), key(1)), columns, {})
    assert samples(BlockText(interface, block.keys).text(INFO, block, None)) == [
        (
            {
                "interface": interface,
                "public_key": key(number),
                **{name: values[number] for name, values in columns.items()},
            },
            1,
        )
        for number in range(2)
    ]


@given(st.lists(st.lists(st.none() | st.integers(0, 2), min_size=3, max_size=3), min_size=1, max_size=8))
def test_kept_text_is_equal_to_new_text(history: list[list[int | None]]) -> None:
    """After any changes of values, also to absent and back, kept text equals newly made text, plain and
    compressed."""
    block = block_of("abc")
    kept = BlockText("wg0", block.keys)
    for values in history:
        fresh = BlockText("wg0", block.keys).text(AGE, block, tuple(values))
        assert kept.text(AGE, block, tuple(values)) == fresh
        assert inflate(kept.deflated(AGE, block, tuple(values))[0]) == fresh


def test_unchanged_values_are_not_compressed_again() -> None:
    """For the same values, the compressed piece is the previous one, and no text is made."""
    block = block_of("abc")
    kept = BlockText("wg0", block.keys)
    cases: list[tuple[Family, Block, Values | None]] = [
        (AGE, block, (1, 2, 3)),
        (INFO, block, None),
        (KEEPALIVE, block, None),
    ]
    for family, same, values in cases:
        piece, text = kept.deflated(family, same, values)
        assert text is not None
        assert kept.deflated(family, block_of("abc"), values) == (piece, None)
    assert inflate(kept.deflated(AGE, block, (1, 2, 4))[0]).endswith(b" 4\n")
    assert b'site="x"' in inflate(kept.deflated(INFO, block_of("abc", site="x"), None)[0])
    assert inflate(kept.deflated(KEEPALIVE, block_of("abc", keepalive=7), None)[0]).count(b" 7\n") == 3


def test_columns_are_cut_as_the_blocks_are() -> None:
    """Each block has the values of its own peers, also after the blocks have changed."""
    kept = InterfaceText("wg0")
    for cuts in ((3, 3, 1), (3, 1, 3), (2, 5), (7,)):
        keys = iter("abcdefg")
        blocks = [block_of([next(keys) for _ in range(size)], keepalive=size) for size in cuts]
        peers = InterfacePeers("wg0", blocks, {AGE: [0, 10, 20, 30, 40, 50, 60]})
        kept.update(peers)
        changing = [samples(lines) for lines in kept.lines(AGE, peers)]
        assert [len(part) for part in changing] == list(cuts)
        found = [(names["public_key"], value) for part in changing for names, value in part]
        assert found == [(name, index * 10) for index, name in enumerate("abcdefg")]
        configured = [samples(lines) for lines in kept.lines(KEEPALIVE, peers)]
        assert [[value for _, value in part] for part in configured] == [[size] * size for size in cuts]


def test_text_is_kept_for_the_keys_of_a_block() -> None:
    """A block with the same tuple of keys keeps its pieces, and unchanged pieces keep their joined run."""
    kept = InterfaceText("wg0")
    parts = [("a", "b"), ("c",)]
    runs = []
    for site in ("", "", "x"):
        peers = InterfacePeers("wg0", [block_of(part, site) for part in parts], {AGE: [1, 2, 3]})
        kept.update(peers)
        runs.append([kept.joined(family, peers) for family in (AGE, KEEPALIVE, INFO)])
    assert [again is run for run, again in zip(runs[0], runs[1], strict=True)] == [True, True, True]
    assert [again is run for run, again in zip(runs[0], runs[2], strict=True)] == [True, True, False]
