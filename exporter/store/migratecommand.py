"""`argus-wg migrate`: the schema brought up to date, or asked about, or spread over a Citus cluster."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from contextlib import AsyncExitStack

from exporter import config
from exporter.cli import config_argument, config_path
from exporter.config import Config
from exporter.store import database, distribute, migrate
from exporter.store.embedded import Embedded
from exporter.store.errors import EmbeddedFailed
from exporter.store.progress import Progress, shown
from exporter.store.settings import Target, target

EPILOG = """
It can be interrupted at any time, and goes on where it was when it is run again.
Exit codes: 0 done, 1 it failed, or --check found something to do, 2 wrong usage or configuration file, 130
interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    config_argument(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--check", action="store_true", help="say whether there is something to do, and do nothing"
    )
    what.add_argument(
        "--distribute", action="store_true", help="distribute the tables over a Citus cluster, too"
    )
    parser.epilog = (parser.epilog or "") + EPILOG


def run(arguments: argparse.Namespace) -> int:
    settings = config.load(config_path(arguments.config))
    try:
        with shown("migrating") as progress:
            asyncio.run(_run(settings, progress, check=arguments.check, spread=arguments.distribute))
    except KeyboardInterrupt:
        sys.stderr.write(
            "argus-wg: interrupted; what was done is kept, and the next run goes on from there\n"
        )
        return 130
    return 0


async def _run(settings: Config, progress: Progress, *, check: bool, spread: bool) -> None:
    async with AsyncExitStack() as stack:
        where = target(settings.database, os.environ) or await _embedded(settings, stack)
        connection = await database.connect(where, application="argus-wg migrate", statement_timeout=0)
        stack.push_async_callback(database.leave, connection)
        with database.errors(where):
            if check:
                await migrate.check(connection)
            else:
                await migrate.migrate(connection, progress=progress)
            if spread:
                await distribute.distribute(connection, progress=progress)
        progress.say(f"{where}: the schema has version {migrate.latest()}")


async def _embedded(settings: Config, stack: AsyncExitStack) -> Target:
    """The private server, running until the stack unwinds. It refuses to while a daemon has it."""
    server = Embedded(settings.state_directory)
    try:
        await server.start()
    except EmbeddedFailed as error:
        raise EmbeddedFailed(f"{error}. Where a daemon runs, it migrates at its start by itself") from error
    stack.push_async_callback(server.stop)
    with database.errors(server.superuser):
        superuser = await database.connect(server.superuser, application="argus-wg migrate")
        try:
            await migrate.bootstrap(superuser, server.target.user)
        finally:
            await database.leave(superuser)
    return server.target
