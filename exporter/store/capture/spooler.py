"""One snapshot after the other into the spool; what could not be kept, the next frame tells."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from exporter.directory.entry import Directory
from exporter.model import Snapshot
from exporter.store.errors import SpoolBroken, SpoolFull
from exporter.store.snapshot.codec import encode
from exporter.store.snapshot.frame import Frame, Lost
from exporter.store.snapshot.stamp import Stamp
from exporter.store.snapshot.tracker import Tracker
from exporter.store.spool.queue import Spool

CLOCK_STEP = 0.1  # seconds that instants are ahead of the clock before it counts as set back

# Why there is a gap; the reasons of errors come besides.
NOT_RUNNING = "not-running"
READ_FAILED = "read-failed"
LATE = "late"  # the snapshot before took longer than the interval, or the host slept
CLOCK = "clock"


_log = logging.getLogger(__name__)


class Watch(Protocol):
    """The directory, and how often it was replaced."""

    @property
    def current(self) -> Directory: ...
    @property
    def generation(self) -> int: ...


class Spooler:
    """Calls block, and are made one at a time. `gaps` counts them by reason. `stamp` goes on from the spool's
    last instant."""

    def __init__(
        self,
        interval: float,
        watch: Watch,
        tracker: Tracker,
        stamp: Stamp,
        spool: Spool,
        gaps: Counter[str],
        encode: Callable[[Frame], bytes] = encode,
    ) -> None:
        self._interval = interval
        self._watch = watch
        self._tracker = tracker
        self._stamp = stamp
        self._encode = encode
        self._spool = spool
        self._gaps = gaps
        self._before = spool.last_instant  # of the daemon's run before this one; 0 = none is known, or told
        self._stood_at = 0.0  # the last instant before the clock was set back; 0 = it is right
        if spool.set_aside:
            gaps[SpoolBroken.reason] += 1

    def keep(self, snapshot: Snapshot) -> Frame:
        """The snapshot's frame, which is on the disk. Raises SpoolFull, after noting it, and SpoolBroken."""
        self._note_absence(snapshot.taken_at)
        instant = self._stamp.next(snapshot.taken_at)
        self._note_clock(instant)
        generation = (
            self._watch.generation
        )  # first: `current` may then be newer than it says, and never older
        frame = self._tracker.take(
            snapshot,
            self._watch.current,
            generation,
            instant,
            [_told(one, instant) for one in self._spool.lost],
            self._spool.wants_keyframe,
        )
        try:
            self._spool.append(self._encode(frame), frame)
        except SpoolFull:
            self.lose(SpoolFull.reason, 1)
            raise
        self._tracker.confirm(frame)
        return frame

    def lose(self, reason: str, snapshots: int) -> None:
        """Notes that so many snapshots since the last kept one are not in the spool. Raises SpoolBroken."""
        if not any(one.reason == reason and not one.ended_at for one in self._spool.lost):
            self._gaps[reason] += 1
        self._spool.lose(Lost(self._spool.last_instant or time.time(), 0.0, reason, snapshots))

    def _note_absence(self, taken_at: float) -> None:
        """With the first snapshot of this run: those since the run before, but for those that are noted."""
        elapsed, known = taken_at - self._before, self._before > 0
        self._before = 0.0
        if known and elapsed > 1.5 * self._interval:
            noted = sum(
                one.snapshots for one in self._spool.lost if one.reason in _SINCE and not one.ended_at
            )
            absent = round(elapsed / self._interval) - 1 - noted
            if absent > 0:
                self.lose(NOT_RUNNING, absent)

    def _note_clock(self, instant: float) -> None:
        """With the clock set back no snapshot is lost, but instants do not say when they were taken."""
        back = self._stamp.went_back or self._stamp.behind
        if self._stamp.went_back:
            self._gaps[CLOCK] += 1
            self._stood_at = 0.0
            self._spool.lose(Lost(instant, 0.0, CLOCK, 0))
            _log.error("the clock was set back by %.0f s: recorded instants are, too", back)
        elif back > CLOCK_STEP and not self._stood_at:
            self._gaps[CLOCK] += 1
            self._stood_at = self._spool.last_instant or instant
            _log.error("the clock was set back by %.1f s: recorded instants stand still", back)
        elif back <= CLOCK_STEP and self._stood_at:
            self._spool.lose(Lost(self._stood_at, 0.0, CLOCK, 0))
            self._stood_at = 0.0
            _log.info("the clock has caught up with the recorded instants")


def _told(lost: Lost, instant: float) -> Lost:
    """As the frame of this instant tells it. It lies before the loss when the clock was set back by days."""
    return replace(lost, started_at=min(lost.started_at, instant), ended_at=lost.ended_at or instant)


# What was to be taken after the last snapshot that was kept.
_SINCE = frozenset((NOT_RUNNING, READ_FAILED, LATE, SpoolFull.reason))
