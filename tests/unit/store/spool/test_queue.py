"""The spool: every appended frame is in it, once and in order, after any failure of process and disk."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import random
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.store.errors import FrameCorrupt, SpoolBroken, SpoolFull, StoreError
from exporter.store.snapshot.frame import Gap
from exporter.store.spool.queue import Spool, SpooledFrame
from tests.kit.privilege import without_privilege
from tests.kit.store.spool import MIB, RUN, blob, device, fail, fill, frame, in_thread, on_small_disk

ALL = 1 << 30
KILLS = 25


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.sqlite"


@contextlib.contextmanager
def opened(path: Path, quota: int = 64 * MIB) -> Iterator[Spool]:
    with contextlib.closing(Spool(path, quota)) as spool:
        yield spool


def sequences(spool: Spool) -> list[int]:
    """The frames in the spool, each compared with the appended one."""
    frames = spool.first(ALL)
    assert all(
        spooled.intact and spooled.data == blob(spooled.sequence, len(spooled.data)) for spooled in frames
    )
    assert len(frames) == spool.depth
    return [spooled.sequence for spooled in frames]


def files(path: Path) -> int:
    """Total size of the spool's files in bytes."""
    return sum(file.stat().st_size for file in path.parent.iterdir())


# The queue


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(("append", "keyframe", "confirm", "discard", "reopen")), max_size=30),
    st.randoms(),
)
def test_it_is_a_queue(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], draw: random.Random
) -> None:
    """For any operations in any order, the spool equals a list, and each frame finds its keys."""
    path = tmp_path_factory.mktemp("spool") / "spool.sqlite"
    with contextlib.ExitStack() as opening:  # hypothesis may end an example at any draw
        spool = opening.enter_context(opened(path))
        installation, epoch, expected = spool.installation, 1, list[tuple[int, int]]()
        for sequence, step in enumerate(["keyframe", *steps], 1):
            if step in ("append", "keyframe"):
                epoch = sequence if step == "keyframe" else epoch
                added = [
                    device("wg0", [f"key {sequence}"]),
                    device("blue/\udcff", [f"{sequence}a", f"{sequence}b"]),
                ]
                spool.append(blob(sequence, draw.randrange(9000)), frame(sequence, epoch, devices=added))
                expected.append((sequence, epoch))
            elif step == "reopen":
                opening.close()
                spool = opening.enter_context(opened(path))
            elif expected:
                place = draw.randrange(len(expected))
                id = spool.first(place + 1)[-1].id
                if step == "confirm":
                    spool.confirm_through(id)
                    expected = expected[place + 1 :]
                else:
                    spool.discard(id)
                    del expected[place]
            found = spool.first(ALL)
            assert [(spooled.sequence, spooled.epoch) for spooled in found] == expected
            assert (spool.depth, spool.installation) == (len(expected), installation)
            assert spool.oldest == (found[0].taken_at if found else 0.0)
        for spooled in spool.first(ALL):
            assert spooled.intact
            assert (spooled.run, spooled.taken_at) == (RUN, 1_700_000_000.0 + spooled.sequence)
            check_keys(spool.keys_before(spooled), spooled)


def check_keys(keys: dict[str, list[str]], spooled: SpooledFrame) -> None:
    """The expected keys: those of the appended frames since the start of the epoch."""
    numbers = [int(key.removeprefix("key ")) for key in keys.get("wg0", [])]
    assert numbers == sorted(set(numbers))
    assert numbers[:1] == ([spooled.epoch] if spooled.sequence > spooled.epoch else [])
    assert all(number < spooled.sequence for number in numbers)
    assert keys.get("blue/\udcff", []) == [f"{number}{letter}" for number in numbers for letter in "ab"]


