"""`argus-wg demo`: runs a mesh of WireGuard tunnels on this host, with exporters on it."""

from __future__ import annotations

import argparse
from contextlib import suppress

from exporter.demo.demo import run_demo

SILENT_AFTER = 60.0  # seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--silent-after",
        type=_seconds,
        default=SILENT_AFTER,
        metavar="SECONDS",
        help="pull the cable of one peer after this time (default: %(default)g)",
    )
    parser.add_argument(
        "--exit-after",
        type=_seconds,
        metavar="SECONDS",
        help="end this long after the mesh is up (default: run until Ctrl-C)",
    )


def run(arguments: argparse.Namespace) -> int:
    """0 = ended as asked and everything is removed, 1 = a part of it failed. Raises `DemoError`."""
    return run_demo(arguments.silent_after, arguments.exit_after)


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if (seconds := float(text)) >= 0:
            return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, such as 60")
