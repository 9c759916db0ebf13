"""How much recording slows scrapes down: the daemon with and without it, on replayed dumps."""

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
from bench.store.figures import WITH, WITHOUT, Impact
from bench.store.server import DISK

INTERVAL = 10.0  # seconds between two snapshots: three times as often as by default
SNAPSHOTS = 4  # number of snapshot intervals during which scrapes are measured
WARM_UP = 2  # snapshots recorded before measuring: the first has only new peers and takes long
PATIENCE = 900.0  # longest wait in seconds until the spool is empty
COUNT = re.compile(rb'\nwireguard_exporter_snapshots_total\{result="(\w+)"\} ([0-9]+)')

Advance = Callable[[], None]


def measure(peers: int, busy: float, interval: float = INTERVAL) -> Impact:
    """Scrapes each daemon continuously, one daemon after the other, and polls `/-/healthy` meanwhile.

    `busy`: share of peers that change, 0 to 1. `interval`: seconds between two snapshots. Raises TimeoutError
    if snapshots do not reach the database.
    """
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
    return Impact(peers, busy, interval, recorded, scrapes, healthy, peak)


@contextmanager
def running(peers: int, busy: float, recording: str) -> Iterator[tuple[Process, Advance]]:
    """Runs a daemon on a replayed dump; `Advance` moves the replay on by one scrape interval."""
    with replayed.replaying(peers, busy) as (path, advance):
        program = "-m", "bench.replayed"
        with daemon(path, program=program, recording=recording, disk=DISK) as process:
            yield process, advance


def scrape(process: Process, advance: Advance, seconds: float) -> tuple[list[float], list[float]]:
    """Scrapes for `seconds`, and returns the seconds of each scrape and of each answer of `/-/healthy`."""
    times, contender = [], after(advance, Client(process.port).fetch)
    end = time.monotonic() + seconds
    with polling_health(process.port) as polls:
        while time.monotonic() < end:
            times.append(contender())
    return times, polls.seconds


def wait_for_snapshots(process: Process) -> int:
    """Waits until WARM_UP snapshots are recorded and the spool is empty; returns how many are recorded."""
    end = time.monotonic() + PATIENCE
    while True:
        counts = snapshots(process)
        if counts["recorded"] >= WARM_UP and counts["recorded"] == counts["spooled"]:
            return counts["recorded"]
        if time.monotonic() > end:
            raise TimeoutError(f"after {PATIENCE:.0f} s, snapshots still wait: {dict(counts)}")
        time.sleep(1)


def snapshots(process: Process) -> Counter[str]:
    """The daemon's counts of snapshots by result, from its metrics page."""
    page = gzip.decompress(Client(process.port).body())
    return Counter({result.decode(): int(count) for result, count in COUNT.findall(page)})
