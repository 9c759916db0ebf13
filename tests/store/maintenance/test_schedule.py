"""The maintenance schedule: it does what its login may do, and logs a failure once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.config import DatabaseSettings
from exporter.config import RecordingSettings as Settings
from exporter.recording import RecordingState
from exporter.store.access import DatabaseAccess
from exporter.store.database.connection import Connection
from exporter.store.database.settings import Target
from exporter.store.maintenance.schedule import MaintenanceSchedule
from tests.kit.store.schema import ask, migrated, with_connection

PARTITIONS = "select count(*) from pg_inherits where inhparent = 'argus.sample'::regclass"
PATIENCE = 60.0  # seconds


@pytest.fixture
def owner(database: Target) -> Target:
    return migrated(database)


def keep_up(target: Target, done: Callable[[RecordingState], bool]) -> RecordingState:
    """The schedule runs with this login until `done`."""
    recording = RecordingState()
    database = DatabaseSettings(target.host, target.database, target.user)

    async def run() -> None:
        access = DatabaseAccess(database, Path("/nonexistent"), {}, recording)
        schedule = MaintenanceSchedule(access, Settings(), recording)
        task = asyncio.create_task(schedule.run())
        try:
            async with asyncio.timeout(PATIENCE):
                while not done(recording):
                    assert not task.done() or task.result()
                    await asyncio.sleep(0.02)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await access.close()

    asyncio.run(run())
    return recording


def sql(target: Target, *statements: str) -> None:
    async def work(connection: Connection) -> None:
        for statement in statements:
            await connection.execute(statement)

    with_connection(target, work)


def test_an_owner_maintains(owner: Target) -> None:
    """An owner creates partitions ahead, compacts an old day and drops a very old one."""
    sql(
        owner,
        "select argus.ensure_partitions(current_date - 30, 1)",
        "select argus.ensure_partitions(current_date - 500, 1)",
    )
    recording = keep_up(owner, lambda so_far: bool(so_far.partitions_until) and "maintain" not in so_far.work)
    names = [
        row[0]
        for row in ask(
            owner,
            "select to_char(current_date - days, 'YYYYMMDD') from unnest(array[30, 500, 0, -3]) as days",
        )
    ]
    there = {row[0] for row in ask(owner, "select relname::text from pg_class")}
    assert f"sample_{names[0]}" not in there
    assert f"sample_day_{names[0]}" in there
    assert f"sample_{names[1]}" not in there
    assert {f"sample_{names[2]}", f"sample_{names[3]}"} <= there
    assert recording.default_rows == 0
    assert not recording.failing


def test_a_collector_only_creates_partitions(
    owner: Target, database: Target, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the owner's rights partitions are created, no day is compacted, and the log says so."""
    sql(owner, "select argus.ensure_partitions(current_date - 30, 1)")
    sql(database, "create role schedule_collector login in role argus_collector")
    try:
        with caplog.at_level(logging.WARNING):
            keep_up(replace(owner, user="schedule_collector"), lambda so_far: bool(so_far.partitions_until))
    finally:
        sql(database, "drop role schedule_collector")
    assert ask(owner, PARTITIONS)[0][0] == 1 + 1 + 4  # the default, the old one, today and three to come
    (line,) = [one.getMessage() for one in caplog.records if "compacted" in one.getMessage()]
    assert "argus-wg maintain" in line


def test_a_failure_is_logged_once(owner: Target, caplog: pytest.LogCaptureFixture) -> None:
    """A failure is one line in the log, a metric and a reason, and is tried again."""
    sql(owner, "set role argus_owner; drop function argus.default_partition_rows()")
    recording = keep_up(owner, lambda so_far: "maintenance" in so_far.failing)
    assert recording.database_errors["maintenance"] == 1
    assert "argus-wg migrate" in recording.failing["maintenance"]
    assert len([one for one in caplog.records if one.levelno == logging.ERROR]) == 1
