"""`argus-wg bundle DIR`: writes rules, the configuration of Alertmanager, runbooks and dashboards."""
# ruff: noqa: T201 - a command prints

from __future__ import annotations

import argparse
from pathlib import Path

from exporter.bundle import RUNBOOKS, write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory", type=Path, metavar="DIR", help="directory to write to; created if it does not exist"
    )
    parser.add_argument(
        "--runbooks",
        default=RUNBOOKS,
        metavar="URL",
        help="address of the files in DIR/runbooks, for the links in alerts (default: %(default)s)",
    )
    parser.add_argument(
        "--rehearse",
        type=_divisor,
        default=1,
        metavar="N",
        help="divide every duration of rules, routes and scrapes by N, to see an outage within minutes",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints each file and whether it was written. Raises `BundleError`."""
    for name, kept in write(arguments.directory, arguments.runbooks.rstrip("/"), arguments.rehearse):
        print(f"{'kept, it is yours' if kept else 'written':<17}  {arguments.directory / name}")
    return 0


def _divisor(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= 60:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 60")
