"""The drain with a real spool and a real database: every frame in order, whatever fails."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from exporter.config import DatabaseSettings
from exporter.instants import instant
from exporter.recording import RecordingState
from exporter.store.access import DatabaseAccess
from exporter.store.backoff import Backoff
from exporter.store.database.connection import Connection, close, connect, explain
from exporter.store.database.opener import Opener
from exporter.store.database.settings import Target
from exporter.store.errors import StoreError
from exporter.store.snapshot.codec import encode
from exporter.store.snapshot.frame import Frame
from exporter.store.spool.queue import Spool
from exporter.store.writer.drain import ATTEMPTS, Drain
from exporter.store.writer.writer import Writer
from tests.kit.servers.postgres import SUPERUSER, PostgresServer
from tests.kit.servers.postgresproxy import Proxy
from tests.kit.store.frames import START
from tests.kit.store.mirror import added, changed, device, frame
from tests.kit.store.records import Expected, history, records
from tests.kit.store.schema import ask, migrated

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
    """A keyframe and the frames after it: the peer has received as many bytes as the sequence number."""
    deltas = [frame(number, device(**changed((0, 0, number, 0)))) for number in range(2, count + 1)]
    return [frame(1, device(**added((1, 0, 1, 0)))), *deltas]


class ImpatientOpener:
    """Opens connections on which statements wait only briefly for a lock."""

    def __init__(self, target: Target) -> None:
        self._target = target

    async def open(self) -> Connection:
        return await connect(self._target, application="test", role="argus_collector", lock_timeout=0.1)

    async def open_as_owner(self) -> Connection:
        return await connect(self._target, application="test", role="argus_owner", lock_timeout=0.1)

    def explain(self, error: BaseException) -> StoreError:
        return explain(error, self._target)


@dataclass(frozen=True)
class RunningDrain:
    """A running drain with its spool and its state."""

    drain: Drain
    recording: RecordingState
    spool: Spool

    def keep(self, *frames: Frame) -> None:
        """Puts frames into the spool, and wakes the drain, as the recorder does."""
        keep(self.spool, *frames)
        self.recording.show_spool(self.spool)
        self.drain.wake()

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not done():
                await asyncio.sleep(0.01)

    async def until_empty(self) -> None:
        """Waits until the spool is empty and the recording state shows it."""
        await self.until(lambda: not self.spool.depth and not self.recording.spool_snapshots)


@contextlib.asynccontextmanager
async def running(access: Opener, spool: Spool, recording: RecordingState) -> AsyncIterator[RunningDrain]:
    """Runs a drain, and cancels it at the end. It is cancelled repeatedly, because the error of a connection
    that breaks at that moment can replace the cancellation."""
    recording.show_spool(spool)
    writer = Writer(spool.installation, "here")
    drain = Drain(access, spool, writer, recording, Backoff(0.01, 0.05))
    task = asyncio.create_task(drain.run())
    try:
        yield RunningDrain(drain, recording, spool)
        assert not task.done()
    finally:
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=1)


def drain(
    target: Target, spool: Spool, wanted: Callable[[RecordingState], bool] | None = None
) -> RecordingState:
    """Runs a drain until its state is as `wanted` (default: until the spool is empty), and returns the
    state."""
    recording = RecordingState()

    async def run() -> None:
        database = DatabaseSettings(target.host, target.database, target.user)
        access = DatabaseAccess(database, Path("/nonexistent"), {}, recording)
        try:
            async with running(access, spool, recording) as drains:
                if wanted:
                    await drains.until(lambda: wanted(recording))
                else:
                    await drains.until_empty()
        finally:
            await access.close()

    asyncio.run(run())
    return recording


def recorded(target: Target) -> list[tuple[int, int]]:
    """(sequence, total received bytes) of each recorded snapshot of the peer."""
    query = """
    select n.sequence, s.receive_total::bigint from argus.snapshot n
    left join argus.sample s using (org_id, taken_at) order by n.taken_at"""
    return [tuple(row) for row in ask(target, query)]


def errors(log: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in log.records if one.levelno >= logging.ERROR]


def test_waiting_frames_are_recorded_in_order(target: Target, spool: Spool) -> None:
    """Every frame is recorded in order, also if the drain is stopped and another one continues; then the
    metrics show an empty spool."""
    keep(spool, *one_peer(40))
    first = drain(target, spool, lambda so_far: so_far.snapshots["recorded"] >= 10)
    second = drain(target, spool)
    assert recorded(target) == [(number, number) for number in range(1, 41)]
    assert first.snapshots["recorded"] + second.snapshots["recorded"] in (
        39,
        40,
    )  # the first drain may stop after the commit, before it counts
    assert second.database_up
    assert second.work == {}
    assert (second.spool_snapshots, second.spool_oldest) == (0, 0.0)


def test_a_damaged_frame_is_left_out(
    target: Target, spool: Spool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged frame causes one log line and a gap in the next frame, and the frames around it are
    recorded."""
    keep(spool, *one_peer(5))
    spool.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "spool.sqlite")) as file, file:
        file.execute("update frame set data = cast(x'00' || substr(data, 2) as blob) where sequence = 3")
    with contextlib.closing(Spool(tmp_path / "spool.sqlite", 64 << 20)) as again:
        recording = drain(target, again)
        assert recorded(target) == [(1, 1), (2, 2), (4, 4), (5, 5)]
        (gap,) = again.gaps
        assert again.wants_keyframe
        assert recording.gaps["frame-corrupt"] == recording.snapshots["lost"] == 1
        assert len(errors(caplog)) == 1
        keep(again, frame(6, device(**added((1, 0, 6, 0))), epoch=6, gaps=[gap]))
        drain(target, again)
    gaps = ask(target, "select started_at, ended_at, reason, snapshots from argus.gap")
    before, after = START + 2 * 30, START + 4 * 30
    assert [tuple(row) for row in gaps] == [(instant(before), instant(after), "frame-corrupt", 1)]


