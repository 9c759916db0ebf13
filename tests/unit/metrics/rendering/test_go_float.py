"""Numbers of the schema `mdlayher`, which are printed as by Go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics.rendering.mdlayher import go_float


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (100_000, "100000"),
        (999_999, "999999"),
        (1_000_000, "1e+06"),
        (1_234_567, "1.234567e+06"),
        (1_588_274_629, "1.588274629e+09"),
        (12_000_000_000, "1.2e+10"),
        (2**53 + 1, "9.007199254740992e+15"),
        (10**16, "1e+16"),
        (2**64 - 1, "1.8446744073709552e+19"),
    ],
)
def test_numbers_look_as_go_prints_them(value: int, text: str) -> None:
    """Numbers above six digits have an exponent, with one digit before the point, as in Go."""
    assert go_float(value) == text


@given(st.integers(0, 2**64 - 1))
def test_numbers_keep_their_float_value(value: int) -> None:
    """A parser reads the nearest float64 of the counter, and no shorter text would give it."""
    text = go_float(value)
    assert float(text) == float(value)
    mantissa = text.partition("e")[0].replace(".", "")
    shortest = repr(float(value)).partition("e")[0].removesuffix(".0").replace(".", "")
    assert "e" not in text or mantissa.rstrip("0") == shortest.rstrip("0")
    assert ("e" in text) == (value >= 10**6)
