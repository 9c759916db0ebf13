"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from exporter.errors import InputError

DEFAULT_CONFIG = Path("/etc/argus-wireguard/argus-wg.yml")


def config_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--config`."""
    parser.add_argument(
        "--config",
        "-c",
        type=Path,
        metavar="FILE",
        help=f"configuration file (default: {DEFAULT_CONFIG} if it exists, otherwise the built-in defaults)",
    )


def config_path(given: Path | None) -> Path | None:
    """The configuration file to use; None = the built-in defaults."""
    if given:
        return given
    try:
        return DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None
    except PermissionError:
        problem = "this user may not search its directory"
        raise InputError(str(DEFAULT_CONFIG), 0, "", problem, "name a file with --config") from None
