"""Pages in pieces, and the token bucket."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.web.limits.ratelimit import RateLimit, TokenBucket
from exporter.web.messages.page import Page, batches


@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(1, 32))
def test_batches_are_the_same_bytes_in_bounded_pieces(chunks: list[bytes], size: int) -> None:
    """The pieces are the same bytes; none is empty or too large, and they are not more than necessary."""
    pieces = [bytes(piece) for piece in batches(chunks, size)]
    assert b"".join(pieces) == b"".join(chunks)
    assert all(0 < len(piece) <= size for piece in pieces)
    assert (
        len(pieces) <= 2 * len(b"".join(chunks)) // size + 2 * sum(len(chunk) >= size for chunk in chunks) + 1
    )
    assert Page("", "", chunks).length == len(b"".join(chunks))


def test_token_bucket_allows_its_burst_and_then_its_rate() -> None:
    """Three requests at once, then one every two seconds; after a pause, three again."""
    bucket = TokenBucket(RateLimit(interval=2.0, burst=3), now=100.0)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(now) for now in (101.0, 102.0, 103.0, 104.0)] == [False, True, False, True]
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]
