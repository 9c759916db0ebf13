"""Runs the benchmark of the records, each part in its own process."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from bench import figures
from bench.run import say
from bench.store import server
from bench.store.figures import Impact, Pipeline, Records, Result

BUSY = (0.2, 1.0)  # shares of peers that change with each snapshot


def here(peers: int, snapshots: int, largest: int, rounds: int) -> Result:
    """Runs every part on this host.

    Writes `snapshots` of a gateway with `peers` peers and queries them `rounds` times; measures the stages of
    `rounds` / 3 snapshots of a gateway with `largest` peers, and scrapes of it with and without recording.
    """
    command = f"python -m bench --only records --recorded {peers} --snapshots {snapshots} --largest {largest}"
    command += f" --rounds {rounds}"
    missing = server.missing()
    if missing:
        say(f"records are not measured: {missing}")
        return Result(figures.host(), command, missing)
    return Result(
        figures.host(),
        command,
        missing,
        records=tuple(Records(**part("records", peers, busy, rounds, snapshots)) for busy in BUSY),
        pipelines=tuple(Pipeline(**part("pipeline", largest, busy, rounds // 3 + 1)) for busy in BUSY),
        impacts=(Impact(**part("impact", largest, 1.0)),),
    )


def part(name: str, peers: int, busy: float, *more: int) -> dict[str, Any]:
    """Runs one part in its own process, so that its memory and caches do not affect the next part."""
    say(f"{name}: {peers:,} peers, {busy:.0%} change")
    command = [sys.executable, "-m", "bench.store.measure", name, *map(str, (peers, busy, *more))]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