def test_keys_outlive_their_frames(path: Path) -> None:
    """A frame stays readable after all earlier ones are deleted; keys are deleted after a newer epoch
    starts."""
    with opened(path) as spool:
        spool.append(b"1", frame(1, devices=[device(added=["a", "b"])]))
        spool.append(b"2", frame(2, devices=[device(added=["c"])]))
        spool.confirm_through(spool.first(2)[-1].id)
    with opened(path) as spool:
        spool.append(b"3", frame(3))
        assert spool.keys_before(spool.first(1)[0]) == {"wg0": ["a", "b", "c"]}
        spool.append(b"4", frame(4, epoch=4))
        spool.append(b"5", frame(5, epoch=4))
        assert spool.keys_before(spool.first(1)[0]) == {"wg0": ["a", "b", "c"]}
        spool.confirm_through(spool.first(1)[0].id)
        assert spool.keys_before(spool.first(1)[0]) == {}
    with contextlib.closing(sqlite3.connect(path)) as file:
        assert file.execute("select count(*) from keys").fetchone() == (0,)
        assert file.execute("select sequence from epoch").fetchall() == [(4,)]


@pytest.mark.parametrize("strange", [frame(2, epoch=7), frame(2, run=uuid4())], ids=["epoch", "run"])
def test_a_delta_needs_its_keyframe(path: Path, strange: object) -> None:
    """A delta to another keyframe than the last one is refused."""
    with opened(path) as spool:
        spool.append(b"1", frame(1))
        with pytest.raises(ValueError, match="which is not the last one"):
            spool.append(b"2", strange)  # type: ignore[arg-type]
        assert spool.depth == 1


def test_it_remembers_the_last_instant(path: Path) -> None:
    """The last instant survives the deletion of its frame and a restart, to the millisecond."""
    with opened(path) as spool:
        assert spool.last_instant == 0
        spool.append(b"1", frame(1, taken_at=1_700_000_000.123))
        spool.confirm_through(spool.first(1)[0].id)
    with opened(path) as spool:
        assert (spool.last_instant, spool.oldest) == (1_700_000_000.123, 0)


def test_two_threads_share_it(path: Path) -> None:
    """With one thread appending and another confirming, each frame comes out once and in order."""
    taken: list[int] = []
    with opened(path) as spool:

        def consume() -> None:
            while len(taken) < 300:
                for spooled in spool.first(7):
                    taken.append(spooled.sequence)
                    spool.confirm_through(spooled.id)

        consumer = threading.Thread(target=consume)
        consumer.start()
        for sequence in range(1, 301):
            spool.append(blob(sequence, 2000), frame(sequence))
        consumer.join()
        assert (taken, spool.depth) == (list(range(1, 301)), 0)


# Gaps


def test_a_gap_is_reported_once(path: Path) -> None:
    """Gaps of one reason are joined, survive a restart, and end with a frame that reports them."""
    with opened(path) as spool:
        spool.note_gap(Gap(5.0, 0.0, "spool-full", 1))
        spool.note_gap(Gap(6.0, 0.0, "read-failed", 1))
        spool.note_gap(Gap(7.0, 0.0, "spool-full", 2))
    with opened(path) as spool:
        assert spool.gaps == [Gap(5.0, 0.0, "spool-full", 3), Gap(6.0, 0.0, "read-failed", 1)]
        reported = spool.gaps
        spool.note_gap(Gap(8.0, 9.0, "frame-corrupt", 1))  # by another thread, while the frame is made
        spool.append(b"1", frame(1, gaps=reported))
        assert spool.gaps == [Gap(8.0, 9.0, "frame-corrupt", 1)]
    with opened(path) as spool:
        assert spool.gaps == [Gap(8.0, 9.0, "frame-corrupt", 1)]


def test_a_damaged_frame_is_recognised_and_reported(path: Path) -> None:
    """A damaged frame is detected, discarded and noted as a gap, and a keyframe is requested."""
    with opened(path) as spool:
        for sequence in (1, 2, 3):
            spool.append(blob(sequence, 9000), frame(sequence))
    rot(path, blob(2, 9000)[-20:])
    with opened(path) as spool:
        assert spool.set_aside is None
        frames = spool.first(3)
        assert [spooled.intact for spooled in frames] == [True, False, True]
        at = frames[1].taken_at
        assert spool.discard(frames[1].id, since=at - 1) == Gap(at - 1, at + 1, "frame-corrupt", 1)
        assert (sequences(spool), spool.wants_keyframe) == ([1, 3], True)
        assert spool.gaps == [Gap(at - 1, at + 1, "frame-corrupt", 1)]
        with pytest.raises(KeyError):
            spool.discard(frames[1].id)
        spool.append(blob(4, 9), frame(4))
        assert spool.wants_keyframe
        spool.append(blob(5, 9), frame(5, epoch=5))
        assert not spool.wants_keyframe


