"""`argus-wg show`: a live table of peers, read from the devices themselves; no daemon is asked."""
# ruff: noqa: T201 - a command prints

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import NoReturn

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from exporter import config
from exporter.commands.options import config_argument, config_path
from exporter.config import Config
from exporter.duration import duration
from exporter.liveness import State
from exporter.show.peers import SORTS, WORST_FIRST, PeerRow, View, Watcher, arrange
from exporter.show.table import Screen, has_rates, header, plain_lines, table, troubles
from exporter.terminal import plain, write_anything

INTERVAL = 2.0  # seconds
FRAMES = 2  # per second: how soon the table follows the size of the terminal

EXIT_CODES = """
Exit codes: 0 done, 1 nothing could be read, 2 wrong usage, an unknown interface or a wrong configuration.
Reading interfaces of the kernel needs CAP_NET_ADMIN. Without a terminal, one plain table is printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "interfaces",
        nargs="*",
        metavar="INTERFACE",
        help="wg0, or blue/wg0 in the network namespace blue (default: all that the configuration reads)",
    )
    parser.add_argument(
        "--sort",
        choices=SORTS,
        default="state",
        help="worst state, oldest handshake, name, or most traffic first (default: state)",
    )
    parser.add_argument(
        "--state",
        action="append",
        choices=[state.value for state in WORST_FIRST],
        default=[],
        help="show only peers in this state; can be given several times",
    )
    parser.add_argument(
        "--interval",
        type=_interval,
        metavar="TIME",
        help=f"time between readings, such as 500ms or 10s (default: {INTERVAL:g}s); with --once or --json, "
        "read twice this far apart and show rates",
    )
    parser.add_argument("--once", action="store_true", help="print one table and end")
    parser.add_argument("--json", action="store_true", help="print one JSON document and end")
    config_argument(parser)
    parser.epilog = (parser.epilog or "") + EXIT_CODES


def run(arguments: argparse.Namespace) -> int:
    write_anything()
    settings = config.load(config_path(arguments.config))
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
        _print_once(settings, view, _arranged(view, arguments))
    elif not failed:
        _live(settings, watcher, view, arguments)
    if failed:
        print("argus-wg show: nothing could be read", file=sys.stderr)
        for line, _ in troubles(view, settings.sources.uapi_directory):
            print(line, file=sys.stderr)
    return 1 if failed else 0


def _arranged(view: View, arguments: argparse.Namespace) -> list[PeerRow]:
    return arrange(view.rows, {State(state) for state in arguments.state}, arguments.sort)


def _interval(text: str) -> float:
    seconds = duration(text)
    if seconds is None or not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no time from 100ms to 1h, such as 2s or 500ms")
    return seconds


def _unknown(view: View, names: Sequence[str]) -> str:
    """What to say of names that no interface has; "" = all are there."""
    unknown = [name for name in names if name not in view.found]
    if not unknown:
        return ""
    known = ", ".join(map(plain, sorted(view.found))) or "none"
    unlisted = [
        f"{reading.source} ({reading.reason})" for reading in view.unreadable if not reading.interface
    ]
    hidden = f" (not all of them: {plain(', '.join(unlisted))} cannot be read)" if unlisted else ""
    return f"no WireGuard interface {', '.join(map(plain, unknown))}; those that exist: {known}{hidden}"


def _print_once(settings: Config, view: View, rows: Sequence[PeerRow]) -> None:
    uapi_directory = settings.sources.uapi_directory
    if not sys.stdout.isatty():
        for line in plain_lines(view, rows, uapi_directory):
            print(line)
        return
    console = Console(highlight=False)
    console.print(header(view, uapi_directory))
    if rows:
        console.print(Group(Text(), *table(rows, console.width, rated=has_rates(rows))))


def _live(settings: Config, watcher: Watcher, view: View, arguments: argparse.Namespace) -> None:
    """Until Ctrl-C. A signal that ends the program is let out of here, so that the terminal is restored."""
    interval = arguments.interval or INTERVAL
    uapi_directory = settings.sources.uapi_directory

    def screen(view: View) -> Screen:
        return Screen(view, _arranged(view, arguments), interval, uapi_directory)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    try:
        with Live(
            screen(view), console=Console(highlight=False), screen=True, refresh_per_second=FRAMES
        ) as live:
            while True:
                time.sleep(interval)
                live.update(screen(watcher.look()), refresh=True)
    except KeyboardInterrupt:
        return


def _leave(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def document(view: View, rows: Sequence[PeerRow]) -> Mapping[str, object]:
    """What `--json` prints; docs/operations.md describes the keys."""
    return {
        "gateway": view.snapshot.gateway,
        "taken_at": view.snapshot.taken_at,
        "states": {state.value: view.states[state] for state in State},
        "interfaces": [
            {
                "interface": device.label,
                "kind": device.kind,
                "public_key": device.public_key,
                "listen_port": device.listen_port,
                "up": device.link.up if device.link else None,
                "peers": len(device.peers),
            }
            for device in view.snapshot.devices
        ],
        "unreadable": [
            {
                "source": reading.source,
                "interface": reading.interface,
                "reason": reading.reason,
                "message": reading.message,
                "remedy": reading.remedy,
            }
            for reading in view.unreadable
        ],
        "directory_error": view.directory_error or None,
        "peers": [_peer(row) for row in rows],
    }


def _peer(row: PeerRow) -> Mapping[str, object]:
    entry = row.entry
    return {
        "interface": row.interface,
        "public_key": row.peer.public_key,
        "name": entry.name if entry else "",
        "site": row.site,
        "role": entry.role if entry else "",
        "owner": entry.owner if entry else "",
        "criticality": entry.criticality if entry else "normal",
        "expected": row.expected,
        "state": row.state.value,
        "last_handshake": row.last_handshake or None,
        "handshake_age": None if row.age is None else round(row.age, 3),
        "stale_after": row.window,
        "receive_bytes": row.receive_bytes,
        "transmit_bytes": row.transmit_bytes,
        "receive_rate": None if row.receive_rate is None else round(row.receive_rate, 3),
        "transmit_rate": None if row.transmit_rate is None else round(row.transmit_rate, 3),
        "endpoint": row.peer.endpoint,
        "allowed_ips": row.peer.allowed_ips,
        "persistent_keepalive": row.peer.persistent_keepalive,
        "has_preshared_key": row.peer.has_preshared_key,
    }
