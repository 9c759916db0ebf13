"""`argus-wg reclassify`: another clearance for a gateway, an interface or a peer, with its history."""

from __future__ import annotations

import argparse
import os
import pwd
import socket
import sys
from functools import partial

from exporter import config
from exporter.commands.options import config_argument, config_path
from exporter.commands.records import EPILOG, connected, work
from exporter.config import Config
from exporter.errors import InputError
from exporter.store.database import migrate
from exporter.store.maintenance.reclassify import preview, reclassify
from exporter.store.maintenance.selection import Goal
from exporter.store.progress import Progress
from exporter.store.storable import storable

DAEMON = (
    "Where a daemon runs, its database is reached with PGHOST, PGUSER, PGDATABASE and PGPASSWORD, as "
    "docs/storage.md shows"
)
HIGHEST = 32767


def add_arguments(parser: argparse.ArgumentParser) -> None:
    config_argument(parser)
    parser.add_argument("--organisation", metavar="NAME", required=True, help="whose it is")
    parser.add_argument("--gateway", metavar="NAME", default="", help="the gateway, or where the rest is")
    parser.add_argument("--interface", metavar="NAME", default="", help="an interface of the gateway")
    parser.add_argument(
        "--peer",
        metavar="PUBLICKEY",
        default="",
        help="a peer: on the interface, the gateway, or wherever it is",
    )
    parser.add_argument(
        "--clearance",
        metavar="N",
        required=True,
        type=_clearance,
        help=f"what a reader must have to see it, from 0 to {HIGHEST}",
    )
    parser.add_argument(
        "--with-contents", action="store_true", help="the same for every interface and peer in it, up or down"
    )
    parser.add_argument("--check", action="store_true", help="say how many rows would change, and do nothing")
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
        raise _wrong("--gateway", "what is it for? Name a gateway, or a peer with --peer")
    if names["interface"] and not names["gateway"]:
        raise _wrong("--interface", "an interface is a gateway's: name that with --gateway")
    if names["peer"] and arguments.with_contents:
        raise _wrong("--with-contents", "there is nothing in a peer")
    return Goal(clearance=arguments.clearance, with_contents=arguments.with_contents, **names)


def _wrong(option: str, problem: str) -> InputError:
    return InputError("the command line", 0, option, problem)


def _clearance(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= HIGHEST):
        raise argparse.ArgumentTypeError(f"{text} is no clearance; write a number from 0 to {HIGHEST}")
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
    """Who does it, for the audit events: who became root is not root."""
    try:
        user = os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return storable(f"{user} on {socket.gethostname()}")
