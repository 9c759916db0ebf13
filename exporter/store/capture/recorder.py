"""A snapshot every so many seconds, for as long as the daemon runs: the schedule, and how it goes."""

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
    """Seconds since the host started, those in which it slept included: a sleep is a gap, and told."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Recorder:
    """Takes a snapshot at `start + n * interval`, however long each takes: there is no drift, and a snapshot
    that is not done when the next is due is never followed by two at once. `kept` is called after each that
    is in the spool. `recording` tells how it goes, the log when it fails and when it is well again.
    """

    def __init__(
        self,
        interval: float,
        read: Callable[[], Awaitable[Snapshot]],
        keeper: Spooler,
        spool: Spool,
        recording: RecordingState,
        kept: Callable[[], None],
    ) -> None:
        self._interval = interval
        self._read = read
        self._keeper = keeper
        self._spool = spool
        self._recording = recording
        self._kept = kept
        self._lost = Counter[str]()  # by reason, while it lasts
        recording.interval = interval
        recording.show_spool(spool)

    async def run(self) -> None:
        """Until it is cancelled, which waits for a frame that is being written, or the spool is broken."""
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
                _log.error("nothing is recorded any more: %s", error)

    def _passed(self) -> int:
        """The number of the last tick."""
        return int((boot_clock() - self._start) / self._interval)

    async def _count_ticks(self) -> None:
        """Up to the reading that just ended, before it is kept: it tells what it came too late for."""
        tick = max(self._tick + 1, self._passed())
        late, self._tick = tick - self._tick - 1, tick
        if late:
            problem = f"snapshots are left out ({late}): one took too long, or the host slept"
            await self._lose(LATE, late, problem)
        else:
            self._well(LATE, "snapshots are on time again")

    async def _snapshot(self) -> None:
        try:
            snapshot = await self._read()
        except Exception as error:  # whatever it is, the next one may be well
            await self._count_ticks()
            await self._lose(READ_FAILED, 1, f"a snapshot could not be read: {error or type(error).__name__}")
            return
        await self._count_ticks()
        self._well(READ_FAILED, "snapshots can be read again")
        read_at = time.monotonic()
        try:
            frame = await self._in_thread(self._keeper.keep, snapshot)
        except SpoolFull as error:
            self._ill(SpoolFull.reason, 1, f"snapshots are being lost: {error}")
            self._recording.spool_full = True
        else:
            self._recording.take_duration = time.monotonic() - read_at
            self._show(frame)
        self._recording.show_spool(self._spool)

    def _show(self, frame: Frame) -> None:
        self._well(SpoolFull.reason, "the spool keeps snapshots again")
        self._recording.spool_full = False
        self._recording.snapshots["spooled"] += 1
        self._recording.spooled_at = frame.taken_at
        self._kept()

    async def _lose(self, reason: str, snapshots: int, problem: str) -> None:
        self._ill(reason, snapshots, problem)
        await self._in_thread(self._keeper.lose, reason, snapshots)

    def _ill(self, reason: str, snapshots: int, problem: str) -> None:
        self._recording.snapshots["failed" if reason == READ_FAILED else "lost"] += snapshots
        if reason not in self._lost:
            _log.error("%s", problem)
        self._lost[reason] += snapshots

    def _well(self, reason: str, how: str) -> None:
        lost = self._lost.pop(reason, 0)
        if lost:
            _log.info("%s; %d were lost", how, lost)

    async def _in_thread(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        call = functools.partial(work, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)
