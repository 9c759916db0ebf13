"""Connects the parts of the store and runs them on a thread of its own, so that a scrape never waits for
them."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from uuid import uuid4

from exporter.config import Config
from exporter.model import Snapshot
from exporter.recording import RecordingState
from exporter.store.access import DatabaseAccess
from exporter.store.backoff import Backoff
from exporter.store.capture.recorder import Recorder
from exporter.store.capture.spooler import Spooler, Watch
from exporter.store.errors import SpoolBroken
from exporter.store.maintenance.schedule import MaintenanceSchedule
from exporter.store.snapshot.clock import MonotoneClock
from exporter.store.snapshot.tracker import Tracker
from exporter.store.spool.queue import Spool
from exporter.store.writer.drain import Drain
from exporter.store.writer.mirror import InterfaceTotals
from exporter.store.writer.writer import Writer

DEFAULT_ORGANISATION = "default"  # the organisation of a gateway whose configuration names none
KEYFRAME_SECONDS = 3600.0
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
ANSWER = 3.0  # seconds that the server gets to cancel statements when the daemon stops
STOP = 30.0  # seconds, including up to 20 for the private server

_log = logging.getLogger(__name__)


class Service:
    """The running store.

    The constructor may run in any thread; `start` and `stop` must run in the event loop of `read`. The
    constructor raises InputError for wrong database settings. `recording` gets the state of the
    recording, `totals` has the recorded totals of each interface's peers.
    """

    def __init__(
        self,
        settings: Config,
        watch: Watch,
        read: Callable[[], Awaitable[Snapshot]],
        recording: RecordingState,
    ) -> None:
        self._settings = settings
        self._watch = watch
        self._read = read
        self._recording = recording
        self._access = DatabaseAccess(settings.database, settings.state_directory, os.environ, recording)
        self._writer: Writer | None = None
        self._thread = threading.Thread(target=self._main, name="store", daemon=True)
        self._stopping: asyncio.Event | None = None
        self._started = threading.Event()

    @property
    def totals(self) -> Mapping[str, InterfaceTotals]:
        """By interface label; any thread may read it."""
        return self._writer.totals if self._writer else {}

    def start(self) -> None:
        self._callers_loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Stops the thread. The spool keeps its snapshots for the next start."""
        await asyncio.to_thread(self._started.wait)
        if self._stopping:
            self._loop.call_soon_threadsafe(self._stopping.set)
        await asyncio.to_thread(self._thread.join, STOP)

    def _main(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._started.set()
        try:
            make_state_directory(self._settings.state_directory)
            spool = Spool(
                self._settings.state_directory / "spool.sqlite",
                self._settings.recording.spool_megabytes << 20,
            )
        except SpoolBroken as error:
            self._recording.spool_broken = str(error)
            _log.error("nothing is recorded: %s", error)
            await self._stopping.wait()
            return
        with closing(spool):
            await self._record(spool)

    async def _record(self, spool: Spool) -> None:
        writer = self._writer = Writer(spool.installation, socket.gethostname())
        drain = Drain(self._access, spool, writer, self._recording, gateway=self._settings.gateway)
        recorder = Recorder(
            self._settings.recording.interval,
            self._read_in_caller,
            self._spooler(spool),
            spool,
            self._recording,
            drain.wake,
        )
        maintenance = MaintenanceSchedule(self._access, self._settings.recording, self._recording)
        tasks = [asyncio.create_task(self._restarting(each.run)) for each in (recorder, drain, maintenance)]
        assert self._stopping  # noqa: S101 - `_run` made it
        await self._stopping.wait()
        await self._end(tasks)
        await self._access.close()

    async def _end(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        """Cancels the tasks until they have ended, and drops connections to a server that does not answer.

        One cancellation is not enough: an error of a connection that breaks at the same moment replaces it.
        """
        running = set(tasks)
        while running:
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=ANSWER)
            if running:
                self._access.hang_up()

    def _spooler(self, spool: Spool) -> Spooler:
        settings = self._settings
        interval = settings.recording.interval
        tracker = Tracker(
            settings.gateway,
            settings.organisation or DEFAULT_ORGANISATION,
            settings.recording.clearance,
            uuid4(),
            BOOT_ID.read_text().strip(),
            max(1, round(KEYFRAME_SECONDS / interval)),
        )
        clock = MonotoneClock(spool.last_instant)
        return Spooler(interval, self._watch, tracker, clock, spool, self._recording.gaps)

    async def _read_in_caller(self) -> Snapshot:
        """Reads in the event loop that called `start`."""

        async def read() -> Snapshot:
            return await self._read()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(read(), self._callers_loop))

    async def _restarting(self, run: Callable[[], Awaitable[None]]) -> None:
        """Runs a part again after an unexpected error, so that no defect ends the recording for good."""
        backoff, logged = Backoff(), ""
        while True:
            try:
                return await run()
            except Exception as error:
                self._recording.database_errors["internal"] += 1
                if logged != repr(error):
                    logged = repr(error)
                    _log.exception(
                        "recording failed with an unexpected error and is restarted; please report this"
                    )
            await asyncio.sleep(backoff.next())


def make_state_directory(path: Path) -> None:
    """Creates the state directory. Raises SpoolBroken.

    A directory of root can be traversed by others: the private server, which never runs as root, has its own
    directory inside.
    """
    try:
        if path.is_dir():
            return
        path.mkdir(parents=True)
        path.chmod(0o711 if os.geteuid() == 0 else 0o700)
    except OSError as error:
        raise SpoolBroken(
            f"{path}: {error.strerror}",
            "name a state_directory that this user may write to, or set recording.enabled: false",
        ) from error