def test_a_frame_that_the_database_always_rejects(
    target: Target, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    """A frame that the database always rejects is left out after a few attempts; its failure and its loss
    are logged once each, and later frames are recorded."""
    ask(target, "alter table argus.sample add constraint refused check (receive_total <> 3)")
    keep(spool, *one_peer(5))
    recording = drain(target, spool)
    assert recorded(target) == [(1, 1), (2, 2), (4, 4), (5, 5)]
    assert recording.database_errors["failed"] == ATTEMPTS - 1  # the last attempt leaves it out
    assert recording.failing == {}
    refused, left_out = errors(caplog)
    assert refused.startswith("snapshots stay in the spool: frame 3 of")
    assert left_out.startswith("a snapshot is lost, and the next snapshot records the gap: frame 3 of")


def test_a_database_that_refuses_the_login(
    target: Target, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused login gives one log line and a metric with the reason; when it is accepted again, every frame
    is recorded and the recovery is logged."""
    keep(spool, *one_peer(8))
    superuser = replace(target, user=SUPERUSER)
    ask(superuser, "alter role argus nologin")
    tried: list[tuple[bool, dict[str, str]]] = []

    def done(so_far: RecordingState) -> bool:
        if so_far.database_errors["refused"] >= 4 and not tried:
            tried.append((so_far.database_up, dict(so_far.failing)))
            asyncio.get_running_loop().run_in_executor(None, ask, superuser, "alter role argus login")
        return not spool.depth and not so_far.spool_snapshots

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


def test_a_schema_that_is_too_new(target: Target, spool: Spool) -> None:
    """While the schema is too new, nothing is written and the recording state gives the reason; then the
    frames are recorded."""
    keep(spool, *one_peer(3))
    ask(target, "insert into argus.migration (version, name) values (9999, 'too new')")
    seen: list[str] = []

    def done(so_far: RecordingState) -> bool:
        if so_far.schema and not seen:
            seen.append(so_far.schema)
            query = "delete from argus.migration where version = 9999"
            asyncio.get_running_loop().run_in_executor(None, ask, target, query)
        return not spool.depth and not so_far.spool_snapshots

    recording = drain(target, spool, done)
    assert "9999" in seen[0]
    assert recording.schema == ""
    assert recording.problems == []
    assert recorded(target) == [(1, 1), (2, 2), (3, 3)]


def test_a_server_that_stops_and_starts(
    private_postgres: Callable[..., PostgresServer], spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    """Fifty snapshots wait in the spool until it is back; the failure and the recovery are logged once
    each."""
    server, frames, recording = private_postgres(), one_peer(60), RecordingState()
    server.sql("create database records template template0")
    target = migrated(server.target("records"))

    async def work() -> None:
        async with running(ImpatientOpener(target), spool, recording) as drains:
            drains.keep(*frames[:10])
            await drains.until_empty()
            assert (recording.database_up, recording.recorded_at) == (True, frames[9].taken_at)
            server.stop()
            drains.keep(*frames[10:])
            await drains.until(lambda: recording.database_errors["unreachable"] >= 3)
            assert not recording.database_up
            assert recording.failing.keys() == {"unreachable"}
            assert (recording.spool_snapshots, recording.spool_oldest) == (50, frames[10].taken_at)
            server.start()
            await drains.until_empty()

    with caplog.at_level(logging.INFO):
        asyncio.run(work())
    assert recorded(target) == [(number, number) for number in range(1, 61)]
    assert recording.failing == {}
    assert recording.database_up
    assert recording.snapshots["recorded"] == 60
    (lost,) = errors(caplog)
    assert lost.startswith(f"snapshots stay in the spool: the database {target}")
    assert len([line for line in caplog.messages if line.startswith("snapshots reach the database")]) == 1


def test_a_table_that_another_session_locks(
    target: Target, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    """A lock that is held for too long is logged with its remedy, and the frames are written once it is
    released."""
    frames, recording = one_peer(3), RecordingState()

    async def work() -> None:
        other = await connect(replace(target, user=SUPERUSER), application="test")
        async with running(ImpatientOpener(target), spool, recording) as drains:
            drains.keep(frames[0])
            await drains.until_empty()
            await other.execute("begin; lock table argus.peer_state")
            drains.keep(*frames[1:])
            await drains.until(lambda: recording.database_errors.total() >= 3)
            await other.execute("commit")
            await drains.until_empty()
        await close(other)

    asyncio.run(work())
    assert recorded(target) == [(1, 1), (2, 2), (3, 3)]
    (line,) = errors(caplog)
    assert "find the session that holds the lock" in line


@pytest.mark.parametrize("number", range(2))
def test_each_snapshot_is_recorded_exactly_once(
    postgres: PostgresServer, target: Target, spool: Spool, number: int
) -> None:
    """Drains are stopped at any moment, also within a transaction, and connections are cut: every frame of
    the spool is recorded exactly once."""
    seed, expected = random.Random(number), Expected("acme")
    frames = history(seed, 60)

    async def work(access: ImpatientOpener, proxy: Proxy) -> None:
        recording, left = RecordingState(), True
        while left or spool.depth:
            async with running(access, spool, recording) as drains:
                for _ in range(seed.randrange(8)):
                    if left := (taken := next(frames, None)) is not None:
                        expected.record(*taken)
                        drains.keep(taken[1])
                    if seed.random() < 0.3:
                        proxy.cut_after(seed.randrange(4000))
                await asyncio.sleep(seed.random() / 10)

    with Proxy(postgres.socket) as proxy:
        asyncio.run(work(ImpatientOpener(proxy.target(target)), proxy))
        assert proxy.cuts > 1
    assert records(target) == expected.records
