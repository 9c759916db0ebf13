"""The state of a peer. Metrics, the live table and the records use the same rules.

While data flows, WireGuard renews the handshake every 120 s, and it refuses a session after 180 s
(whitepaper, section 6.1). So the handshake of a healthy peer can be 180 s old, plus one keepalive interval
and the time between two readings. A window below 300 s would make states flap.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

Expected = Literal["always-on", "on-demand", "standby"]

SKEW_TOLERANCE = 5  # seconds that a handshake may be in the future before the state is clock-skew


class State(StrEnum):
    NEVER = "never"  # no handshake since the peer was configured
    ACTIVE = "active"  # the last handshake is within the window
    IDLE = "idle"  # the handshake is older, but the peer need not be connected
    STALE = "stale"  # the handshake is older, and the peer should always be connected
    ONE_WAY = "one-way"  # the handshake is older, and bytes are sent but none received
    CLOCK_SKEW = "clock-skew"  # the handshake is in the future: the clock was set back
    UNOBSERVED = "unobserved"  # the interface could not be read


def default_window(persistent_keepalive: int) -> int:
    """The window in seconds of a peer without `stale_after`."""
    return max(300, 240 + persistent_keepalive)


def default_expected(persistent_keepalive: int) -> Expected:
    """The expectation of a peer without `expected`: a keepalive suggests that the tunnel should stay up."""
    return "always-on" if persistent_keepalive else "on-demand"


def judge(last_handshake: int, now: float, window: int, expected: Expected, *, unanswered: bool) -> State:
    """The state of an observed peer.

    `last_handshake` and `now` are UNIX seconds (0 = never), `window` is in seconds. `unanswered`: bytes
    were sent since an earlier reading, and none were received.
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
