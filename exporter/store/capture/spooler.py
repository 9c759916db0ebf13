"""Writes each snapshot to the spool as a frame. The next frame reports the snapshots that are missing."""

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
from exporter.store.snapshot.clock import MonotoneClock
from exporter.store.snapshot.codec import encode
from exporter.store.snapshot.frame import Frame, Gap
from exporter.store.snapshot.tracker import Tracker
from exporter.store.spool.queue import Spool

CLOCK_STEP = 0.1  # seconds: a wall clock that is further behind the recorded instants was set back

# Reasons of gaps, beside those of errors.
NOT_RUNNING = "not-running"
READ_FAILED = "read-failed"
LATE = "late"  # the previous snapshot took longer than the interval, or the host was suspended
CLOCK = "clock"


_log = logging.getLogger(__name__)


class Watch(Protocol):
    """The directory, and the number of its replacements."""

    @property
    def current(self) -> Directory: ...
    @property
    def generation(self) -> int: ...


class Spooler:
    """Makes the frame of each snapshot, and appends it to the spool.

    Not thread-safe; calls block on the disk. `clock` continues from the last instant in the spool.
    `gap_counts` counts the gaps by reason.
    """

    def __init__(
        self,
        interval: float,
        watch: Watch,
        tracker: Tracker,
        clock: MonotoneClock,
        spool: Spool,
        gap_counts: Counter[str],
        encode: Callable[[Frame], bytes] = encode,
    ) -> None:
        self._interval = interval
        self._watch = watch
        self._tracker = tracker
        self._clock = clock
        self._encode = encode
        self._spool = spool
        self._gap_counts = gap_counts
        # The last instant of the previous run of the daemon; 0 = there was none, or the gap is already noted.
        self._previous_run_end = spool.last_instant
        self._clock_gap_start = 0.0  # the last instant before the clock was set back; 0 = it was not
        if spool.set_aside:
            gap_counts[SpoolBroken.reason] += 1

    def append(self, snapshot: Snapshot) -> Frame:
        """Writes a snapshot to the disk, and returns its frame. Raises SpoolBroken, and SpoolFull after
        noting the gap."""
        self._note_absence(snapshot.taken_at)
        instant = self._clock.next(snapshot.taken_at)
        self._note_clock(instant)
        generation = self._watch.generation  # before `current`, which must not be older than its generation
        frame = self._tracker.take(
            snapshot,
            self._watch.current,
            generation,
            instant,
            [_reported(gap, instant) for gap in self._spool.gaps],
            self._spool.wants_keyframe,
        )
        try:
            self._spool.append(self._encode(frame), frame)
        except SpoolFull:
            self.note_gap(SpoolFull.reason, 1)
            raise
        self._tracker.confirm(frame)
        return frame

    def note_gap(self, reason: str, snapshots: int) -> None:
        """Notes that this number of snapshots after the last one in the spool are missing. Raises
        SpoolBroken."""
        if not any(gap.reason == reason and not gap.ended_at for gap in self._spool.gaps):
            self._gap_counts[reason] += 1
        self._spool.note_gap(Gap(self._spool.last_instant or time.time(), 0.0, reason, snapshots))

    def _note_absence(self, taken_at: float) -> None:
        """Notes, at the first snapshot of a run, the snapshots that are missing since the previous run."""
        elapsed, known = taken_at - self._previous_run_end, self._previous_run_end > 0
        self._previous_run_end = 0.0
        if known and elapsed > 1.5 * self._interval:
            noted = sum(
                gap.snapshots for gap in self._spool.gaps if gap.reason in _SINCE and not gap.ended_at
            )
            absent = round(elapsed / self._interval) - 1 - noted
            if absent > 0:
                self.note_gap(NOT_RUNNING, absent)

    def _note_clock(self, instant: float) -> None:
        """Notes that the clock was set back: no snapshot is lost, but the instants are inexact."""
        back = self._clock.went_back or self._clock.behind
        if self._clock.went_back:
            self._gap_counts[CLOCK] += 1
            self._clock_gap_start = 0.0
            self._spool.note_gap(Gap(instant, 0.0, CLOCK, 0))
            _log.error("the clock was set back by %.0f s, and so are the recorded instants", back)
        elif back > CLOCK_STEP and not self._clock_gap_start:
            self._gap_counts[CLOCK] += 1
            self._clock_gap_start = self._spool.last_instant or instant
            _log.error(
                "the clock was set back by %.1f s: recorded instants do not advance until it has caught up",
                back,
            )
        elif back <= CLOCK_STEP and self._clock_gap_start:
            self._spool.note_gap(Gap(self._clock_gap_start, 0.0, CLOCK, 0))
            self._clock_gap_start = 0.0
            _log.info("the clock has caught up with the recorded instants")


def _reported(gap: Gap, instant: float) -> Gap:
    """A gap as the frame of this instant reports it. The instant is earlier than the gap after the clock was
    set back by days."""
    return replace(gap, started_at=min(gap.started_at, instant), ended_at=gap.ended_at or instant)


# Reasons of gaps that begin at the last snapshot in the spool.
_SINCE = frozenset((NOT_RUNNING, READ_FAILED, LATE, SpoolFull.reason))
