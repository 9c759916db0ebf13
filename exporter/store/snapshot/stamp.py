"""Instants for snapshots: whole milliseconds, each later than the one before."""

from __future__ import annotations

from exporter.instants import DAY_MILLISECONDS


class Stamp:
    """Gives instants after `last`, both in UNIX seconds.

    While the wall clock is behind, by up to a day, instants stand still: a millisecond for each, until it has
    caught up. A clock that is further behind is believed, and instants go back once.
    """

    def __init__(self, last: float = 0.0) -> None:
        self._last = round(last * 1000)
        self.behind = 0.0  # seconds: so far was the wall clock behind the last instant that was given
        self.went_back = 0.0  # seconds: so much earlier is the last instant than the one before it

    def next(self, wall: float) -> float:
        """The instant of a snapshot that was taken when the wall clock showed `wall`."""
        now = round(wall * 1000)
        before, ahead = self._last, self._last - now
        self._last = now if not 0 <= ahead <= DAY_MILLISECONDS else before + 1
        self.behind = max(0, self._last - now) / 1000
        self.went_back = max(0, before - self._last) / 1000
        return self._last / 1000
