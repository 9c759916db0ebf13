"""Processes of the demo, recorded with their start time so that a later demo ends only these."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from exporter.demo.namespaces import inside

PATIENCE = 5.0  # seconds between SIGTERM and SIGKILL


Process = subprocess.Popen[bytes]


@dataclass(frozen=True, slots=True)
class _Running:
    name: str
    process: Process
    log: Path


class Processes:
    """The processes that this demo started. `record` is a file that lists them for a later demo."""

    def __init__(self, record: Path) -> None:
        self._record = record
        self._running: list[_Running] = []

    def start(self, name: str, command: Sequence[str], log: Path, namespace: str = "") -> Process:
        """Starts a process in `namespace` ("" = the host's). Its output goes to `log`; messages use `name`.

        The process has its own session: Ctrl-C on the terminal signals only the demo, which ends the others
        in order.
        """

        def spawn() -> Process:
            with open(log, "ab", opener=_private) as output:
                return subprocess.Popen(  # noqa: S603 - no shell
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )

        process = inside(namespace, spawn) if namespace else spawn()
        self._running.append(_Running(name, process, log))
        with self._record.open("a") as record:
            record.write(f"{process.pid} {start_time(process.pid)}\n")
        return process

    def describe_ended(self) -> list[str]:
        """A sentence for each process that ended since the previous call, with the end of its log."""
        ended = [each for each in self._running if each.process.poll() is not None]
        self._running = [each for each in self._running if each not in ended]
        return [
            f"{each.name} ended with status {each.process.returncode}: {last_lines(each.log)}"
            for each in ended
        ]

    def reap(self) -> None:
        """Collects the exit statuses, and kills processes that still run because the record was lost."""
        for each in self._running:
            each.process.kill()
            each.process.wait()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot (proc(5), field 22 of stat); 0 = there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(stat.rpartition(")")[2].split()[19])  # the name before it may contain spaces and brackets


def end_recorded(record: Path) -> int:
    """Ends the processes in `record` that are still the same; returns their number.

    A process number may belong to another process by now. So a descriptor of the process is opened first and
    its start time is compared after that: the descriptor never refers to another process.
    """
    lines = record.read_text().splitlines() if record.exists() else []
    held: list[int] = []
    for line in lines:
        pid, _, started = line.partition(" ")
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(int(pid))
            if start_time(int(pid)) == int(started):
                held.append(descriptor)
            else:
                os.close(descriptor)
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for descriptor in held:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, number)
            if _all_ended(held, PATIENCE):
                break
    finally:
        for descriptor in held:
            os.close(descriptor)
    return len(held)


def _all_ended(descriptors: Sequence[int], seconds: float) -> bool:
    """Waits for processes. Their descriptors become readable when they end (pidfd_open(2))."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    left, deadline = len(descriptors), time.monotonic() + seconds
    while left and (remaining := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(remaining * 1000):
            poll.unregister(descriptor)
            left -= 1
    return not left


def last_lines(log: Path, count: int = 3) -> str:
    """The last lines of a process's log, for a message about its end."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return " / ".join(lines[-count:]) or "its log is empty"
