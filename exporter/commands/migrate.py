"""`argus-wg migrate`: the schema brought up to date, or asked about, or spread over a Citus cluster."""

from __future__ import annotations

import argparse
from functools import partial

from exporter import config
from exporter.commands.options import config_argument, config_path
from exporter.commands.records import EPILOG, connected, work
from exporter.config import Config
from exporter.store.database import distribute, migrate
from exporter.store.progress import Progress

DAEMON = "Where a daemon runs, it migrates at its start by itself"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    config_argument(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--check", action="store_true", help="say whether there is something to do, and do nothing"
    )
    what.add_argument(
        "--distribute", action="store_true", help="distribute the tables over a Citus cluster, too"
    )
    parser.epilog = (parser.epilog or "") + EPILOG.format(", or --check found something to do")


def run(arguments: argparse.Namespace) -> int:
    settings = config.load(config_path(arguments.config))
    return work("migrating", partial(_run, settings, arguments))


async def _run(settings: Config, arguments: argparse.Namespace, progress: Progress) -> None:
    async with connected(settings, "migrate", DAEMON) as (where, connection):
        if arguments.check:
            await migrate.check(connection)
        else:
            await migrate.migrate(connection, progress=progress)
        if arguments.distribute:
            await distribute.distribute(connection, progress=progress)
        progress.say(f"{where}: the schema has version {migrate.latest()}")
