"""Every hour: what is to be done every day, by whichever gateway of a database comes first."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from typing import Protocol

import asyncpg

from exporter.config import RecordingSettings as Settings
from exporter.instants import DAY_SECONDS
from exporter.recording import RecordingState, Work
from exporter.store.backoff import Backoff
from exporter.store.database.connection import Connection, close
from exporter.store.errors import DatabaseRefused, StoreError
from exporter.store.maintenance.maintain import maintain
from exporter.store.maintenance.partitions import make_ahead
from exporter.store.progress import Progress

EVERY = 3600.0  # seconds
REASON = "maintenance"

_log = logging.getLogger(__name__)


class Access(Protocol):
    """The way to the database."""

    async def open(self) -> Connection:
        """A collector's connection. Raises StoreError."""

    async def open_as_owner(self) -> Connection:
        """The owner's. Raises StoreError."""

    def explain(self, error: BaseException) -> StoreError:
        """What an error of the driver means."""


class MaintenanceSchedule:
    """Makes partitions ahead, compacts days and drops them, for as long as the daemon runs. A login that is
    no member of argus_owner makes partitions, and leaves the rest to one that is."""

    def __init__(self, access: Access, settings: Settings, recording: RecordingState) -> None:
        self._access = access
        self._raw_days = math.ceil(settings.keep_raw / DAY_SECONDS)
        self._history_days = math.ceil(settings.keep_history / DAY_SECONDS)
        self._recording = recording
        self._backoff = Backoff(first=30.0, most=EVERY)
        self._limited = False

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                connection = await self._open()
                try:
                    await self._work(connection)
                finally:
                    await close(connection)
            except StoreError:  # no connection: that is told by whoever writes snapshots
                await asyncio.sleep(self._backoff.next())
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                self._fail(self._access.explain(error))
                await asyncio.sleep(self._backoff.next())
            else:
                self._recover()
                await asyncio.sleep(EVERY * random.uniform(0.9, 1.1))  # noqa: S311 - so that they spread

    async def _open(self) -> Connection:
        """The owner's connection, or a collector's where the login is no owner."""
        try:
            connection = await self._access.open_as_owner()
        except DatabaseRefused as error:
            connection = await self._access.open()  # the reason may be another than the missing right
            self._tell_limit(error)
            self._limited = True
        else:
            self._limited = False
        return connection

    async def _work(self, connection: Connection) -> None:
        if self._limited:
            await make_ahead(connection, self._recording)
            return
        work = self._recording.work["maintain"] = Work()
        try:
            await maintain(
                connection,
                raw_days=self._raw_days,
                history_days=self._history_days,
                progress=Progress(work, _log.info),
                recording=self._recording,
                wait=False,
            )
        finally:
            del self._recording.work["maintain"]

    def _tell_limit(self, error: StoreError) -> None:
        if not self._limited:
            _log.warning(
                "days are neither compacted nor dropped from here: %s. Grant it argus_owner, or run "
                "`argus-wg maintain` every day with a login that has it",
                error,
            )

    def _fail(self, error: StoreError) -> None:
        self._recording.database_errors[REASON] += 1
        if REASON not in self._recording.failing:
            _log.error("days are not made ahead, compacted or dropped: %s", error)
        self._recording.failing[REASON] = str(error)

    def _recover(self) -> None:
        self._backoff.reset()
        if self._recording.failing.pop(REASON, None):
            _log.info("days are made ahead, compacted and dropped again")
