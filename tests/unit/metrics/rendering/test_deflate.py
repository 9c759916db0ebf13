"""Compressed pieces and how they join, against zlib."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics.rendering.deflate import combine, deflate, gzipped, inflate, join, joined
from tests.kit.gateways import unzip

PIECES = st.lists(st.binary(max_size=300) | st.sampled_from((b"", b"\0" * 7, b"a" * 70_000)), max_size=6)


@given(st.lists(PIECES, max_size=4))
def test_gzip_is_one_member_with_the_text(runs: list[list[bytes]]) -> None:
    """Pieces that were compressed separately form one gzip member of the whole text."""
    joins = [join((deflate(text), None) for text in run) for run in runs]
    assert unzip(gzipped(joins)) == b"".join(text for run in runs for text in run)


@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=6))
def test_join_needs_no_text(pieces: list[tuple[bytes, bool]]) -> None:
    """Checksum and size of a run are those of the whole text, with and without the texts of its pieces."""
    run = join((deflate(text), text if at_hand else None) for text, at_hand in pieces)
    whole = b"".join(text for text, _ in pieces)
    assert (run.crc, run.size) == (zlib.crc32(whole), len(whole))


def test_join_of_unchanged_pieces() -> None:
    """If no piece has changed, the run is the previous object, otherwise a new one."""
    first, second, third = (deflate(text) for text in (b"first", b"second", b"third"))
    before = join([(first, None), (second, None)])
    assert join([(first, None), (second, None)], before) is before
    assert join([(first, None), (third, None)], before).crc == zlib.crc32(b"firstthird")
    assert join([(first, None)], before).crc == zlib.crc32(b"first")


@given(st.binary())
def test_joined_is_a_run_of_one(text: bytes) -> None:
    """A run of one text has its checksum and size."""
    run = joined(text)
    assert (run.crc, run.size) == (zlib.crc32(text), len(text))
    assert unzip(gzipped([run])) == text


@given(st.binary())
def test_inflate_undoes_deflate(text: bytes) -> None:
    """`inflate` returns the text that was compressed."""
    assert inflate(deflate(text)) == text


@given(st.binary(), st.binary())
def test_combine_is_the_checksum_of_both(first: bytes, second: bytes) -> None:
    """`combine` returns the CRC of two joined texts, from their CRCs and the length of the second."""
    assert combine(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), *[st.integers(0, 2**45)] * 2)
def test_combine_takes_any_length(first: int, second: int, short: int, more: int) -> None:
    """Appending two texts one after the other is appending both at once, also for very long texts."""
    twice = combine(combine(first, 0, short), second, more)
    assert twice == combine(first, second, short + more)
