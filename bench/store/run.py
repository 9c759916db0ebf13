"""The benchmark of the records, part by part."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from bench import figures
from bench.run import say
from bench.store import server
from bench.store.figures import Beside, Passage, Records, Result

BUSY = (0.2, 1.0)  # shares of peers that change with each snapshot


def here(peers: int, snapshots: int, largest: int, rounds: int) -> Result:
    """`snapshots` of a gateway with `peers` written and read back, a third of `rounds` of one with `largest`
    followed through, scrapes of that beside them. Readers get `rounds` turns."""
    command = f"python -m bench --only records --recorded {peers} --snapshots {snapshots} --largest {largest}"
    command += f" --rounds {rounds}"
    missing = server.missing()
    if missing:
        say(f"nothing can be recorded here: {missing}")
        return Result(figures.host(), command, missing)
    return Result(
        figures.host(),
        command,
        missing,
        records=tuple(Records(**part("records", peers, busy, rounds, snapshots)) for busy in BUSY),
        passages=tuple(Passage(**part("passages", largest, busy, rounds // 3 + 1)) for busy in BUSY),
        beside=(Beside(**part("beside", largest, 1.0)),),
    )


def part(name: str, peers: int, busy: float, *more: int) -> dict[str, Any]:
    """One part, in a process of its own: memory and caches of one do not serve the next."""
    say(f"{name}: {peers:,} peers, {busy:.0%} change")
    command = [sys.executable, "-m", "bench.store.measure", name, *map(str, (peers, busy, *more))]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
