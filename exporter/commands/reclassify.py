"""`argus-wg reclassify`: changes the clearance of a gateway, an interface or a peer and of its history."""

from __future__ import annotations

import argparse
import os
import pwd
import socket
import sys
from functools import partial

from exporter import config
from exporter.commands.connection import connected
from exporter.commands.longwork import EPILOG, work
from exporter.commands.options import config_argument, config_path
from exporter.config import Config
from exporter.errors import InputError
from exporter.store.database import migrate
from exporter.store.maintenance.reclassify import preview, reclassify
from exporter.store.maintenance.selection import Goal
from exporter.store.progress import Progress
from exporter.store.storable import storable

DAEMON = (
    "Where a daemon runs, connect to its database with PGHOST, PGUSER, PGDATABASE and PGPASSWORD, as "
    "docs/storage.md shows"
)
HIGHEST = 32767


def add_arguments(parser: argparse.ArgumentParser) -> None:
    config_argument(parser)
    parser.add_argument(
        "--organisation", metavar="NAME", required=True, help="the organisation that it belongs to"
    )
    parser.add_argument(
        "--gateway",
        metavar="NAME",
        default="",
        help="a gateway; with --interface or --peer, the gateway of these",
    )
    parser.add_argument("--interface", metavar="NAME", default="", help="an interface of the gateway")
    parser.add_argument(
        "--peer",
        metavar="PUBLICKEY",
        default="",
        help="a peer: on the interface, else on the gateway, else on every gateway",
    )
    parser.add_argument(
        "--clearance",
        metavar="N",
        required=True,
        type=_clearance,
        help=f"minimum clearance needed to read the records, from 0 to {HIGHEST}",
    )
    parser.add_argument(
        "--with-contents",
        action="store_true",
        help="set the same clearance, higher or lower, on its interfaces and peers",
    )
    parser.add_argument("--check", action="store_true", help="say how many rows would change; change nothing")
    parser.epilog = (parser.epilog or "") + EPILOG.format("")


def run(arguments: argparse.Namespace) -> int:
    goal = _goal(arguments)
    settings = config.load(config_path(arguments.config))
    if not arguments.check:
        return work("reclassifying", partial(_reclassify, settings, goal))
    counts: dict[str, int] = {}
    status = work("counting", partial(_count, settings, goal, counts))
    for table, rows in counts.items():
        sys.stdout.write(f"{table:17} {rows:14}\n")
    return status


def _goal(arguments: argparse.Namespace) -> Goal:
    names = {
        name: storable(getattr(arguments, name)) for name in ("organisation", "gateway", "interface", "peer")
    }
    if not names["gateway"] and not names["peer"]:
        raise _wrong("--gateway", "is missing", "name a gateway, or a peer with --peer")
    if names["interface"] and not names["gateway"]:
        raise _wrong("--interface", "needs --gateway: an interface belongs to a gateway")
    if names["peer"] and arguments.with_contents:
        raise _wrong("--with-contents", "cannot be used with --peer: a peer has no contents")
    return Goal(clearance=arguments.clearance, with_contents=arguments.with_contents, **names)


def _wrong(option: str, problem: str, remedy: str = "") -> InputError:
    return InputError("the command line", 0, option, problem, remedy)


def _clearance(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= HIGHEST):
        raise argparse.ArgumentTypeError(f"{text} is not a clearance; write a number from 0 to {HIGHEST}")
    return int(text)


async def _count(settings: Config, goal: Goal, counts: dict[str, int], progress: Progress) -> None:
    async with connected(settings, "reclassify", DAEMON, "argus_owner") as (_, connection):
        await migrate.check(connection)
        counts.update(await preview(connection, goal, progress=progress))


async def _reclassify(settings: Config, goal: Goal, progress: Progress) -> None:
    async with connected(settings, "reclassify", DAEMON, "argus_owner") as (where, connection):
        await migrate.check(connection)
        rows = await reclassify(connection, goal, actor=_actor(), progress=progress)
        progress.say(f"{where}: {goal} has clearance {goal.clearance}; {rows} rows were rewritten")


def _actor() -> str:
    """The user for the audit events; with sudo, the user that called it."""
    try:
        user = os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return storable(f"{user} on {socket.gethostname()}")
