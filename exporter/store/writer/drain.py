"""Moves frames from the spool into the database, for as long as the daemon runs."""

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

FETCH = 8  # frames fetched from the spool at a time
REPORT_INTERVAL = 10.0  # seconds between two log lines about a replay
ATTEMPTS = 5  # to write a frame that the database rejects; after these the frame is left out
DATABASE_DOWN = DatabaseUnreachable, DatabaseRefused, EmbeddedFailed, SchemaMismatch
# Classes of SQLSTATE that are caused by the values of a frame: cardinality, data, violated constraint.
FRAME_ERRORS = {"21", "22", "23"}
INVALID_PARAMETER = "22023"  # in class 22, but also the error for a role that does not exist

_log = logging.getLogger(__name__)


class Unwritable(StoreError):
    """The database works, but rejects this frame."""


class Drain:
    """Writes the frames in the spool into the database, in order, and removes each from the spool.

    When the database fails, the drain tries again at growing intervals; the failure is logged once, and so is
    the recovery. A frame that can never be written is left out: this is logged, and the next snapshot records
    a gap. `gateway` is the gateway's present name: spooled frames under a former name that belongs to another
    installation by now are written under the present name.
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
        self._former_names = set[str]()  # gateway names that belong to another installation
        self._wake_up = asyncio.Event()
        self._connection: Connection | None = None
        self._rejected = (0, 0)  # id of the frame that the database rejected last, number of attempts
        self._last_written = 0.0  # instant of the last frame written; UNIX seconds, 0 = none
        self._failing = set[str]()  # reasons of failures since the last frame written
        self._replay: Work | None = None
        self._next_report = 0.0

    def wake(self) -> None:
        """The spool has new frames. Call this in the event loop of `run`."""
        self._wake_up.set()

    async def run(self) -> None:
        """Runs until it is cancelled or the spool is broken."""
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
        """Writes frames until the spool is empty or one fails; then waits."""
        self._wake_up.clear()
        try:
            while entries := await self._in_thread(self._spool.first, FETCH):
                self._begin_replay()
                for entry in entries:
                    await self._move(entry)
        except SpoolBroken:
            raise
        except StoreError as error:
            await self._fail(error)
            await asyncio.sleep(self._backoff.next())
        else:
            await self._wake_up.wait()

    async def _move(self, entry: SpooledFrame) -> None:
        """Writes one frame and removes it from the spool, or leaves it out."""
        try:
            if not entry.intact:
                raise FrameCorrupt(f"frame {entry.sequence} of run {entry.run} is damaged")
            frame = await self._in_thread(decode, entry.data)
            await self._write(entry, frame)
        except FrameCorrupt as error:
            await self._leave_out(entry, error)
        except Unwritable as error:
            if self._rejected != (entry.id, ATTEMPTS):
                raise
            await self._leave_out(entry, error)
        else:
            await self._in_thread(self._spool.confirm_through, entry.id)
            self._last_written = self._recording.recorded_at = entry.taken_at
        self._recording.show_spool(self._spool)
        self._report_replay()

    async def _write(self, entry: SpooledFrame, frame: Frame) -> None:
        async def keys() -> Mapping[str, Sequence[str]]:
            return await self._in_thread(self._spool.keys_before, entry)

        connection = await self._connected()
        start = time.monotonic()
        try:
            is_new = await self._write_under_our_name(connection, frame, keys)
        except StoreError:
            raise
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            if not _is_frame_error(error):
                raise self._access.explain(error) from error
            raise self._rejection(entry, error) from error
        except (ValueError, LookupError, ArithmeticError, TypeError) as error:
            raise self._rejection(entry, error) from error
        if is_new:
            self._recording.write_duration = time.monotonic() - start
            self._recording.snapshots["recorded"] += 1
        self._recover()

    async def _write_under_our_name(self, connection: Connection, frame: Frame, keys: Keys) -> bool:
        """An administrator may have renamed this gateway because another installation has its former name.
        Frames from before are written under the present name; otherwise they would wait forever."""
        if frame.gateway not in self._former_names:
            try:
                return await self._writer.write(connection, frame, keys)
            except GatewayClaimed:
                if self._gateway in ("", frame.gateway):
                    raise
                self._former_names.add(frame.gateway)
        return await self._writer.write(connection, replace(frame, gateway=self._gateway), keys)

    def _rejection(self, entry: SpooledFrame, error: Exception) -> Unwritable:
        """Counts the attempt, and returns the error."""
        rejected, attempts = self._rejected
        self._rejected = entry.id, attempts + 1 if rejected == entry.id else 1
        cause = f"{type(error).__name__}: {error}"
        return Unwritable(f"frame {entry.sequence} of run {entry.run} cannot be written: {cause}")

    async def _leave_out(self, entry: SpooledFrame, error: StoreError) -> None:
        gap = await self._in_thread(self._spool.discard, entry.id, self._last_written)
        self._writer.skip()
        self._recording.gaps[gap.reason] += 1
        self._recording.snapshots["lost"] += 1
        _log.error("a snapshot is lost, and the next snapshot records the gap: %s", error)

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
        """Logs the error, once for each reason until the next frame is written."""
        recording, reason = self._recording, error.reason
        self._writer.forget()
        await self._disconnect()
        if isinstance(error, DATABASE_DOWN):
            recording.database_up = False
        recording.schema = str(error) if isinstance(error, SchemaMismatch) else ""
        recording.database_errors[reason] += 1
        recording.failing[reason] = str(error)
        if reason not in self._failing:
            _log.error("snapshots stay in the spool: %s", error)
        self._failing.add(reason)

    def _recover(self) -> None:
        self._backoff.reset()
        if not self._failing:
            return
        for reason in self._failing:
            self._recording.failing.pop(reason, None)
        self._failing.clear()
        self._recording.schema = ""
        _log.info("snapshots reach the database again; %d wait in the spool", self._spool.depth)

    def _begin_replay(self) -> None:
        if self._replay is None and self._spool.depth > 1:
            self._replay = self._recording.work["replay"] = Work(0, self._spool.depth)
            self._next_report = time.monotonic() + REPORT_INTERVAL

    def _report_replay(self) -> None:
        """Updates the progress in `work`, and logs it at intervals."""
        work, left = self._replay, self._spool.depth
        if work is None:
            return
        work.done += 1
        work.goal = work.done + left
        if not left:
            _log.info("%d snapshots that waited in the spool are in the database", work.done)
            self._replay = None
            del self._recording.work["replay"]
        elif time.monotonic() >= self._next_report:
            _log.info("%d of %d snapshots that waited in the spool are in the database", work.done, work.goal)
            self._next_report = time.monotonic() + REPORT_INTERVAL

    async def _in_thread(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        call = functools.partial(work, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)


def _is_frame_error(error: Exception) -> bool:
    """Whether the values of the frame caused the error: the database would accept another frame."""
    if isinstance(error, asyncpg.PostgresError):
        sqlstate = error.sqlstate or ""
        return sqlstate[:2] in FRAME_ERRORS and sqlstate != INVALID_PARAMETER
    return isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)  # an invalid argument
