"""Instants are monotone, whatever the wall clock does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.store.snapshot.clock import MonotoneClock

NOON = 1_700_000_000.5
DAY = 86_400.0


@given(st.integers(0, 2 * 10**12), st.lists(st.integers(-(10**8), 10**8), max_size=20))
def test_instants_are_whole_milliseconds_and_advance(first: int, steps: list[int]) -> None:
    """Each instant is later than the previous one, or a step of more than a day is reported; and each equals
    the wall clock plus the reported delay."""
    clock, wall, last = MonotoneClock(first / 1000), first, first
    for step in steps:
        wall = max(0, wall + step)
        instant = clock.next(wall / 1000)
        now = round(instant * 1000)
        assert instant == now / 1000
        assert (now > last) is (clock.went_back == 0)
        assert (clock.went_back > 0) is (last - wall > 86_400_000)
        assert round(clock.behind * 1000) == now - wall >= 0
        last = now


def test_instants_follow_the_clock() -> None:
    """The instant is the wall clock's time in whole milliseconds."""
    clock = MonotoneClock()
    assert [clock.next(NOON + 0.0004), clock.next(NOON + 30)] == [NOON, NOON + 30]
    assert (clock.behind, clock.went_back) == (0, 0)


def test_two_in_one_millisecond_differ() -> None:
    """Two snapshots in one millisecond get instants one millisecond apart."""
    clock = MonotoneClock()
    assert [clock.next(NOON), clock.next(NOON)] == [NOON, NOON + 0.001]


def test_instants_advance_slowly_until_the_clock_has_caught_up() -> None:
    """After the clock is set back by an hour, `behind` is an hour and then decreases to zero."""
    clock = MonotoneClock(NOON)
    instants = [(clock.next(wall), clock.behind) for wall in (NOON - 3600, NOON - 1, NOON + 1)]
    assert instants == [(NOON + 0.001, 3600.001), (NOON + 0.002, 1.002), (NOON + 1, 0)]


def test_a_clock_that_is_days_behind_is_believed() -> None:
    """A step back by more than a day makes the instants go back once, by the reported amount."""
    clock = MonotoneClock(NOON)
    assert clock.next(NOON - DAY) == NOON + 0.001
    assert clock.next(NOON - DAY - 1) == NOON - DAY - 1
    assert (clock.went_back, clock.behind) == (DAY + 1.001, 0)
    assert clock.next(NOON - DAY) == NOON - DAY
    assert clock.went_back == 0
