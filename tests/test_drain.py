"""The drain: from a real spool into a real database, in order, whatever is in the way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.config import Database
from exporter.recording import Recording
from exporter.store.access import Access
from exporter.store.backoff import Backoff
from exporter.store.codec import encode
from exporter.store.drain import TRIES, Drain
from exporter.store.frame import Frame
from exporter.store.settings import Target
from exporter.store.spool import Spool
from exporter.store.writer import Writer
from tests.mirrorkit import added, changed, device, frame
from tests.postgres import SUPERUSER
from tests.schemakit import ask, migrated

PATIENCE = 60.0  # seconds


@pytest.fixture
def target(database: Target) -> Target:
    return migrated(database)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with contextlib.closing(Spool(tmp_path / "spool.sqlite", 64 << 20)) as opened:
        yield opened


def keep(spool: Spool, *frames: Frame) -> None:
    for made in frames:
        spool.append(encode(made), made)


def one_peer(count: int) -> list[Frame]:
    """A keyframe, and deltas to it: the peer has received as many bytes as the sequence number."""
    deltas = [frame(number, device(**changed((0, 0, number, 0)))) for number in range(2, count + 1)]
    return [frame(1, device(**added((1, 0, 1, 0)))), *deltas]


def drain(target: Target, spool: Spool, done: Callable[[Recording], bool]) -> Recording:
    """Runs a drain until it is done; what its recording tells."""
    recording = Recording()

    async def run() -> None:
        database = Database(target.host, target.database, target.user)
        access = Access(database, Path("/nonexistent"), {}, recording)
        writer = Writer(spool.installation, "here")
        draining = Drain(access, spool, writer, recording, Backoff(0.01, 0.05))
        task = asyncio.create_task(draining.run())
        try:
            async with asyncio.timeout(PATIENCE):
                while not done(recording):
                    assert not task.done() or task.result()
                    draining.wake()
                    await asyncio.sleep(0.01)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await access.close()

    asyncio.run(run())
    return recording


def recorded(target: Target) -> list[tuple[int, int]]:
    """(sequence, bytes) of each snapshot of the one peer."""
    query = """
    select n.sequence, s.receive_total::bigint from argus.snapshot n
    left join argus.sample s using (org_id, taken_at) order by n.taken_at"""
    return [tuple(row) for row in ask(target, query)]


def errors(log: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in log.records if one.levelno >= logging.ERROR]


def test_all_that_waits_is_recorded_in_order(target: Target, spool: Spool) -> None:
    """Also when the drain is ended and another goes on; the spool is empty then, and metrics tell it."""
    keep(spool, *one_peer(40))
    first = drain(target, spool, lambda so_far: so_far.snapshots["recorded"] >= 10)
    second = drain(target, spool, lambda _: not spool.depth)
    assert recorded(target) == [(number, number) for number in range(1, 41)]
    assert first.snapshots["recorded"] + second.snapshots["recorded"] in (39, 40)  # one may end in between
    assert second.database_up
    assert second.work == {}
    assert (second.spool_snapshots, second.spool_oldest) == (0, 0.0)


def test_a_damaged_frame_is_left_out_and_told(
    target: Target, spool: Spool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its loss is one line and a gap that the next frame has to tell; those around it are recorded."""
    keep(spool, *one_peer(5))
    spool.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "spool.sqlite")) as file, file:
        file.execute("update frame set data = cast(x'00' || substr(data, 2) as blob) where sequence = 3")
    with contextlib.closing(Spool(tmp_path / "spool.sqlite", 64 << 20)) as again:
        recording = drain(target, again, lambda _: not again.depth)
        assert recorded(target) == [(1, 1), (2, 2), (4, 4), (5, 5)]
        (lost,) = again.lost
        assert (lost.reason, lost.snapshots) == ("frame-corrupt", 1)
        assert again.wants_keyframe
        assert recording.gaps["frame-corrupt"] == recording.snapshots["lost"] == 1
        assert len(errors(caplog)) == 1


def test_a_frame_that_the_database_never_takes(
    target: Target, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried some times, told once as a failure and once as a loss, and does not hold up the others."""
    ask(target, "alter table argus.sample add constraint refused check (receive_total <> 3)")
    keep(spool, *one_peer(5))
    recording = drain(target, spool, lambda _: not spool.depth)
    assert recorded(target) == [(1, 1), (2, 2), (4, 4), (5, 5)]
    assert recording.database_errors["failed"] == TRIES - 1  # and at the last it is left out
    assert recording.failing == {}
    refused, left_out = errors(caplog)
    assert refused.startswith("snapshots stay in the spool: frame 3 of")
    assert left_out.startswith("a snapshot is lost, and the next that is taken tells of the gap: frame 3 of")


def test_a_database_that_comes_back(target: Target, spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    """While it lets nobody in, that is one line, a metric and its reason; then all is recorded and told."""
    keep(spool, *one_peer(8))
    superuser = replace(target, user=SUPERUSER)
    ask(superuser, "alter role argus nologin")
    tried: list[tuple[bool, dict[str, str]]] = []

    def done(so_far: Recording) -> bool:
        if so_far.database_errors["refused"] >= 4 and not tried:
            tried.append((so_far.database_up, dict(so_far.failing)))
            asyncio.get_running_loop().run_in_executor(None, ask, superuser, "alter role argus login")
        return not spool.depth

    with caplog.at_level(logging.INFO):
        recording = drain(target, spool, done)
    ((up, failing),) = tried
    assert not up
    assert list(failing) == ["refused"]
    assert recording.failing == {}
    assert recording.database_up
    assert recorded(target) == [(number, number) for number in range(1, 9)]
    assert len(errors(caplog)) == 1
    said = [one.getMessage() for one in caplog.records]
    assert len([line for line in said if line.startswith("snapshots reach the database again")]) == 1
    assert "8 snapshots that waited in the spool are in the database" in said


def test_a_schema_of_the_future(target: Target, spool: Spool) -> None:
    """Nothing is written into it, and the recording says what is wrong, until it is as it was."""
    keep(spool, *one_peer(3))
    ask(target, "insert into argus.migration (version, name) values (9999, 'of the future')")
    seen: list[str] = []

    def done(so_far: Recording) -> bool:
        if so_far.schema and not seen:
            seen.append(so_far.schema)
            query = "delete from argus.migration where version = 9999"
            asyncio.get_running_loop().run_in_executor(None, ask, target, query)
        return not spool.depth

    recording = drain(target, spool, done)
    assert "9999" in seen[0]
    assert recording.schema == ""
    assert recording.problems == []
    assert recorded(target) == [(1, 1), (2, 2), (3, 3)]
