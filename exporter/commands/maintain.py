"""`argus-wg maintain`: creates partitions, compacts old days and drops older ones, at once."""

from __future__ import annotations

import argparse
import math
from functools import partial

from exporter import config
from exporter.commands.connection import connected
from exporter.commands.longwork import EPILOG, work
from exporter.commands.options import config_argument, config_path
from exporter.config import Config
from exporter.errors import InputError
from exporter.instants import DAY_SECONDS
from exporter.store.database import migrate
from exporter.store.maintenance.maintain import maintain
from exporter.store.progress import Progress

DAEMON = "Where a daemon runs, it maintains its database every hour"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    config_argument(parser)
    parser.add_argument(
        "--raw-days",
        type=_days,
        metavar="N",
        help="compact days that ended N days ago (default: recording.keep_raw)",
    )
    parser.add_argument(
        "--history-days",
        type=_days,
        metavar="N",
        help="drop days that ended N days ago (default: recording.keep_history)",
    )
    parser.epilog = (parser.epilog or "") + EPILOG.format("")


def run(arguments: argparse.Namespace) -> int:
    settings = config.load(config_path(arguments.config))
    raw, history = arguments.raw_days, arguments.history_days
    raw = math.ceil(settings.recording.keep_raw / DAY_SECONDS) if raw is None else raw
    history = math.ceil(settings.recording.keep_history / DAY_SECONDS) if history is None else history
    if history < raw:
        raise InputError(
            "the command line",
            0,
            "--history-days",
            f"must be at least {raw}, the value for --raw-days, not {history}",
        )
    return work("maintaining", partial(_run, settings, raw, history))


async def _run(settings: Config, raw_days: int, history_days: int, progress: Progress) -> None:
    async with connected(settings, "maintain", DAEMON, role="argus_owner") as (where, connection):
        await migrate.check(connection)
        await maintain(connection, raw_days=raw_days, history_days=history_days, progress=progress)
        progress.say(f"{where}: maintained")


def _days(text: str) -> int:
    if not text.isdecimal() or len(text) > 5:
        raise argparse.ArgumentTypeError(f"{text} is not a number of days; write 0, 1, 2 …")
    return int(text)
