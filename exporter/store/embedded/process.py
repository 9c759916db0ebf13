"""One server process of the private PostgreSQL: its start, its log and its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from exporter.store.embedded.account import start
from exporter.store.embedded.cluster import last_words
from exporter.store.errors import EmbeddedFailed

_log = logging.getLogger("argus.postgres")

_READY = 300.0  # seconds; after a crash the server replays its log, at most max_wal_size of it
_POLL = 0.02
# Signals and seconds to wait after each: a fast shutdown, one without a checkpoint, and the end by force.
_ENDS = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
_LEVELS = {"WARNING": logging.WARNING, "ERROR": logging.WARNING, "FATAL": logging.WARNING}
_LEVELS["PANIC"] = logging.ERROR
_DETAILS = ("DETAIL", "HINT", "CONTEXT", "STATEMENT", "\t")
_LONGEST = 4096  # bytes of a line of the log; the rest is dropped


class ServerProcess:
    """Created by `ServerProcess.start`. `ready`: the server accepts connections."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lines: deque[str] = deque(maxlen=20)
        self._level = logging.DEBUG
        self._ending = False
        self._started = False
        self._relaying = asyncio.create_task(self._relay())

    @classmethod
    async def start(cls, command: Sequence[str]) -> ServerProcess:
        """Start the server; `until_ready` waits for it. Raises EmbeddedFailed, OSError."""
        return cls(await start(command))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ready(self) -> bool:
        return self._started and self._process.returncode is None

    async def until_ready(self, data: Path) -> None:
        """Wait until the server accepts connections. Raises EmbeddedFailed with the end of its log."""
        deadline = time.monotonic() + _READY
        while not _is_ready(data, self.pid):
            if self._process.returncode is not None:
                raise EmbeddedFailed(f"PostgreSQL does not start: {await self.last_words()}")
            if time.monotonic() > deadline:
                raise EmbeddedFailed(
                    f"PostgreSQL was not ready within {_READY:.0f} s: {last_words(self._text)}"
                )
            await asyncio.sleep(_POLL)
        self._started = True

    async def wait(self) -> int:
        """Wait for the end of the process; its exit status, negative for a signal."""
        return await self._process.wait()

    async def last_words(self) -> str:
        """The end of the log, after the process ended.

        Child processes may keep the log open: it is read for at most 1 s more.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._relaying), 1.0)
        return last_words(self._text)

    @property
    def _text(self) -> str:
        return "\n".join(self._lines)

    async def end(self) -> None:
        """End the process within 20 s: the next signal of `_ENDS` follows if one is not enough."""
        self._ending = True
        for how, patience in _ENDS:
            if self._process.returncode is not None:
                break
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(how)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.wait(), patience)
        self._relaying.cancel()
        await asyncio.gather(self._relaying, return_exceptions=True)

    async def _relay(self) -> None:
        """Relay the server's log. If the log were not read, the server would block."""
        stream, rest = self._process.stdout, b""
        while stream and (chunk := await stream.read(1 << 16)):
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[:_LONGEST]
            for line in lines:
                self._log_line(line[:_LONGEST].decode(errors="replace").rstrip())

    def _log_line(self, line: str) -> None:
        """Log warnings and errors as such; the rest, and every line after `end` was called, as debug."""
        self._lines.append(line)
        word = line.partition(":")[0]
        if not line.startswith(_DETAILS):
            self._level = _LEVELS.get(word, logging.DEBUG)
        _log.log(logging.DEBUG if self._ending else self._level, "PostgreSQL: %s", line)


def _is_ready(data: Path, pid: int) -> bool:
    """Line 1 of postmaster.pid is the pid of the server, line 8 its status."""
    lines = _pid_file(data)
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _pid_file(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


async def end_orphan(data: Path, socket_lock: Path) -> None:
    """End the server that a killed daemon left behind.

    If the pid in postmaster.pid now belongs to another process, as after the restart of a container,
    PostgreSQL would not start: postmaster.pid and the socket's lock file are then deleted. Raises
    EmbeddedFailed, OSError.
    """
    lines = _pid_file(data)
    if not lines or not lines[0].isdigit() or not _runs(pid := int(lines[0])):
        return
    if not _is_server_of(data, pid):
        (data / "postmaster.pid").unlink()
        socket_lock.unlink(missing_ok=True)
        return
    _log.warning("the PostgreSQL of an earlier argus-wg still runs (process %d); ending it", pid)
    for how, patience in _ENDS:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how)
        if await _within(patience, lambda: not _runs(pid)):
            return
    raise EmbeddedFailed(f"process {pid}, a PostgreSQL of {data}, does not end")


def _runs(pid: int) -> bool:
    """Does the process exist, and is it no zombie?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _is_server_of(data: Path, pid: int) -> bool:
    try:
        return os.fsencode(data) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False


async def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL)
    return True
