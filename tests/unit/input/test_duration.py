"""Durations: which texts are durations, and of how many seconds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.input.duration import duration

UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}


@given(st.dictionaries(st.sampled_from("wdhms"), st.integers(0, 10**6), min_size=1))
def test_durations(counts: dict[str, int]) -> None:
    """Counts of any units, in descending order, add up."""
    text = "".join(f"{counts[unit]}{unit}" for unit in "wdhms" if unit in counts)
    assert duration(text) == sum(count * UNITS[unit] for unit, count in counts.items())


@given(st.text(alphabet="0123456789wdhms. -+e", max_size=12))
def test_duration_of_any_text(text: str) -> None:
    """Any text gives a finite duration of at least zero, or None, and never an exception."""
    value = duration(text)
    assert value is None or 0 <= value < float("inf")


@pytest.mark.parametrize("text", ["", "s", "5m1h", "5 m", "-5m", "5M", "1h30", "1.5h", "٣s", "5m\n", "inf"])
def test_not_durations(text: str) -> None:
    """An ambiguous text, and one that is not a duration, gives None."""
    assert duration(text) is None


def test_duration_in_milliseconds() -> None:
    """A fraction of a second can be written in milliseconds and as a decimal number."""
    assert duration("250ms") == duration("0.25") == 0.25
