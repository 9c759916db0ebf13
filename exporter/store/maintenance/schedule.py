"""Runs the daily maintenance: every gateway tries once an hour, one gateway at a time."""

from __future__ import annotations

import asyncio
import logging
import math
import random

import asyncpg

from exporter.config import RecordingSettings as Settings
from exporter.instants import DAY_SECONDS
from exporter.recording import RecordingState, Work
from exporter.store.backoff import Backoff
from exporter.store.database.connection import Connection, close
from exporter.store.database.opener import Opener
from exporter.store.errors import DatabaseRefused, StoreError
from exporter.store.maintenance.maintain import maintain
from exporter.store.maintenance.partitions import make_ahead
from exporter.store.progress import Progress

EVERY = 3600.0  # seconds
REASON = "maintenance"

_log = logging.getLogger(__name__)


class MaintenanceSchedule:
    """Creates partitions ahead, compacts days and drops them, while the daemon runs.

    A login that is no member of argus_owner only creates partitions.
    """

    def __init__(self, access: Opener, settings: Settings, recording: RecordingState) -> None:
        self._access = access
        self._raw_days = math.ceil(settings.keep_raw / DAY_SECONDS)
        self._history_days = math.ceil(settings.keep_history / DAY_SECONDS)
        self._recording = recording
        self._backoff = Backoff(first=30.0, most=EVERY)
        self._limited = False

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            try:
                connection = await self._open()
                try:
                    await self._work(connection)
                finally:
                    await close(connection)
            except StoreError:  # no connection: the writer logs it
                await asyncio.sleep(self._backoff.next())
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                self._fail(self._access.explain(error))
                await asyncio.sleep(self._backoff.next())
            else:
                self._recover()
                await asyncio.sleep(EVERY * random.uniform(0.9, 1.1))  # noqa: S311 - spreads gateways

    async def _open(self) -> Connection:
        """The owner's connection, or a collector's if the login is no member of argus_owner."""
        try:
            connection = await self._access.open_as_owner()
        except DatabaseRefused as error:
            connection = await self._access.open()  # fails unless only that right is missing
            self._warn_of_limit(error)
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

    def _warn_of_limit(self, error: StoreError) -> None:
        if not self._limited:
            _log.warning(
                "days are not compacted or dropped from here: %s. Grant argus_owner to its login, or run "
                "`argus-wg maintain` every day with a login that is a member of it",
                error,
            )

    def _fail(self, error: StoreError) -> None:
        self._recording.database_errors[REASON] += 1
        if REASON not in self._recording.failing:
            _log.error("partitions are not created, days not compacted or dropped: %s", error)
        self._recording.failing[REASON] = str(error)

    def _recover(self) -> None:
        self._backoff.reset()
        if self._recording.failing.pop(REASON, None):
            _log.info("partitions are created, days compacted and dropped again")
