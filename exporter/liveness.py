"""Is a peer there? One judgement, used by the metrics, the table and the records alike.

A handshake is renewed every 120 s while data flows and a session is refused after 180 s (WireGuard
whitepaper, section 6.1), so a healthy peer that is spoken to can show an age of 180 s, one
keepalive interval and the time between two readings. Below 300 s, thresholds flap.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

Expected = Literal["always-on", "on-demand", "standby"]

SKEW_TOLERANCE = 5  # seconds that a handshake may lie in the future before the clock is called wrong


class State(StrEnum):
    NEVER = "never"  # configured, and no handshake since
    ACTIVE = "active"  # a handshake within the window
    IDLE = "idle"  # no recent handshake, and none is owed
    STALE = "stale"  # no recent handshake, though the peer is expected to be there
    ONE_WAY = "one-way"  # no recent handshake, and this side keeps sending: nothing comes back
    CLOCK_SKEW = "clock-skew"  # the handshake lies in the future: a clock was stepped
    UNOBSERVED = "unobserved"  # the device could not be read, so nothing is known


def default_window(persistent_keepalive: int) -> int:
    """Seconds after which a handshake is stale, for a peer whose owner set no `stale_after`."""
    return max(300, 240 + persistent_keepalive)


def default_expected(persistent_keepalive: int) -> Expected:
    """A keepalive towards a peer says that somebody wants the tunnel up; without one, silence is no news."""
    return "always-on" if persistent_keepalive else "on-demand"


def judge(last_handshake: int, now: float, window: int, expected: Expected, *, unanswered: bool) -> State:
    """The state of an observed peer.

    `last_handshake` and `now` are UNIX seconds (0 = never), `window` is in seconds, `unanswered` says
    that bytes were sent and none received since the last reading.
    """
    if last_handshake == 0:
        return State.NEVER
    if last_handshake > now + SKEW_TOLERANCE:
        return State.CLOCK_SKEW
    if now - last_handshake <= window:
        return State.ACTIVE
    if unanswered:
        return State.ONE_WAY
    return State.STALE if expected == "always-on" else State.IDLE