def test_damaged_keys_are_recognised(path: Path) -> None:
    """A damaged public key raises FrameCorrupt instead of being read as another key."""
    with opened(path) as spool:
        spool.append(b"1", frame(1, devices=[device(added=["first key"])]))
        spool.append(b"2", frame(2))
    rot(path, b"first key")
    with opened(path) as spool, pytest.raises(FrameCorrupt, match="keys before frame 2"):
        spool.keys_before(spool.first(2)[-1])


def rot(path: Path, place: bytes) -> None:
    """Changes one byte in the file, within bytes that occur once."""
    content = path.read_bytes()
    assert content.count(place) == 1
    changed = content.replace(place, place[:-1] + bytes([place[-1] ^ 1]))
    path.write_bytes(changed)


# Room


def test_the_quota_bounds_all_its_files(path: Path) -> None:
    """At the quota a frame is refused, the others stay, the files stay within it, and space is reused."""

    def check() -> None:
        assert files(path) <= 2 * MIB

    with opened(path, 2 * MIB) as spool:
        kept, refusal = fill(spool, 28_000, check=check)
        assert isinstance(refusal, SpoolFull)
        assert f"quota of 2 MiB is full, {kept} snapshots" in str(refusal)
        assert kept > 40
        last = kept
        for _ in range(30):
            spool.confirm_through(spool.first(20)[-1].id)
            check()
            more, _ = fill(spool, 28_000, last + 1, check)
            assert more > 10
            last += more
        assert sequences(spool) == list(range(last - spool.depth + 1, last + 1))
        assert spool.size <= 2 * MIB


def test_a_drained_spool_gives_its_space_back(path: Path) -> None:
    """The file shrinks after a long outage."""
    with opened(path, 128 * MIB) as spool:
        for sequence in range(1, 41):
            spool.append(blob(sequence, 1_000_000), frame(sequence))
        assert files(path) > 40_000_000
        for spooled in spool.first(40):
            spool.confirm_through(spooled.id)
        assert spool.size < MIB
    assert files(path) < 12 * MIB


def test_a_smaller_quota_is_heeded(path: Path) -> None:
    """With a quota below the size of an empty file, the file shrinks before a frame is refused."""
    with opened(path) as spool:
        for sequence in range(1, 9):
            spool.append(blob(sequence, 500_000), frame(sequence))
        spool.confirm_through(spool.first(8)[-1].id)
    assert files(path) > 3 * MIB
    with opened(path, 2 * MIB) as spool:
        spool.append(blob(9, 500_000), frame(9))
        assert sequences(spool) == [9]
        assert files(path) <= 2 * MIB


def test_a_small_disk_that_is_full(path: Path) -> None:
    """On a full disk of 2 MB, frames are refused and frames can be confirmed, repeatedly."""

    def drill() -> None:
        on_small_disk(path.parent, "2m")
        with opened(path) as spool:
            last = 0
            for _ in range(10):
                more, refusal = fill(spool, 28_000, last + 1)
                assert isinstance(refusal, SpoolFull)
                assert "the disk is full" in str(refusal)
                assert more > 20
                last += more
                assert sequences(spool) == list(range(last - spool.depth + 1, last + 1))
                spool.confirm_through(spool.first(ALL)[-1].id)
                assert spool.depth == 0

    in_thread(drill)


def take_the_rest(directory: Path) -> Path:
    """A file of another program that fills the disk."""
    other = directory / "other"
    with other.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(100))
    return other


