"""`python -m bench`: how fast the exporter is, on this machine, against what else does the same here."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import figures as scrapes
from bench import report, run
from bench.store import figures as records
from bench.store import report as store_report
from bench.store import run as store_run
from bench.store import verdicts as limits
from tests.kernel.image import UnavailableError
from tests.kernel.vm import VmError

PAGE = Path("docs/performance.md")


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures scrapes of the daemon against `wg show dump` and the raw dump, and records of "
        "snapshots against wide rows by COPY, each in one run. Scrapes: as root, on a kernel with WireGuard; "
        "elsewhere replayed dumps are all that it can measure. Records: where there is a PostgreSQL.",
        epilog="Example: python -m bench --peers 1000,10000 --rounds 9",
    )
    parser.add_argument("--only", choices=("scrapes", "records"), help="one of the two (default: both)")
    parser.add_argument(
        "--peers",
        type=numbers,
        default=[1000, 10_000, 100_000],
        metavar="N,N…",
        help="sizes of gateways that are scraped (default: 1000,10000,100000)",
    )
    parser.add_argument(
        "--rounds", type=positive, default=15, metavar="N", help="turns of each contender (default: 15)"
    )
    parser.add_argument(
        "--recorded",
        type=positive,
        default=limits.PEERS,
        metavar="N",
        help=f"peers of a gateway whose snapshots are read back (default: {limits.PEERS})",
    )
    parser.add_argument(
        "--snapshots",
        type=positive,
        default=limits.SNAPSHOTS,
        metavar="N",
        help=f"how many of those (default: {limits.SNAPSHOTS})",
    )
    parser.add_argument(
        "--largest",
        type=positive,
        default=limits.LARGEST,
        metavar="N",
        help=f"peers of a gateway whose snapshots are followed through (default: {limits.LARGEST})",
    )
    parser.add_argument(
        "--in-vm",
        action="store_true",
        help="scrapes alone, on Debian's kernel in qemu, as the tests use it",
    )
    parser.add_argument("--json", action="store_true", help="every single measurement, instead of the report")
    parser.add_argument("--write", action="store_true", help=f"put the report into {PAGE} as well")
    given = parser.parse_args(words)
    if given.in_vm:
        given.only = "scrapes"
    return given


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def numbers(text: str) -> list[int]:
    return [positive(word) for word in text.split(",")]


@dataclass(frozen=True, slots=True)
class Part:
    """One benchmark that was made, and the lines of the page that its report goes between."""

    name: str
    result: scrapes.Result | records.Result
    text: str
    first: str
    last: str


def parts(given: argparse.Namespace) -> Iterator[Part]:
    """One after the other, as they are done."""
    if given.only != "records":
        measure = run.in_vm if given.in_vm else run.here
        result = measure(given.peers, given.rounds)
        yield Part("scrapes", result, report.report(result), report.BEGIN, report.END)
    if given.only != "scrapes":
        kept = store_run.here(given.recorded, given.snapshots, given.largest, given.rounds)
        yield Part("records", kept, store_report.report(kept), store_report.BEGIN, store_report.END)


def main(words: Sequence[str] | None = None) -> int:
    given = arguments(words)
    taken = {}
    try:
        for part in parts(given):
            taken[part.name] = dataclasses.asdict(part.result)
            if given.write:
                PAGE.write_text(report.put_into(PAGE.read_text(), part.text, part.first, part.last))
            if not given.json:
                print(part.text)
    except (UnavailableError, VmError) as error:
        run.say(f"bench: no guest: {error}")
        return 1
    if given.json:
        print(json.dumps(taken))
    return 0


if __name__ == "__main__":
    sys.exit(main())
