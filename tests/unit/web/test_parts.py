"""The small parts of exporter/web: pages in pieces, Accept-Encoding, the token bucket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.limits.ratelimit import RateLimit, TokenBucket
from exporter.web.messages.page import Page, batches
from exporter.web.negotiate import accepts_gzip


@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(1, 32))
def test_batches_are_the_same_bytes_in_bounded_pieces(chunks: list[bytes], size: int) -> None:
    """Nothing is lost, added or empty; no piece is too large; none could have held its successor as well."""
    pieces = [bytes(piece) for piece in batches(chunks, size)]
    assert b"".join(pieces) == b"".join(chunks)
    assert all(0 < len(piece) <= size for piece in pieces)
    assert (
        len(pieces) <= 2 * len(b"".join(chunks)) // size + 2 * sum(len(chunk) >= size for chunk in chunks) + 1
    )
    assert Page("", "", chunks).length == len(b"".join(chunks))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("gzip ; Q = 0.1", True),
        ("gzip;q=abc", False),
        ("gzip;q=nan", False),
        ("gzip;q=inf", True),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("identity", False),
        ("identity;q=1, gzip;q=0.5", False),
        ("identity;q=0.5, gzip", True),
        ("br, deflate", False),
        ("gzipped", False),
        (",,;;q", False),
    ],
)
def test_gzip_is_chosen_as_rfc_9110_says(header: str, expected: bool) -> None:
    """Weights, wildcards, refusals and nonsense are read for what they mean."""
    assert accepts_gzip(header) is expected


@given(st.text(max_size=60))
def test_no_accept_encoding_is_an_error(header: str) -> None:
    """Whatever a client sends has an answer."""
    assert accepts_gzip(header) in (True, False)


def test_token_bucket_allows_its_burst_and_then_its_rate() -> None:
    """Three at once, then one each two seconds, and never more than three saved up."""
    bucket = TokenBucket(RateLimit(interval=2.0, burst=3), now=100.0)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(now) for now in (101.0, 102.0, 103.0, 104.0)] == [False, True, False, True]
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]
