"""Takes a snapshot in every interval while the daemon runs."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from exporter.model import Snapshot
from exporter.recording import RecordingState
from exporter.store.capture.spooler import LATE, READ_FAILED, Spooler
from exporter.store.errors import SpoolBroken, SpoolFull
from exporter.store.snapshot.frame import Frame
from exporter.store.spool.queue import Spool

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)


def boot_clock() -> float:
    """Seconds since the host started, including the time in which it was suspended: that time is a gap."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Recorder:
    """Takes snapshots at `start + n * interval`, without drift. A snapshot that is not finished when the next
    one is due causes that one to be skipped. `kept` is called after each snapshot that is in the spool.
    `recording` gets the results; the log says when failures start and end.
    """

    def __init__(
        self,
        interval: float,
        read: Callable[[], Awaitable[Snapshot]],
        spooler: Spooler,
        spool: Spool,
        recording: RecordingState,
        kept: Callable[[], None],
    ) -> None:
        self._interval = interval
        self._read = read
        self._spooler = spooler
        self._spool = spool
        self._recording = recording
        self._kept = kept
        self._lost = Counter[str]()  # snapshots by reason, while the reason lasts
        recording.interval = interval
        recording.show_spool(spool)

    async def run(self) -> None:
        """Runs until it is cancelled or the spool is broken. Cancelling waits for a frame that is being
        written."""
        self._start, self._tick = boot_clock(), -1
        with ThreadPoolExecutor(1, "recorder") as pool:
            self._pool = pool
            try:
                while True:
                    await self._snapshot()
                    due = max(self._tick, self._passed()) + 1
                    await asyncio.sleep(max(0.0, self._start + due * self._interval - boot_clock()))
            except SpoolBroken as error:
                self._recording.spool_broken = str(error)
                _log.error("recording has stopped: %s", error)

    def _passed(self) -> int:
        """The number of the last interval that began."""
        return int((boot_clock() - self._start) / self._interval)

    async def _count_ticks(self) -> None:
        """Notes the snapshots that were skipped before the reading that just ended."""
        tick = max(self._tick + 1, self._passed())
        late, self._tick = tick - self._tick - 1, tick
        if late:
            problem = f"snapshots were skipped ({late}): one took too long, or the host was suspended"
            await self._note_gap(LATE, late, problem)
        else:
            self._note_recovery(LATE, "snapshots are on time again")

    async def _snapshot(self) -> None:
        try:
            snapshot = await self._read()
        except Exception as error:  # any error: the next reading may succeed
            await self._count_ticks()
            await self._note_gap(
                READ_FAILED, 1, f"a snapshot could not be read: {error or type(error).__name__}"
            )
            return
        await self._count_ticks()
        self._note_recovery(READ_FAILED, "snapshots can be read again")
        read_at = time.monotonic()
        try:
            frame = await self._in_thread(self._spooler.append, snapshot)
        except SpoolFull as error:
            self._note_failure(SpoolFull.reason, 1, f"snapshots are being lost: {error}")
            self._recording.spool_full = True
        else:
            self._recording.take_duration = time.monotonic() - read_at
            self._note_kept(frame)
        self._recording.show_spool(self._spool)

    def _note_kept(self, frame: Frame) -> None:
        self._note_recovery(SpoolFull.reason, "the spool keeps snapshots again")
        self._recording.spool_full = False
        self._recording.snapshots["spooled"] += 1
        self._recording.spooled_at = frame.taken_at
        self._kept()

    async def _note_gap(self, reason: str, snapshots: int, problem: str) -> None:
        """Notes that snapshots are missing, for the log, for metrics and for the next frame."""
        self._note_failure(reason, snapshots, problem)
        await self._in_thread(self._spooler.note_gap, reason, snapshots)

    def _note_failure(self, reason: str, snapshots: int, problem: str) -> None:
        """Counts the missing snapshots, and logs the problem if it is new."""
        self._recording.snapshots["failed" if reason == READ_FAILED else "lost"] += snapshots
        if reason not in self._lost:
            _log.error("%s", problem)
        self._lost[reason] += snapshots

    def _note_recovery(self, reason: str, recovery: str) -> None:
        """Logs the end of a problem."""
        lost = self._lost.pop(reason, 0)
        if lost:
            _log.info("%s; %d were lost", recovery, lost)

    async def _in_thread(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        call = functools.partial(work, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)
