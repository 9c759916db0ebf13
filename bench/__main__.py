"""`python -m bench`: how fast the exporter is, on this machine, against what else reads WireGuard here."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import figures, wireguard
from bench.figures import Figures, Result
from bench.report import put_into, report
from tests.kernel.image import UnavailableError
from tests.kernel.vm import EXCHANGE, VmError, boot

PAGE = Path("docs/performance.md")
BUSY = (1.0, 0.2)  # shares of peers whose counters change with each reading


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures scrapes of the daemon against `wg show dump` and the raw dump, in one run. "
        "As root, on a kernel with WireGuard; elsewhere replayed dumps are all that it can measure.",
        epilog="Example: python -m bench --peers 1000,10000 --rounds 9",
    )
    parser.add_argument(
        "--peers",
        type=numbers,
        default=[1000, 10_000, 100_000],
        metavar="N,N…",
        help="sizes of gateways (default: 1000,10000,100000)",
    )
    parser.add_argument(
        "--rounds", type=positive, default=15, metavar="N", help="turns of each contender (default: 15)"
    )
    parser.add_argument(
        "--in-vm", action="store_true", help="on Debian's kernel in qemu, as the tests use it"
    )
    parser.add_argument("--json", action="store_true", help="every single measurement, instead of the report")
    parser.add_argument("--write", action="store_true", help=f"put the report into {PAGE} as well")
    return parser.parse_args(words)


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def numbers(text: str) -> list[int]:
    return [positive(word) for word in text.split(",")]


def main(words: Sequence[str] | None = None) -> int:
    given = arguments(words)
    try:
        result = in_vm(given) if given.in_vm else here(given)
    except (UnavailableError, VmError) as error:
        say(f"bench: no guest: {error}")
        return 1
    text = report(result)
    if given.write:
        PAGE.write_text(put_into(PAGE.read_text(), text))
    print(json.dumps(dataclasses.asdict(result)) if given.json else text)
    return 0


def here(given: argparse.Namespace) -> Result:
    """Measure on this kernel."""
    no_kernel = wireguard.missing()
    taken = []
    if no_kernel:
        say(f"no WireGuard interface can be made here: {no_kernel}; measuring replayed dumps alone")
    else:
        taken += [measured(peers, given.rounds, None) for peers in given.peers]
    taken += [measured(peers, given.rounds, busy) for busy in BUSY for peers in given.peers]
    peers = ",".join(map(str, given.peers))
    command = f"python -m bench --peers {peers} --rounds {given.rounds}"
    return Result(figures.host(), command, given.rounds, no_kernel, tuple(taken))


def measured(peers: int, rounds: int, busy: float | None) -> Figures:
    """One part at one size, in a process of its own: memory and caches of one do not serve the next."""
    say(
        f"{peers:,} peers: "
        + ("an interface of the kernel" if busy is None else f"replayed, {busy:.0%} change")
    )
    words = [str(peers), str(rounds), *([] if busy is None else [str(busy)])]
    alone = wireguard.ALONE if busy is None else ()
    command = [*alone, sys.executable, "-m", "bench.measure", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return Figures(**json.loads(done.stdout))


def in_vm(given: argparse.Namespace) -> Result:
    """The same, all of it inside the guest that the kernel tests run in."""
    peers = ",".join(map(str, given.peers))
    command = [sys.executable, "-m", "bench", "--json", "--peers", peers, "--rounds", str(given.rounds)]
    with boot() as guest:
        say(f"in the guest, by {guest.accelerator}; emulated times say little, their ratios more")
        done = guest.run(f"{shlex.join(command)} >{EXCHANGE}/bench.json", timeout=3600)
        if done.status:
            raise RuntimeError(f"in the guest:\n{done.output}")
        return Result.from_json(json.loads((guest.exchange / "bench.json").read_text()))


def say(what: str) -> None:
    """Progress goes to standard error: standard output is the report's."""
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
