"""The time of each stage of a scrape, measured in this process."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from exporter.commands.serve import keep_freed_memory
from exporter.directory.entry import Directory
from exporter.health import Health
from exporter.metrics.gathering.inputs import Inputs, Serving
from exporter.metrics.gathering.native import NativeGatherer
from exporter.metrics.rendering import blocks
from exporter.metrics.rendering.native import NativeRenderer
from exporter.metrics.rendering.text import OPENMETRICS
from exporter.observe import Observer
from exporter.sources.gateway import Gateway
from exporter.web.messages.page import Page

STAGES = ("read", "observe", "gather", "render", "compress", "join")


@dataclass(slots=True)
class Clocked:
    """Calls of one function: their number, and the duration of those that were timed."""

    calls: int = 0
    timed: int = 0
    spent: float = 0.0  # seconds

    def seconds(self, clock: float) -> float:
        """Seconds of all calls from the timed ones. `clock`: seconds that reading the clock takes."""
        return max(self.spent / self.timed - clock, 0.0) * self.calls if self.timed else 0.0


def clock_seconds() -> float:
    """Seconds that reading the clock takes, which differs much between kernels."""
    readings = [time.perf_counter() for _ in range(1000)]
    return statistics.median(later - earlier for earlier, later in pairwise(readings))


@contextmanager
def clocked(owner: object, name: str, every: int) -> Iterator[Clocked]:
    """Times each `every`-th call of a function while the block runs.

    With thousands of short calls, reading the clock around each could take longer than the calls.
    """
    original = getattr(owner, name)
    clock = Clocked()

    def watched(*arguments: Any) -> Any:
        clock.calls += 1
        if clock.calls % every and clock.timed:
            return original(*arguments)
        started = time.perf_counter()
        result = original(*arguments)
        clock.spent += time.perf_counter() - started
        clock.timed += 1
        return result

    setattr(owner, name, watched)
    try:
        yield clock
    finally:
        setattr(owner, name, original)


class Stages:
    """A contender that makes a page as the daemon does, and measures each stage.

    `read` receives and decodes; `observe` compares with the previous reading; `gather` makes the samples and
    columns; `render` finds the changed blocks of peers and makes their text; `compress` compresses that text;
    `join` joins kept and new pieces.
    """

    def __init__(self) -> None:
        keep_freed_memory()
        self._clock = clock_seconds()
        self._gateway = Gateway("bench", uapi_directory=None, timeout=120.0)
        self._observer = Observer()
        self._health = Health()
        self._gatherer = NativeGatherer("", lifetime=False)
        self._renderer = NativeRenderer()
        self.times: dict[str, list[float]] = {stage: [] for stage in STAGES}
        self.page = Page(OPENMETRICS, "gzip", [])
        self()
        gc.freeze()
        self.times = {stage: [] for stage in STAGES}

    def __call__(self) -> float:
        """Makes the page of one reading. Returns the seconds that it took."""
        clock = time.perf_counter
        times = [clock()]
        snapshot = self._gateway.read()
        times.append(clock())
        self._observer.update(snapshot)
        self._health.update(snapshot)
        times.append(clock())
        inputs = Inputs(snapshot, self._observer.devices, self._health, Directory(), 0, Serving())
        content = self._gatherer.gather(inputs)
        times.append(clock())
        every = 1 + sum(len(device.peers) for device in snapshot.devices) // 2000
        with (
            clocked(blocks.BlockText, "deflated", every) as changing,
            clocked(blocks, "deflate", every) as compressing,
        ):
            pieces = self._renderer.render(content, openmetrics=True, gzip=True)
        times.append(clock())
        self.page = Page(OPENMETRICS, "gzip", pieces)
        read, observe, gather, compressed = (end - start for start, end in pairwise(times))
        block, deflate = changing.seconds(self._clock), compressing.seconds(self._clock)
        parts = (read, observe, gather, max(block - deflate, 0.0), deflate, max(compressed - block, 0.0))
        for stage, seconds in zip(STAGES, parts, strict=True):
            self.times[stage].append(seconds)
        return times[-1] - times[0]
