"""`argus-wg serve`: runs the exporter."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import signal

from exporter import config, daemon, logs
from exporter.commands.options import config_argument, config_path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT_BYTES = 64 * 1024 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the daemon can handle it
    path = config_path(arguments.config)
    settings = config.load(path)
    logs.start(settings.log.level, settings.log.format)
    keep_freed_memory()
    return asyncio.run(daemon.serve(settings, path))


def keep_freed_memory() -> None:
    """Keeps up to 64 MiB of freed memory in the process. Does nothing without glibc.

    Each scrape allocates and frees a few dozen megabytes. By default, glibc returns them to the kernel, and
    the next scrape has a page fault for every page of them.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
