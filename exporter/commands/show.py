"""`argus-wg show`: a live table of peers, read directly from the interfaces; no daemon is needed."""
# ruff: noqa: T201 - a command prints

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.text import Text

from exporter import config
from exporter.commands.options import config_argument, config_path
from exporter.input.duration import duration
from exporter.liveness import State
from exporter.show.document import document
from exporter.show.live import show_live
from exporter.show.peers import SORTS, WORST_FIRST, PeerRow, View, Watcher, arrange
from exporter.show.table import Screen, has_rates, header, plain_lines, table, troubles
from exporter.terminal import plain, write_anything

INTERVAL = 2.0  # seconds

EXIT_CODES = """
Exit codes: 0 done, 1 nothing could be read, 2 wrong usage, an unknown interface or a wrong configuration.
Reading interfaces of the kernel needs CAP_NET_ADMIN. Without a terminal, one plain table is printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "interfaces",
        nargs="*",
        metavar="INTERFACE",
        help="wg0, or blue/wg0 in the network namespace blue (default: all that the configuration includes)",
    )
    parser.add_argument(
        "--sort",
        choices=SORTS,
        default="state",
        help="order: worst state, oldest handshake, name, or most traffic first (default: state)",
    )
    parser.add_argument(
        "--state",
        action="append",
        choices=[state.value for state in WORST_FIRST],
        default=[],
        help="show only peers in this state; may be given several times",
    )
    parser.add_argument(
        "--interval",
        type=_interval,
        metavar="TIME",
        help=f"time between readings, such as 500ms or 10s (default: {INTERVAL:g}s); with --once or --json, "
        "read twice this far apart and show rates",
    )
    parser.add_argument("--once", action="store_true", help="print one table and exit")
    parser.add_argument("--json", action="store_true", help="print one JSON document and exit")
    config_argument(parser)
    parser.epilog = (parser.epilog or "") + EXIT_CODES


def run(arguments: argparse.Namespace) -> int:
    write_anything()
    settings = config.load(config_path(arguments.config))
    uapi_directory = settings.sources.uapi_directory
    watcher = Watcher(settings, arguments.interfaces)
    once = arguments.once or arguments.json or not sys.stdout.isatty()
    view = watcher.look()
    if unknown := _unknown(view, arguments.interfaces):
        print(f"argus-wg show: {unknown}", file=sys.stderr)
        return 2
    if once and arguments.interval:
        time.sleep(arguments.interval)
        view = watcher.look()
    failed = not view.snapshot.devices and bool(view.unreadable)
    if arguments.json:
        json.dump(document(view, _arranged(view, arguments)), sys.stdout, indent=2)
        print()
    elif once and not failed:
        _print_once(view, _arranged(view, arguments), uapi_directory)
    elif not failed:
        interval = arguments.interval or INTERVAL

        def screen(view: View) -> Screen:
            return Screen(view, _arranged(view, arguments), interval, uapi_directory)

        show_live(watcher, view, screen, interval)
    if failed:
        print("argus-wg show: nothing could be read", file=sys.stderr)
        for line, _ in troubles(view, uapi_directory):
            print(line, file=sys.stderr)
    return 1 if failed else 0


def _arranged(view: View, arguments: argparse.Namespace) -> list[PeerRow]:
    return arrange(view.rows, {State(state) for state in arguments.state}, arguments.sort)


def _interval(text: str) -> float:
    seconds = duration(text)
    if seconds is None or not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time from 100ms to 1h, such as 2s or 500ms")
    return seconds


def _unknown(view: View, names: Sequence[str]) -> str:
    """The error about names that no interface has; "" = every name is an interface."""
    unknown = [name for name in names if name not in view.found]
    if not unknown:
        return ""
    known = ", ".join(map(plain, sorted(view.found))) or "none"
    unlisted = [
        f"{reading.source} ({reading.reason})" for reading in view.unreadable if not reading.interface
    ]
    hidden = f" (there may be more: {plain(', '.join(unlisted))} cannot be read)" if unlisted else ""
    return f"no WireGuard interface {', '.join(map(plain, unknown))}; existing interfaces: {known}{hidden}"


def _print_once(view: View, rows: Sequence[PeerRow], uapi_directory: Path) -> None:
    if not sys.stdout.isatty():
        for line in plain_lines(view, rows, uapi_directory):
            print(line)
        return
    console = Console(highlight=False)
    console.print(header(view, uapi_directory))
    if rows:
        console.print(Group(Text(), *table(rows, console.width, rated=has_rates(rows))))
