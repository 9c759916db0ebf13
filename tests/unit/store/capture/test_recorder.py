"""The recorder: every interval has a frame in the spool, or is reported as a gap by the next frame."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import logging
import random
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.directory.entry import Directory
from exporter.model import Snapshot
from exporter.recording import RecordingState
from exporter.store.capture.recorder import Recorder, boot_clock
from exporter.store.capture.spooler import Spooler
from exporter.store.errors import SpoolFull
from exporter.store.snapshot.clock import MonotoneClock
from exporter.store.snapshot.codec import decode, encode
from exporter.store.snapshot.frame import Frame, Gap
from exporter.store.snapshot.tracker import Tracker
from exporter.store.spool.queue import Spool
from tests.kit.store.spool import MIB, fail

START = 1_700_000_000.0
TICK = 0.05  # seconds between the snapshots of a recorder that runs


class Frames(Tracker):
    """A tracker without interfaces that records its arguments and the confirmed frames."""

    def __init__(self) -> None:
        super().__init__("gw", "acme", 0, uuid4(), "boot")
        self.given: list[tuple[Snapshot, Directory, int]] = []
        self.confirmed: list[Frame] = []

    def take(
        self,
        snapshot: Snapshot,
        directory: Directory,
        generation: int,
        taken_at: float,
        gaps: Sequence[Gap] = (),
        keyframe: bool = False,
    ) -> Frame:
        self.given.append((snapshot, directory, generation))
        return super().take(snapshot, directory, generation, taken_at, gaps, keyframe)

    def confirm(self, frame: Frame) -> None:
        super().confirm(frame)
        self.confirmed.append(frame)


@dataclass
class Watch:
    """A directory that is replaced at each access."""

    generation: int = 0

    @property
    def current(self) -> Directory:
        self.generation += 1
        return Directory()


@dataclass
class Rig:
    """The recording of a daemon, up to the spool."""

    spool: Spool
    interval: float = 30.0
    encode: Callable[[Frame], bytes] = encode
    recording: RecordingState = field(default_factory=RecordingState)
    frames: Frames = field(default_factory=Frames)
    watch: Watch = field(default_factory=Watch)
    kept: int = 0

    def __post_init__(self) -> None:
        clock, gaps = MonotoneClock(self.spool.last_instant), self.recording.gaps
        self.spooler = Spooler(self.interval, self.watch, self.frames, clock, self.spool, gaps, self.encoded)

    def recorder(self, read: Callable[[], Awaitable[Snapshot]]) -> Recorder:
        return Recorder(self.interval, read, self.spooler, self.spool, self.recording, self.count)

    def encoded(self, made: Frame) -> bytes:
        return self.encode(made)

    def count(self) -> None:
        self.kept += 1


@contextlib.contextmanager
def rig(tmp_path: Path, interval: float = 30.0, quota: int = 64 * MIB) -> Iterator[Rig]:
    with contextlib.closing(Spool(tmp_path / "spool.sqlite", quota)) as spool:
        yield Rig(spool, interval)


def at(seconds: float) -> Snapshot:
    return Snapshot("gw", START + seconds)


async def now() -> Snapshot:
    """A reading without duration."""
    return Snapshot("gw", time.time())


async def run_until(recorder: Recorder, enough: Callable[[], bool]) -> None:
    """Runs the recorder until `enough`, or until it ends by itself."""
    task = asyncio.create_task(recorder.run())
    while not enough() and not task.done():
        await asyncio.sleep(TICK / 10)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def spooled(spool: Spool) -> list[Frame]:
    return [decode(frame.data) for frame in spool.first(100_000)]


def ids(frames: Sequence[Frame]) -> list[tuple[UUID, int]]:
    return [(frame.run, frame.sequence) for frame in frames]


# One snapshot after the other


def test_a_kept_frame_is_confirmed(tmp_path: Path) -> None:
    """Each snapshot becomes one frame in the spool, the first a keyframe, and is confirmed."""
    with rig(tmp_path) as daemon:
        for n in range(3):
            daemon.spooler.append(at(30 * n))
        assert ids(spooled(daemon.spool)) == ids(daemon.frames.confirmed)
        assert [(f.taken_at - START, f.epoch, f.gaps) for f in daemon.frames.confirmed] == [
            (0, 1, []),
            (30, 1, []),
            (60, 1, []),
        ]
        # The generation is that of before the directory was looked at.
        assert daemon.frames.given == [(at(30 * n), Directory(), n) for n in range(3)]


def test_a_discarded_frame_asks_for_a_keyframe(tmp_path: Path) -> None:
    """After a frame was discarded, the next frame is a keyframe and reports the gap."""
    with rig(tmp_path) as daemon:
        assert [daemon.spooler.append(at(30 * n)).keyframe for n in range(3)] == [True, False, False]
        gap = daemon.spool.discard(daemon.spool.first(2)[-1].id)
        made = [daemon.spooler.append(at(90 + 30 * n)) for n in range(3)]
        assert [frame.keyframe for frame in made] == [True, False, False]
        assert [frame.gaps for frame in made] == [[gap], [], []]


def test_a_refused_frame_is_reported(tmp_path: Path) -> None:
    """At the quota the tracker continues from the kept frames, and the next frame reports the missing
    ones."""
    with rig(tmp_path, quota=MIB) as daemon:
        daemon.spooler.append(at(0))
        daemon.encode = lambda _: bytes(2 * MIB)
        for n in (1, 2, 3):
            with pytest.raises(SpoolFull):
                daemon.spooler.append(at(30 * n))
        daemon.encode = encode
        kept = daemon.spooler.append(at(120))
        assert kept.gaps == [Gap(START, START + 120, "spool-full", 3)]
        assert ids(daemon.frames.confirmed) == ids(spooled(daemon.spool))
        assert not daemon.spooler.append(at(150)).gaps
        assert daemon.recording.gaps == {"spool-full": 1}


@pytest.mark.parametrize(("later", "missing"), [(40, 0), (46, 1), (60, 1), (300, 9), (-3000, 0)])
def test_the_time_without_a_daemon_is_reported(tmp_path: Path, later: float, missing: int) -> None:
    """The first frame of a run reports the snapshots that are missing since the previous run."""
    with rig(tmp_path) as daemon:
        assert not daemon.spooler.append(at(0)).gaps
    with rig(tmp_path) as daemon:
        gaps = daemon.spooler.append(at(later)).gaps
        assert gaps == ([Gap(START, START + later, "not-running", missing)] if missing else [])
        assert not daemon.spooler.append(at(later + 600)).gaps


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(("kept", "full", "unread", "late", "restart", "absent")), max_size=40))
def test_every_interval_is_kept_or_reported(
    tmp_path_factory: pytest.TempPathFactory, ticks: list[str]
) -> None:
    """For any order of events, the frames and the reported gaps add up to the number of intervals."""
    path = tmp_path_factory.mktemp("spool") / "spool.sqlite"
    expected: Counter[str] = Counter()
    daemon = Rig(Spool(path, MIB))
    for n, tick in enumerate(("kept", *ticks, "kept")):
        expected[
            {"full": "spool-full", "unread": "read-failed", "absent": "not-running"}.get(tick, tick)
        ] += 1
        if tick in ("restart", "absent"):
            daemon.spool.close()
            daemon = Rig(Spool(path, MIB))
        if tick == "restart":  # within the interval: the snapshot is taken
            expected["restart"] -= 1
            expected["kept"] += 1
        if tick in ("kept", "restart"):
            daemon.spooler.append(at(30 * n))
        elif tick == "full":
            daemon.encode = lambda _: bytes(2 * MIB)
            with pytest.raises(SpoolFull):
                daemon.spooler.append(at(30 * n))
            daemon.encode = encode
        elif tick != "absent":
            daemon.spooler.note_gap({"unread": "read-failed"}.get(tick, tick), 1)
    found = Counter(kept=daemon.spool.depth)
    for kept in spooled(daemon.spool):
        for gap in kept.gaps:
            found[gap.reason] += gap.snapshots
            assert gap.ended_at == kept.taken_at
            assert gap.started_at < kept.taken_at
    daemon.spool.close()
    assert found.total() == len(ticks) + 2
    assert found == +expected


def test_a_clock_that_is_set_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After the clock is set back by an hour and a restart, instants advance, and a gap is reported when
    the clock has caught up."""
    with rig(tmp_path) as daemon, caplog.at_level(logging.INFO):
        daemon.spooler.append(at(0))
        daemon.spooler.append(at(30))
        for n in range(2, 30):
            assert not daemon.spooler.append(at(30 * n - 3600)).gaps
        assert caplog.text.count("the clock was set back by 3570.0 s") == 1
        assert daemon.recording.gaps == {"clock": 1}
    with rig(tmp_path) as daemon, caplog.at_level(logging.INFO):
        made = [daemon.spooler.append(at(30 * n - 3600)) for n in range(30, 130)]
        (right,) = (frame for frame in made if frame.gaps)
        (gap,) = right.gaps
        assert (gap.reason, gap.snapshots, gap.ended_at) == ("clock", 0, right.taken_at)
        assert START + 30 <= gap.started_at < START + 31
        assert right.taken_at == START + 60
        assert caplog.text.count("the clock has caught up") == 1
        instants = [frame.taken_at for frame in spooled(daemon.spool)]
        assert instants == sorted(set(instants))