def test_a_disk_that_others_fill(path: Path) -> None:
    """On a disk that another program filled, frames can be confirmed, and appended once there is room."""

    def drill() -> None:
        on_small_disk(path.parent, "4m")
        with opened(path) as spool:
            for sequence in range(1, 41):
                spool.append(blob(sequence, 28_000), frame(sequence))
            other = take_the_rest(path.parent)
            for done in range(1, 31):
                spool.confirm_through(spool.first(1)[0].id)
                assert sequences(spool) == list(range(done + 1, 41))
            spool.note_gap(Gap(5.0, 0.0, "spool-full", 1))
            with pytest.raises(SpoolFull):
                spool.append(blob(41, 28_000), frame(41))
            other.unlink()
            spool.append(blob(41, 28_000), frame(41))
        with opened(path) as spool:
            assert sequences(spool) == list(range(31, 42))

    in_thread(drill)


def test_a_full_disk_without_need_of_more(path: Path) -> None:
    """With no free byte, confirmed frames are deleted as long as merging the log makes room."""

    def drill() -> None:
        on_small_disk(path.parent, "4m")
        with opened(path) as spool:
            for sequence in range(1, 41):
                spool.append(blob(sequence, 28_000), frame(sequence))
        with opened(path) as spool:
            spool.confirm_through(spool.first(2)[-1].id)
            spool.append(blob(41, 28_000), frame(41))
            take_the_rest(path.parent)
            for done in range(3, 41):
                spool.confirm_through(spool.first(1)[0].id)
                assert sequences(spool) == list(range(done + 1, 42))
        with opened(path) as spool:
            assert sequences(spool) == [41]

    in_thread(drill)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT], ids=os.strerror)
def test_a_write_without_space(path: Path, error: int) -> None:
    """A frame that meets a full disk or quota is not kept, and all others stay."""
    with opened(path) as spool:
        for sequence in (1, 2, 3):
            spool.append(blob(sequence, 28_000), frame(sequence, devices=[device(added=["key"])]))

        def refused() -> None:
            fail(error, "pwrite64")
            with pytest.raises(SpoolFull):
                spool.append(blob(4, 28_000), frame(4, devices=[device(added=["other"])]))
            spool.note_gap(Gap(5.0, 0.0, "spool-full", 1))
            spool.confirm_through(spool.first(1)[0].id)

        in_thread(refused)
        assert sequences(spool) == [2, 3]
        assert spool.gaps == [Gap(5.0, 0.0, "spool-full", 1)]
        spool.append(blob(4, 28_000), frame(4, gaps=spool.gaps))
        assert spool.keys_before(spool.first(3)[-1]) == {"wg0": ["key"] * 3}
        spool.confirm_through(spool.first(1)[0].id)
    with opened(path) as spool:
        assert (sequences(spool), spool.gaps) == ([3, 4], [])


