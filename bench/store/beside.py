"""What recording costs the scrapes: the same daemon with it and without, on replayed dumps."""

from __future__ import annotations

import gzip
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench import replayed
from bench.client import Client, polling_health
from bench.contest import after
from bench.process import NOT_RECORDING, Process, daemon
from bench.store.figures import WITH, WITHOUT, Beside
from bench.store.server import DISK

INTERVAL = 10.0  # seconds between two snapshots: three times as often as by default
SNAPSHOTS = 4  # for how many intervals scrapes are measured
WARM = 2  # snapshots: the first, of new peers alone, is in the database, and one more
PATIENCE = 900.0  # seconds that it may take until none waits in the spool
COUNT = re.compile(rb'\nwireguard_exporter_snapshots_total\{result="(\w+)"\} ([0-9]+)')

Advance = Callable[[], None]


def measure(peers: int, busy: float, interval: float = INTERVAL) -> Beside:
    """Scrape after scrape of the one daemon, then of the other, with `/-/healthy` asked meanwhile. Raises
    TimeoutError when nothing gets into the database."""
    seconds = SNAPSHOTS * interval
    scrapes, healthy, peak = {}, {}, {}
    with running(peers, busy, NOT_RECORDING) as (process, advance):
        scrapes[WITHOUT], healthy[WITHOUT] = scrape(process, advance, seconds)
        peak[WITHOUT] = process.peak_bytes()
    with running(peers, busy, f"{{interval: {interval:g}}}") as (process, advance):
        before = wait_for_snapshots(process)
        scrapes[WITH], healthy[WITH] = scrape(process, advance, seconds)
        recorded = snapshots(process)["recorded"] - before
        peak[WITH] = process.peak_bytes()
    return Beside(peers, busy, interval, recorded, scrapes, healthy, peak)


@contextmanager
def running(peers: int, busy: float, recording: str) -> Iterator[tuple[Process, Advance]]:
    """A daemon on a replayed dump, and what lets an interval between two scrapes pass in that."""
    with replayed.replaying(peers, busy) as (path, advance):
        program = "-m", "bench.replayed"
        with daemon(path, program=program, recording=recording, disk=DISK) as process:
            yield process, advance


def scrape(process: Process, advance: Advance, seconds: float) -> tuple[list[float], list[float]]:
    """For so many seconds; how long each scrape and each answer of `/-/healthy` took."""
    times, contender = [], after(advance, Client(process.port).fetch)
    end = time.monotonic() + seconds
    with polling_health(process.port) as polls:
        while time.monotonic() < end:
            times.append(contender())
    return times, polls.seconds


def wait_for_snapshots(process: Process) -> int:
    """How many are in the database, when WARM of them are and no other waits."""
    end = time.monotonic() + PATIENCE
    while True:
        there = snapshots(process)
        if there["recorded"] >= WARM and there["recorded"] == there["spooled"]:
            return there["recorded"]
        if time.monotonic() > end:
            raise TimeoutError(f"after {PATIENCE:.0f} s, snapshots still wait: {dict(there)}")
        time.sleep(1)


def snapshots(process: Process) -> Counter[str]:
    """How many there were by result, as the daemon's page tells."""
    page = gzip.decompress(Client(process.port).body())
    return Counter({result.decode(): int(count) for result, count in COUNT.findall(page)})
