"""Ctrl-C, SIGTERM and SIGHUP, which are checked between two steps.

An exception in the middle of a step could lose a process that was just started and is not yet recorded.
"""

from __future__ import annotations

import signal
import time
from types import TracebackType
from typing import Any, Self

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SLICE = 0.1  # seconds of sleep between two checks


class Interrupts:
    """Records the signals that end the demo; `check` and `wait` then raise `KeyboardInterrupt`."""

    def __init__(self) -> None:
        self._received = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in ENDING:
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # as nohup(1) sets it
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raises `KeyboardInterrupt` after a signal."""
        if self._received:
            raise KeyboardInterrupt

    def wait(self, seconds: float) -> None:
        """Sleeps; raises `KeyboardInterrupt` within a tenth of a second of a signal."""
        until = time.monotonic() + seconds
        self.check()
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, SLICE))
            self.check()

    def _note(self, *_: object) -> None:
        self._received = True