def test_a_limit_of_file_sizes(path: Path) -> None:
    """The process's limit of file sizes acts as a quota, not as a failure of the disk."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with opened(path) as spool:
            spool.append(blob(1, 28_000), frame(1))
            resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, hard))
            kept, refusal = fill(spool, 28_000, 2)
            assert isinstance(refusal, SpoolFull)
            assert sequences(spool) == list(range(1, kept + 2))
        with opened(path) as spool:
            assert spool.quota == 2 * MIB
            assert sequences(spool) == list(range(1, kept + 2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))


# A disk that fails


@pytest.mark.parametrize("calls", [("fsync", "fdatasync"), ("pwrite64",)], ids=["fsync", "write"])
def test_after_an_error_of_the_disk_it_stops(path: Path, calls: tuple[str, ...]) -> None:
    """After a failed write or fsync, nothing is acknowledged any more, and acknowledged frames stay."""
    with opened(path) as spool:
        spool.append(blob(1, 28_000), frame(1))

        def broken() -> None:
            fail(errno.EIO, *calls)
            with pytest.raises(SpoolBroken, match="SQLITE_IOERR"):
                spool.append(blob(2, 28_000), frame(2))

        in_thread(broken)
        every: list[Callable[[], object]] = [
            lambda: spool.append(b"", frame(2)),
            lambda: spool.first(1),
            lambda: spool.confirm_through(1),
            lambda: spool.discard(1),
            lambda: spool.note_gap(Gap(0.0, 0.0, "clock", 1)),
        ]
        for call in every:
            with pytest.raises(SpoolBroken, match="SQLITE_IOERR"):
                call()
        assert spool.depth == 1
    with opened(path) as spool:
        assert sequences(spool)[0] == 1


# Killed


def test_killed_at_any_instant(path: Path) -> None:
    """After many SIGKILLs of a process that appends and confirms, each acknowledged frame is there, once, in
    order."""
    kept: list[tuple[str, int]] = []  # every frame that was ever kept, in order
    removed = rounds = 0  # number of them that were removed; number of rounds with removed frames
    for round in range(KILLS):
        lines = lines_until_killed(path, round % 5 * random.randrange(30))
        at_most_removed = removed
        for run, *words in lines:
            if words[0] == "confirm":
                removed, at_most_removed = at_most_removed, kept.index((run, int(words[1]))) + 1
            else:
                removed = at_most_removed
                kept.append((run, int(words[0])))
        with opened(path) as spool:
            frames = spool.first(ALL)
            for spooled in frames:
                assert spooled.intact
                assert spooled.data == blob(spooled.sequence, len(spooled.data))
                expected = [f"key {sequence}" for sequence in range(spooled.epoch, spooled.sequence)]
                assert spool.keys_before(spooled).get("wg0", []) == expected
        found = [(str(spooled.run), spooled.sequence) for spooled in frames]
        kept += [last for last in found[-1:] if last not in kept]  # killed before it printed the line
        assert found in (kept[removed:], kept[at_most_removed:])
        removed = len(kept) - len(found)
        rounds += removed > 0
    assert rounds > 0


def lines_until_killed(path: Path, wait_for: int) -> list[list[str]]:
    """The output of the process until it was killed, at its start or after some lines."""
    command = [sys.executable, "-m", "tests.kit.store.spool", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if not wait_for:
            time.sleep(random.uniform(0, 0.3))
        output = "".join(process.stdout.readline() for _ in range(wait_for))
        process.send_signal(signal.SIGKILL)
        output += process.communicate()[0]
    assert process.returncode == -signal.SIGKILL, "it ended by itself"
    return [line.split() for line in output.splitlines()]


@pytest.mark.parametrize("garbage", [False, True], ids=["cut", "garbled"])
def test_a_torn_tail(path: Path, tmp_path: Path, garbage: bool) -> None:
    """Wherever the log ends or is damaged, exactly the complete frames before that place are there."""
    log = path.with_name(f"{path.name}-wal")
    with opened(path) as spool:
        empty = log.stat().st_size
        ends = []
        for sequence in range(1, 9):
            spool.append(blob(sequence, sequence * 3000), frame(sequence))
            ends.append(log.stat().st_size)
        content = log.read_bytes()
        shutil.copy(path, tmp_path / "file")
    draw = random.Random(1)
    near = [end + step for end in ends for step in (-1, 0, 1) if end + step <= len(content)]
    for cut in [*near, *(draw.randrange(empty, len(content)) for _ in range(20))]:
        copy = tmp_path / "copy"
        shutil.copy(tmp_path / "file", copy)
        tail = draw.randbytes(len(content) - cut) if garbage else b""
        (tmp_path / "copy-wal").write_bytes(content[:cut] + tail)
        with opened(copy) as spool:
            whole = sum(end <= cut for end in ends)
            assert sequences(spool) == list(range(1, whole + 1))
            assert spool.set_aside is None
            spool.append(blob(whole + 1, 10), frame(whole + 1, epoch=whole + 1, run=uuid4()))
            assert spool.depth == whole + 1


# Files that are no spool


def test_a_file_that_is_no_database_is_replaced(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file of garbage is moved, logged and noted as a gap, and a new spool is created."""
    garbage = random.Random(1).randbytes(100_000)
    path.write_bytes(garbage)
    os.utime(path, (1000.0, 1000.0))
    with caplog.at_level(logging.ERROR), opened(path) as spool:
        assert spool.set_aside is not None
        assert spool.set_aside.name.startswith("spool.sqlite.broken-2")
        assert spool.set_aside.read_bytes() == garbage
        assert spool.set_aside.name in caplog.text
        assert spool.gaps == [Gap(1000.0, 0.0, "spool-broken", 0)]
        spool.append(b"1", frame(1, gaps=spool.gaps))
    with opened(path) as spool:
        assert (spool.set_aside, spool.depth) == (None, 1)


