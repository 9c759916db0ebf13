"""The daemon as a process of its own, with its processor time and its peak of memory."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

CONFIG = """\
listen: 127.0.0.1:0
gateway: bench
sources: {uapi: false, timeout: 120}
directory: {wg_quick: []}
limits: {request_timeout: 300}
"""
NOT_RECORDING = "{enabled: false}"
SERVING = re.compile(r" on 127\.0\.0\.1:([0-9]+)")


@dataclass(frozen=True, slots=True)
class Process:
    """A running daemon."""

    pid: int
    port: int

    def processor_seconds(self) -> float:
        """User and system time since its start. The clock is the one of clock_getcpuclockid(3)."""
        return time.clock_gettime(~self.pid << 3 | 2)

    def peak_bytes(self) -> int:
        """The most memory that it ever had resident (VmHWM)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024


@contextmanager
def daemon(
    *before: str,
    program: Sequence[str] = ("-m", "exporter.cli"),
    recording: str = NOT_RECORDING,
    disk: str | None = None,
) -> Iterator[Process]:
    """`argus-wg serve` on a free port, stopped at the end. `program` is what Python runs, `before` its
    arguments ahead of `serve`; `recording` is that section of the configuration, `disk` the directory below
    which it keeps its state. Returns when the first reading is done."""
    with tempfile.TemporaryDirectory(prefix="argus-bench-", dir=disk) as folder:
        Path(folder).chmod(0o711)  # a private PostgreSQL is not run by root
        config = Path(folder) / "argus-wg.yml"
        config.write_text(f"{CONFIG}state_directory: {folder}/state\nrecording: {recording}\n")
        command = [sys.executable, *program, *before, "serve", "--config", str(config)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr
                yield Process(process.pid, _port(process.stderr))
            finally:
                process.terminate()
                process.communicate()


def _port(log: IO[str]) -> int:
    """The port that the daemon's log names once it serves."""
    said = []
    for line in log:
        said.append(line)
        if found := SERVING.search(line):
            return int(found[1])
    raise RuntimeError("the daemon does not start:\n" + "".join(said))
