"""Instants that are later than all before, whatever the wall clock does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.store.snapshot.clock import MonotoneClock

NOON = 1_700_000_000.5
DAY = 86_400.0


@given(st.integers(0, 2 * 10**12), st.lists(st.integers(-(10**8), 10**8), max_size=20))
def test_instants_are_whole_milliseconds_and_go_on(first: int, steps: list[int]) -> None:
    """Each is later than the one before, or the clock is believed, which is only then and told; and each is
    the clock's, or later by what is told."""
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
    """Cut to milliseconds, the wall clock's time is the instant."""
    clock = MonotoneClock()
    assert [clock.next(NOON + 0.0004), clock.next(NOON + 30)] == [NOON, NOON + 30]
    assert (clock.behind, clock.went_back) == (0, 0)


def test_two_in_one_millisecond_differ() -> None:
    """The second is a millisecond later."""
    clock = MonotoneClock()
    assert [clock.next(NOON), clock.next(NOON)] == [NOON, NOON + 0.001]


def test_instants_stand_still_until_the_clock_has_caught_up() -> None:
    """Set back by an hour, the clock is an hour behind, then less, then right again."""
    clock = MonotoneClock(NOON)
    told = [(clock.next(wall), clock.behind) for wall in (NOON - 3600, NOON - 1, NOON + 1)]
    assert told == [(NOON + 0.001, 3600.001), (NOON + 0.002, 1.002), (NOON + 1, 0)]


def test_a_clock_that_is_days_behind_is_believed() -> None:
    """Up to a day it is not; beyond, instants go back by what is told, once."""
    clock = MonotoneClock(NOON)
    assert clock.next(NOON - DAY) == NOON + 0.001
    assert clock.next(NOON - DAY - 1) == NOON - DAY - 1
    assert (clock.went_back, clock.behind) == (DAY + 1.001, 0)
    assert clock.next(NOON - DAY) == NOON - DAY
    assert clock.went_back == 0
