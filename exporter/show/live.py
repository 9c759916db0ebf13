"""A live table on a terminal, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from rich.console import Console
from rich.live import Live

from exporter.show.peers import View, Watcher
from exporter.show.table import Screen

FRAMES = 2  # per second: how soon the table follows the size of the terminal


def show_live(watcher: Watcher, view: View, screen: Callable[[View], Screen], interval: float) -> None:
    """Shows `view` and then a new reading every `interval` seconds; returns after Ctrl-C.

    A signal that ends the program becomes SystemExit here, so that the terminal is restored.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    console = Console(highlight=False)
    try:
        with Live(screen(view), console=console, screen=True, refresh_per_second=FRAMES) as live:
            while True:
                time.sleep(interval)
                live.update(screen(watcher.look()), refresh=True)
    except KeyboardInterrupt:
        return


def _leave(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
