"""The state of a peer: default windows, the order of the rules, and what the directory sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.directory.entry import Entry
from exporter.expectation import expected_of, window_of
from exporter.liveness import SKEW_TOLERANCE, Expected, State, default_expected, default_window, judge
from exporter.model import Peer
from tests.kit.gateways import key

NOW = 1_700_000_000.75
WINDOW = 300
EXPECTATIONS: tuple[Expected, ...] = ("always-on", "on-demand", "standby")
OLD = {"always-on": State.STALE, "on-demand": State.IDLE, "standby": State.IDLE}


@pytest.mark.parametrize(
    ("keepalive", "window"), [(0, 300), (25, 300), (60, 300), (61, 301), (120, 360), (65535, 65775)]
)
def test_default_window(keepalive: int, window: int) -> None:
    """The default window is 240 s plus one keepalive, and at least 300 s."""
    assert default_window(keepalive) == window


@given(st.integers(0, 65535))
def test_window_outlasts_a_healthy_session(keepalive: int) -> None:
    """A handshake of 180 s plus one keepalive, read a minute late, is within the default window."""
    age = 180 + keepalive + 60
    state = judge(int(NOW) - age, int(NOW), default_window(keepalive), "always-on", unanswered=True)
    assert state is State.ACTIVE


@pytest.mark.parametrize("unanswered", [False, True])
@pytest.mark.parametrize("expected", EXPECTATIONS)
def test_states_that_need_no_expectation(expected: Expected, unanswered: bool) -> None:
    """Never, active and clock-skew depend neither on the expectation nor on unanswered bytes."""

    def state(last_handshake: int) -> State:
        return judge(last_handshake, NOW, WINDOW, expected, unanswered=unanswered)

    whole = int(NOW)
    assert state(0) is State.NEVER
    assert state(whole) is State.ACTIVE
    assert state(whole - WINDOW + 1) is State.ACTIVE
    assert state(whole + SKEW_TOLERANCE) is State.ACTIVE
    assert state(whole + SKEW_TOLERANCE + 1) is State.CLOCK_SKEW


@pytest.mark.parametrize("expected", EXPECTATIONS)
def test_an_old_handshake(expected: Expected) -> None:
    """Beyond the window, a peer is one-way if unanswered, otherwise stale if always-on, otherwise idle."""
    old = int(NOW) - WINDOW
    assert judge(old, int(NOW), WINDOW, expected, unanswered=True) is State.ACTIVE
    assert judge(old, NOW, WINDOW, expected, unanswered=True) is State.ONE_WAY
    assert judge(old, NOW, WINDOW, expected, unanswered=False) is OLD[expected]


def test_never_on_a_clock_that_starts_in_1970() -> None:
    """A peer without a handshake is never, even if 0 is within the window."""
    assert judge(0, 100.0, WINDOW, "always-on", unanswered=False) is State.NEVER


@given(st.integers(0, 2**40), st.floats(0, 2**40), st.integers(1, 10**6), st.sampled_from(EXPECTATIONS))
def test_no_observed_peer_is_unobserved(then: int, now: float, window: int, expected: Expected) -> None:
    """A peer that was read is never unobserved, whatever the clock is."""
    for unanswered in (False, True):
        assert judge(then, now, window, expected, unanswered=unanswered) is not State.UNOBSERVED


def test_a_keepalive_means_always_on() -> None:
    """A peer with a keepalive is always-on by default, and on-demand without one."""
    assert (default_expected(25), default_expected(0)) == ("always-on", "on-demand")


def test_the_directory_overrides_the_defaults() -> None:
    """Each field of the directory overrides the default that depends on the keepalive."""
    kept_alive = Peer(key(1), persistent_keepalive=25)
    entry = Entry(key(1), expected="standby", stale_after=7)
    assert (expected_of(kept_alive, entry), window_of(kept_alive, entry)) == ("standby", 7)
    for silent in (None, Entry(key(1), name="only a name")):
        assert (expected_of(kept_alive, silent), window_of(kept_alive, silent)) == ("always-on", 300)
    assert expected_of(kept_alive, Entry(key(1), stale_after=7)) == "always-on"
    assert window_of(Peer(key(1), persistent_keepalive=100), Entry(key(1), expected="standby")) == 340
