"""The benchmark of scrapes, part by part: on this kernel, or on that of a guest."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence

from bench import figures, wireguard
from bench.figures import Figures, Result
from tests.kernel.vm import EXCHANGE, boot

BUSY = (1.0, 0.2)  # shares of peers whose counters change with each reading


def here(sizes: Sequence[int], rounds: int) -> Result:
    """Measure on this kernel."""
    no_kernel = wireguard.missing()
    taken = []
    if no_kernel:
        say(f"no WireGuard interface can be made here: {no_kernel}; measuring replayed dumps alone")
    else:
        taken += [measured(peers, rounds, None) for peers in sizes]
    taken += [measured(peers, rounds, busy) for busy in BUSY for peers in sizes]
    command = f"python -m bench {shlex.join(words(sizes, rounds))}"
    return Result(figures.host(), command, rounds, no_kernel, tuple(taken))


def words(sizes: Sequence[int], rounds: int) -> list[str]:
    """What the command is asked for this with."""
    return ["--only", "scrapes", "--peers", ",".join(map(str, sizes)), "--rounds", str(rounds)]


def measured(peers: int, rounds: int, busy: float | None) -> Figures:
    """One part at one size, in a process of its own: memory and caches of one do not serve the next."""
    say(
        f"{peers:,} peers: "
        + ("an interface of the kernel" if busy is None else f"replayed, {busy:.0%} change")
    )
    asked = [str(peers), str(rounds), *([] if busy is None else [str(busy)])]
    alone = wireguard.ALONE if busy is None else ()
    command = [*alone, sys.executable, "-m", "bench.measure", *asked]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return Figures(**json.loads(done.stdout))


def in_vm(sizes: Sequence[int], rounds: int) -> Result:
    """The same, all of it inside the guest that the kernel tests run in. Raises UnavailableError, VmError."""
    command = [sys.executable, "-m", "bench", "--json", *words(sizes, rounds)]
    with boot() as guest:
        say(f"in the guest, by {guest.accelerator}; emulated times say little, their ratios more")
        done = guest.run(f"{shlex.join(command)} >{EXCHANGE}/bench.json", timeout=3600)
        if done.status:
            raise RuntimeError(f"in the guest:\n{done.output}")
        return Result.from_json(json.loads((guest.exchange / "bench.json").read_text())["scrapes"])


def say(what: str) -> None:
    """Progress goes to standard error: standard output is the report's."""
    print(what, file=sys.stderr, flush=True)