def damage(path: Path) -> None:
    """Overwrites all pages of the file on the disk except the first ones."""
    with path.open("r+b") as file:
        length = file.seek(0, os.SEEK_END)
        start = 16 * 4096
        file.seek(start)
        file.write(random.Random(2).randbytes(length - start))


def test_a_damaged_file_is_replaced(path: Path) -> None:
    """The installation, the last instant and the noted gaps are recovered from a damaged file."""
    with opened(path) as spool:
        installation = spool.installation
        spool.note_gap(Gap(5.0, 0.0, "spool-full", 1))
        for sequence in range(1, 31):
            spool.append(blob(sequence, 28_000), frame(sequence))
        last = spool.last_instant
    damage(path)
    with opened(path) as spool:
        assert spool.set_aside is not None
        assert (spool.installation, spool.last_instant, spool.depth) == (installation, last, 0)
        before, broken = spool.gaps
        assert before == Gap(5.0, 0.0, "spool-full", 1)
        assert (broken.reason, broken.ended_at) == ("spool-broken", 0.0)


def test_a_file_damaged_while_it_is_open(path: Path) -> None:
    """A file that is damaged while it is open is moved, nothing more is acknowledged, and a restart creates
    a new one."""
    with opened(path) as spool:
        for sequence in range(1, 301):
            spool.append(blob(sequence, 28_000), frame(sequence))
        damage(path)
        with pytest.raises(SpoolBroken, match=r"moved to spool\.sqlite\.broken"):
            spool.first(ALL)
        with pytest.raises(SpoolBroken, match="restart the daemon, which begins a new one"):
            spool.append(b"", frame(301))
        installation = spool.installation
    with opened(path) as spool:
        assert [gap.reason for gap in spool.gaps] == ["spool-broken"]
        assert (spool.installation, spool.depth) == (installation, 0)
        spool.append(b"1", frame(1, run=uuid4()))


def refusal(path: Path) -> str:
    with pytest.raises(SpoolBroken) as caught:
        Spool(path, MIB)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def test_a_spool_of_a_newer_version_is_refused(path: Path) -> None:
    """A downgrade is refused with the reason, and the file stays unchanged."""
    with opened(path) as spool:
        spool.append(b"1", frame(1))
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.execute("pragma user_version = 2")
    assert "newer argus-wg (format 2, this one reads 1)" in refusal(path)
    with contextlib.closing(sqlite3.connect(path)) as file:
        assert file.execute("select count(*) from frame").fetchone() == (1,)


def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    """A file that another program made is neither used nor changed."""
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.execute("create table theirs (a)")
    before = path.read_bytes()
    assert "another program" in refusal(path)
    assert path.read_bytes() == before


def test_only_one_process_has_it(path: Path) -> None:
    """A second daemon on the same state directory is refused with the reason."""
    command = [sys.executable, "-m", "tests.kit.store.spool", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            assert "another process has opened it" in refusal(path)
        finally:
            process.kill()
            process.communicate()


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    """A path that cannot be opened is named with the reason."""
    assert "cannot be opened: No such file or directory" in refusal(tmp_path / "none" / "spool.sqlite")


def test_a_directory_that_is_not_ours(tmp_path: Path) -> None:
    """A directory that cannot be written is named with the reason."""
    tmp_path.chmod(0o555)
    with without_privilege():
        assert "cannot be opened: Permission denied" in refusal(tmp_path / "spool.sqlite")


def test_its_files_are_private(path: Path) -> None:
    """All files of the spool have mode 0600, for any umask, and after the mode was widened."""
    before = os.umask(0)
    try:
        with opened(path) as spool:
            spool.append(b"1", frame(1))
            assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
        path.chmod(0o644)
        with opened(path) as spool:
            spool.append(b"2", frame(2))
            assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    finally:
        os.umask(before)


def test_a_closed_spool_is_refused(path: Path) -> None:
    """A call after `close` raises an error that does not blame the disk."""
    with opened(path) as spool:
        pass
    with pytest.raises(StoreError, match="is closed"):
        spool.first(1)
