"""From the spool into the database, for as long as the daemon runs."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import ParamSpec, TypeVar

import asyncpg

from exporter.recording import RecordingState, Work
from exporter.store.backoff import Backoff
from exporter.store.database.connection import Connection, close
from exporter.store.database.opener import Opener
from exporter.store.errors import (
    DatabaseRefused,
    DatabaseUnreachable,
    EmbeddedFailed,
    FrameCorrupt,
    GatewayClaimed,
    SchemaMismatch,
    SpoolBroken,
    StoreError,
)
from exporter.store.snapshot.codec import decode
from exporter.store.snapshot.frame import Frame
from exporter.store.spool.queue import Spool, SpooledFrame
from exporter.store.writer.writer import Keys, Writer

P = ParamSpec("P")
T = TypeVar("T")

AHEAD = 8  # frames that are fetched from the spool at once
REPORT = 10.0  # seconds between two lines about a replay
TRIES = 5  # of a frame that the database will not take; then it is left out
DOWN = DatabaseUnreachable, DatabaseRefused, EmbeddedFailed, SchemaMismatch
UNWRITABLE = {"21", "22", "23"}  # classes of SQLSTATE: cardinality, data, a broken constraint

_log = logging.getLogger(__name__)


class Unwritable(StoreError):
    """The database is well, and will not take this frame."""


class Drain:
    """Writes what is in the spool, in order, and takes it out. Losing the database is told once, and so is
    its return; in between it tries again, at growing intervals. A frame that can never be written is left
    out after some tries: that is logged, and told by a later frame as a gap.

    `gateway`: its present name. Frames of an earlier one that another installation has are written under it.
    """

    def __init__(
        self,
        access: Opener,
        spool: Spool,
        writer: Writer,
        recording: RecordingState,
        backoff: Backoff | None = None,
        gateway: str = "",
    ) -> None:
        self._access = access
        self._spool = spool
        self._writer = writer
        self._recording = recording
        self._backoff = backoff or Backoff()
        self._gateway = gateway
        self._others = set[str]()  # names of gateways that are not ours
        self._more = asyncio.Event()
        self._connection: Connection | None = None
        self._refused = (0, 0)  # a frame that the database did not take: its id, and how often
        self._last_instant = 0.0  # of the last frame that was written; UNIX seconds, 0 = none was
        self._ill = set[str]()  # reasons, until a frame is written
        self._replay: Work | None = None
        self._report_at = 0.0

    def wake(self) -> None:
        """There is more in the spool. To be called in the event loop of `run`."""
        self._more.set()

    async def run(self) -> None:
        """Until it is cancelled, or the spool is broken."""
        with ThreadPoolExecutor(1, "drain") as pool:
            self._pool = pool
            try:
                while True:
                    await self._round()
            except SpoolBroken as error:
                self._recording.spool_broken = str(error)
                _log.error("snapshots do not reach the database any more: %s", error)
            finally:
                await self._disconnect()

    async def _round(self) -> None:
        """Everything that is in the spool, or as much of it as goes well; then waits."""
        self._more.clear()
        try:
            while entries := await self._in_thread(self._spool.first, AHEAD):
                self._begin_replay()
                for entry in entries:
                    await self._pass_on(entry)
        except SpoolBroken:
            raise
        except StoreError as error:
            await self._fail(error)
            await asyncio.sleep(self._backoff.next())
        else:
            await self._more.wait()

    async def _pass_on(self, entry: SpooledFrame) -> None:
        """One frame into the database and out of the spool; or just out of it."""
        try:
            if not entry.intact:
                raise FrameCorrupt(f"frame {entry.sequence} of {entry.run} is not what was written")
            frame = await self._in_thread(decode, entry.data)
            await self._write(entry, frame)
        except FrameCorrupt as error:
            await self._leave_out(entry, error)
        except Unwritable as error:
            if self._refused != (entry.id, TRIES):
                raise
            await self._leave_out(entry, error)
        else:
            await self._in_thread(self._spool.confirm_through, entry.id)
            self._last_instant = self._recording.recorded_at = entry.taken_at
        self._recording.show_spool(self._spool)
        self._report()

    async def _write(self, entry: SpooledFrame, frame: Frame) -> None:
        async def keys() -> Mapping[str, Sequence[str]]:
            return await self._in_thread(self._spool.keys_before, entry)

        connection = await self._connected()
        start = time.monotonic()
        try:
            is_new = await self._write_as_ours(connection, frame, keys)
        except StoreError:
            raise
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            if not _is_of_the_frame(error):
                raise self._access.explain(error) from error
            raise self._unwritable(entry, error) from error
        except (ValueError, LookupError, ArithmeticError, TypeError) as error:
            raise self._unwritable(entry, error) from error
        if is_new:
            self._recording.write_duration = time.monotonic() - start
            self._recording.snapshots["recorded"] += 1
        self._recover()

    async def _write_as_ours(self, connection: Connection, frame: Frame, keys: Keys) -> bool:
        """Who was told to take another name has done so: what waits must not wait for ever."""
        if frame.gateway not in self._others:
            try:
                return await self._writer.write(connection, frame, keys)
            except GatewayClaimed:
                if self._gateway in ("", frame.gateway):
                    raise
                self._others.add(frame.gateway)
        return await self._writer.write(connection, replace(frame, gateway=self._gateway), keys)

    def _unwritable(self, entry: SpooledFrame, error: Exception) -> Unwritable:
        last, times = self._refused
        self._refused = entry.id, times + 1 if last == entry.id else 1
        what = f"{type(error).__name__}: {error}"
        return Unwritable(f"frame {entry.sequence} of {entry.run} cannot be written: {what}")

    async def _leave_out(self, entry: SpooledFrame, error: StoreError) -> None:
        lost = await self._in_thread(self._spool.discard, entry.id, self._last_instant)
        self._writer.skip()
        self._recording.gaps[lost.reason] += 1
        self._recording.snapshots["lost"] += 1
        _log.error("a snapshot is lost, and the next that is taken tells of the gap: %s", error)

    async def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = await self._access.open()
            self._recording.database_up = True
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None or connection.is_closed():
            return
        if connection.is_in_transaction():
            connection.terminate()
        else:
            await close(connection)

    async def _fail(self, error: StoreError) -> None:
        """Tells it once for each reason, until it is well again."""
        recording, reason = self._recording, error.reason
        self._writer.forget()
        await self._disconnect()
        if isinstance(error, DOWN):
            recording.database_up = False
        recording.schema = str(error) if isinstance(error, SchemaMismatch) else ""
        recording.database_errors[reason] += 1
        recording.failing[reason] = str(error)
        if reason not in self._ill:
            _log.error("snapshots stay in the spool: %s", error)
        self._ill.add(reason)

    def _recover(self) -> None:
        self._backoff.reset()
        if not self._ill:
            return
        for reason in self._ill:
            self._recording.failing.pop(reason, None)
        self._ill.clear()
        self._recording.schema = ""
        _log.info("snapshots reach the database again; %d wait in the spool", self._spool.depth)

    def _begin_replay(self) -> None:
        if self._replay is None and self._spool.depth > 1:
            self._replay = self._recording.work["replay"] = Work(0, self._spool.depth)
            self._report_at = time.monotonic() + REPORT

    def _report(self) -> None:
        """How far a replay has come: in `work` always, in the log now and then."""
        work, left = self._replay, self._spool.depth
        if work is None:
            return
        work.done += 1
        work.goal = work.done + left
        if not left:
            _log.info("%d snapshots that waited in the spool are in the database", work.done)
            self._replay = None
            del self._recording.work["replay"]
        elif time.monotonic() >= self._report_at:
            _log.info("%d of %d snapshots that waited in the spool are in the database", work.done, work.goal)
            self._report_at = time.monotonic() + REPORT

    async def _in_thread(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        call = functools.partial(work, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)


def _is_of_the_frame(error: Exception) -> bool:
    """Would the database take another frame?"""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in UNWRITABLE and error.sqlstate != "22023"
    return isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)  # of an argument