def test_a_clock_that_is_set_back_by_days(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After the clock is set back by days, instants go back once, and a gap of no length is reported."""
    with rig(tmp_path) as daemon, caplog.at_level(logging.INFO):
        daemon.spooler.append(at(0))
        daemon.spooler.append(at(-1800))
        back = daemon.spooler.append(at(-200_000))
        assert back.taken_at == START - 200_000
        assert back.gaps == [Gap(back.taken_at, back.taken_at, "clock", 0)]
        assert not daemon.spooler.append(at(-199_970)).gaps
        assert daemon.recording.gaps == {"clock": 2}
        assert caplog.text.count("the clock was set back by 200000 s") == 1


def test_a_replaced_spool_is_reported(tmp_path: Path) -> None:
    """The first frame reports a spool of the previous run that could not be read."""
    (tmp_path / "spool.sqlite").write_bytes(random.Random(1).randbytes(9000))
    with rig(tmp_path) as daemon:
        later = Snapshot("gw", time.time() + 9)
        assert [(gap.reason, gap.snapshots) for gap in daemon.spooler.append(later).gaps] == [
            ("spool-broken", 0)
        ]
        assert daemon.recording.gaps == {"spool-broken": 1}


# On time


@pytest.mark.parametrize("takes", [0.0, 0.7, 2.4], ids=["quick", "slow", "too slow"])
def test_the_schedule_does_not_drift(tmp_path: Path, takes: float) -> None:
    """For any duration of readings, each interval has one reading or a reported gap, without drift."""
    starts: list[float] = []
    ends: list[float] = []

    async def read() -> Snapshot:
        starts.append(boot_clock())
        await asyncio.sleep(takes * TICK)
        ends.append(boot_clock())
        return await now()

    with rig(tmp_path, TICK) as daemon:
        asyncio.run(run_until(daemon.recorder(read), lambda: daemon.kept == 10))
        frames = spooled(daemon.spool)[:10]
    missing = list(itertools.accumulate(sum(gap.snapshots for gap in frame.gaps) for frame in frames))
    # Of each frame: how many ticks there were until its reading ended, more than frames and losses say.
    ahead = [int((ends[n] - starts[0]) / TICK) - n - missing[n] for n in range(10)]
    assert min(ahead) >= -1, "two readings in one tick"
    assert max(ahead) <= 1, "ticks are neither read nor reported"
    assert min(statistics.median(off(other - start) for other in starts) for start in starts) < 0.15, (
        "it drifts"
    )
    assert {gap.reason for frame in frames for gap in frame.gaps} <= {"late"}
    assert missing[-1] >= 18 or takes < 1


def off(seconds: float) -> float:
    """The distance from the start of an interval, in intervals."""
    return abs(seconds / TICK - round(seconds / TICK))


def test_a_late_snapshot_reports_the_skipped_ones(tmp_path: Path) -> None:
    """Snapshots that were due during a slow reading are reported as a gap before its snapshot."""
    takes = [0.0, 0.0, 3.5]

    async def read() -> Snapshot:
        await asyncio.sleep(takes.pop(0) * TICK if takes else 0.0)
        return await now()

    with rig(tmp_path, TICK) as daemon:
        asyncio.run(run_until(daemon.recorder(read), lambda: daemon.kept == 4))
        _, before, late, *_ = spooled(daemon.spool)
    (gap,) = late.gaps
    assert (gap.started_at, gap.ended_at, gap.reason) == (before.taken_at, late.taken_at, "late")
    assert gap.snapshots >= 3


def test_the_state_of_the_recording(tmp_path: Path) -> None:
    """Each frame is counted, announced, and part of the figures of the spool."""
    with rig(tmp_path, TICK) as daemon:
        recorder = daemon.recorder(now)
        assert (daemon.recording.interval, daemon.recording.spool_quota) == (TICK, 64 * MIB)
        asyncio.run(run_until(recorder, lambda: daemon.kept >= 3))
        recording, frames = daemon.recording, spooled(daemon.spool)
        assert daemon.kept == recording.snapshots["spooled"] == recording.spool_snapshots == len(frames)
        assert (recording.spool_oldest, recording.spooled_at) == (frames[0].taken_at, frames[-1].taken_at)
        assert recording.spool_bytes == daemon.spool.size > 0
        assert recording.take_duration > 0
        assert (recording.spool_full, recording.spool_broken) == (False, "")


def test_a_reading_that_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A series of failed readings is logged once, counted, and reported by the next frame."""
    results: list[str] = ["", "bad", "bad", "bad", "", ""]

    async def read() -> Snapshot:
        if results and results.pop(0):
            raise OSError("no buffer space")
        return await now()

    with rig(tmp_path, TICK) as daemon, caplog.at_level(logging.INFO):
        asyncio.run(run_until(daemon.recorder(read), lambda: daemon.kept >= 3))
        first, second, third, *_ = spooled(daemon.spool)
        (gap,) = (each for each in second.gaps if each.reason == "read-failed")
        assert gap == Gap(first.taken_at, second.taken_at, "read-failed", 3)
        assert not [gap for gap in third.gaps if gap.reason == "read-failed"]
        assert daemon.recording.snapshots["failed"] == 3
        assert caplog.text.count("a snapshot could not be read: no buffer space") == 1
        assert caplog.text.count("snapshots can be read again; 3 were lost") == 1


def test_a_spool_that_is_full(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A full spool is shown and logged once, and so is its end."""
    with rig(tmp_path, TICK, quota=MIB) as daemon, caplog.at_level(logging.INFO):
        recording = daemon.recording
        daemon.encode = lambda made: encode(made) + bytes(200_000)
        recorder = daemon.recorder(now)
        asyncio.run(run_until(recorder, lambda: recording.snapshots["lost"] >= 3))
        assert recording.spool_full
        assert recording.spool_snapshots == daemon.kept > 0
        lost = recording.snapshots["lost"]
        kept = daemon.kept
        daemon.spool.confirm_through(daemon.spool.first(100)[-1].id)
        daemon.encode = encode
        asyncio.run(run_until(recorder, lambda: daemon.kept > kept))
        assert not recording.spool_full
        assert caplog.text.count("snapshots are being lost: ") == 1
        assert caplog.text.count("the spool keeps snapshots again; ") == 1
        missing = {gap.reason: gap.snapshots for gap in spooled(daemon.spool)[0].gaps}
        assert missing["spool-full"] + missing.get("late", 0) == lost


def test_a_spool_that_is_broken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After a failed fsync the recording ends and logs the reason once."""

    def failing(made: Frame) -> bytes:
        if made.sequence == 3:
            fail(errno.EIO, "fsync", "fdatasync")  # of the thread that writes
        return encode(made)

    with rig(tmp_path, TICK) as daemon, caplog.at_level(logging.INFO):
        daemon.encode = failing
        asyncio.run(daemon.recorder(now).run())
        assert daemon.kept == daemon.recording.snapshots["spooled"] == 2
        assert "SQLITE_IOERR_FSYNC" in daemon.recording.spool_broken
        assert caplog.text.count("recording has stopped: ") == 1
    with rig(tmp_path) as daemon:
        assert [frame.sequence for frame in spooled(daemon.spool)][:2] == [1, 2]


def test_the_end_waits_for_the_unfinished_frame(tmp_path: Path) -> None:
    """A frame that is being written when the daemon stops is kept before the spool is closed."""
    with rig(tmp_path, TICK) as daemon:
        encoding = False

        def slow(made: Frame) -> bytes:
            nonlocal encoding
            encoding = True
            time.sleep(4 * TICK)
            return encode(made)

        daemon.encode = slow
        asyncio.run(run_until(daemon.recorder(now), lambda: encoding))
        assert ids(daemon.frames.confirmed) == ids(spooled(daemon.spool))
        assert len(daemon.frames.confirmed) == 1
