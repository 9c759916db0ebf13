"""`argus-wg migrate`: migrates the schema, checks it, or distributes it over a Citus cluster."""

from __future__ import annotations

import argparse
from functools import partial

from exporter import config
from exporter.commands.connection import connected
from exporter.commands.longwork import EPILOG, work
from exporter.commands.options import config_argument, config_path
from exporter.config import Config
from exporter.store.database import distribute, migrate
from exporter.store.progress import Progress

DAEMON = "Where a daemon runs, it migrates at its start"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    config_argument(parser)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--check", action="store_true", help="say whether the schema needs a migration; change nothing"
    )
    mode.add_argument(
        "--distribute", action="store_true", help="also distribute the tables over a Citus cluster"
    )
    parser.epilog = (parser.epilog or "") + EPILOG.format(", or --check found that a migration is needed")


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
