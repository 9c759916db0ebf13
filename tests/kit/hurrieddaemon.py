"""`argus-wg serve` with its real parts, and intervals shorter than a configuration may ask for."""

from __future__ import annotations

import functools
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

from exporter import cli, config
from exporter.config import Config
from exporter.store import access
from exporter.store.database.connection import connect

TICK = 0.05  # seconds between two snapshots
LOCK_TIMEOUT = 0.5  # seconds that a statement waits for another session's lock


def command(*arguments: str) -> list[str]:
    """The command that starts it."""
    return [sys.executable, "-m", __name__, *arguments]


def main() -> int:
    load = config.load

    def hurried(path: Path | None) -> Config:
        settings = load(path)
        return replace(settings, recording=replace(settings.recording, interval=TICK))

    impatient = functools.partial(connect, lock_timeout=LOCK_TIMEOUT)
    with mock.patch.object(config, "load", hurried), mock.patch.object(access, "connect", impatient):
        return cli.main(["serve", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
