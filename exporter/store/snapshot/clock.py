"""A clock for snapshots: instants in whole milliseconds, each later than the previous one."""

from __future__ import annotations

from exporter.instants import DAY_MILLISECONDS


class MonotoneClock:
    """Gives instants after `last`, in UNIX seconds.

    While the wall clock is behind the last instant by up to a day, instants advance by one millisecond per
    snapshot, until the wall clock has caught up. If the wall clock is further behind, its time is used, and
    the next instant is earlier than the previous one.
    """

    def __init__(self, last: float = 0.0) -> None:
        self._last = round(last * 1000)
        self.behind = 0.0  # seconds by which the wall clock was behind the last instant
        self.went_back = 0.0  # seconds by which the last instant is earlier than the previous one

    def next(self, wall: float) -> float:
        """The instant of a snapshot that was taken when the wall clock showed `wall`."""
        now = round(wall * 1000)
        before, ahead = self._last, self._last - now
        self._last = now if not 0 <= ahead <= DAY_MILLISECONDS else before + 1
        self.behind = max(0, self._last - now) / 1000
        self.went_back = max(0, before - self._last) / 1000
        return self._last / 1000
