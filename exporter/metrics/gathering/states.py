"""How many peers of an interface are in each state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import compress

from exporter.liveness import SKEW_TOLERANCE, State, judge
from exporter.metrics.gathering.blocks import KeptBlock
from exporter.observe import Observed

LATE = 1  # UNIX seconds of a handshake that is outside every window


def states(
    last_handshake: Sequence[int], blocks: Sequence[KeptBlock], observed: Observed, now: float
) -> Counter[State]:
    """The number of peers in each state, as `judge` decides for each, but in bulk for most of them.

    `last_handshake` has a value for each peer of all blocks; it and `now` are in UNIX seconds.
    """
    counts: Counter[State] = Counter()
    at = 0
    for block in blocks:
        end = at + len(block.keys)
        part = last_handshake[at:end]
        never = part.count(0)
        quiet = now - min(block.windows)
        if never == len(part):
            counts[State.NEVER] += never
        elif not never and min(part) >= quiet and max(part) <= now + SKEW_TOLERANCE:
            counts[State.ACTIVE] += len(part)
        else:
            ahead = sum(then > now + SKEW_TOLERANCE for then in part)
            late = [
                then != 0 and now - then > window for then, window in zip(part, block.windows, strict=True)
            ]
            present = {State.NEVER: never, State.CLOCK_SKEW: ahead}
            present[State.ACTIVE] = len(part) - never - ahead - sum(late)
            counts.update({state: number for state, number in present.items() if number})
            kinds = Counter(
                compress(zip(block.expected, observed.all_unanswered(at, end), strict=True), late)
            )
            for (expected, unanswered), number in kinds.items():
                counts[judge(LATE, now, 0, expected, unanswered=unanswered)] += number
        at = end
    return counts
