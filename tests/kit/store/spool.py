"""Frames to spool, system calls that fail, a small disk, and a process that appends until it is killed."""

from __future__ import annotations

import ctypes
import os
import platform
import random
import struct
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from uuid import UUID, uuid4

import pytest

from exporter.store.errors import StoreError
from exporter.store.snapshot.frame import DeviceFrame, Frame, Gap
from exporter.store.spool.queue import Spool

RUN = UUID("6f9619ff-8b86-4d01-b42d-00cf4fc964ff")
MIB = 1 << 20
T = TypeVar("T")


def device(label: str = "wg0", added: Sequence[str] = ()) -> DeviceFrame:
    """The frame of an interface with added peers and nothing else."""
    return DeviceFrame(label, "kernel", "", 0, 0, "boot/1", len(added), added, *[()] * 9)


def frame(
    sequence: int,
    epoch: int = 1,
    *,
    run: UUID = RUN,
    devices: Sequence[DeviceFrame] = (),
    taken_at: float = 0.0,
    gaps: Sequence[Gap] = (),
) -> Frame:
    """A frame of epoch 1, one second after the previous one."""
    at = taken_at or 1_700_000_000.0 + sequence
    return Frame(run, sequence, epoch, at, "gw", "acme", 0, devices, (), (), gaps)


def blob(sequence: int, size: int) -> bytes:
    """Bytes that are unique to a sequence number."""
    return random.Random(sequence).randbytes(size)


def fill(
    spool: Spool, size: int, start: int = 1, check: Callable[[], None] = lambda: None
) -> tuple[int, StoreError]:
    """Appends until a frame is refused, with a check after each. Returns the number of kept frames and the
    refusal."""
    kept = 0
    while True:
        try:
            spool.append(blob(start + kept, size), frame(start + kept))
        except StoreError as error:
            return kept, error
        kept += 1
        check()


def fail(error: int, *calls: str) -> None:
    """Makes the kernel answer these system calls of this thread with an error number (seccomp)."""
    numbers = {"x86_64": {"fsync": 74, "fdatasync": 75, "pwrite64": 18}}
    numbers["aarch64"] = {"fsync": 82, "fdatasync": 83, "pwrite64": 68}
    if platform.machine() not in numbers:
        pytest.skip(f"numbers of system calls are not known here for {platform.machine()}")
    load, equal, give = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
    steps = [(load, 0, 0, 0)]
    for call in calls:
        steps += [(equal, 0, 1, numbers[platform.machine()][call]), (give, 0, 0, 0x00050000 | error)]
    steps.append((give, 0, 0, 0x7FFF0000))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    assert prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert prctl(22, 2, program, 0, 0) == 0, os.strerror(ctypes.get_errno())  # PR_SET_SECCOMP, its filter


def on_small_disk(directory: Path, size: str) -> None:
    """Mounts a disk of that size on the directory, for this thread only."""
    libc = ctypes.CDLL(None, use_errno=True)
    private = 1 << 14 | 1 << 18  # MS_REC | MS_PRIVATE
    if libc.unshare(0x20000) or libc.mount(None, b"/", None, private, None):  # CLONE_NEWNS
        pytest.skip(f"needs a mount namespace of its own: {os.strerror(ctypes.get_errno())}")
    mounted = libc.mount(b"tmpfs", bytes(directory), b"tmpfs", 0, f"size={size}".encode())
    assert mounted == 0, os.strerror(ctypes.get_errno())


def in_thread(work: Callable[[], T]) -> T:
    """Runs `work` in a new thread and returns its result."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def append_for_ever(path: Path) -> None:
    """The process: appends frames with keyframes in between, confirms them, and prints what is kept."""
    run, sequence, epoch = uuid4(), 0, 1
    spool = Spool(path, 64 * MIB)
    while True:
        sequence += 1
        epoch = sequence if sequence % 20 == 1 else epoch
        data = blob(sequence, random.randrange(100, 40_000))
        spool.append(data, frame(sequence, epoch, run=run, devices=[device(added=[f"key {sequence}"])]))
        os.write(1, f"{run} {sequence}\n".encode())
        if spool.depth > 60:
            last = spool.first(30)[-1]
            os.write(1, f"{last.run} confirm {last.sequence}\n".encode())
            spool.confirm_through(last.id)


if __name__ == "__main__":
    append_for_ever(Path(sys.argv[1]))
