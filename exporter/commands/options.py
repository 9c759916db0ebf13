"""Options that several commands have."""

from __future__ import annotations

import argparse
from pathlib import Path

from exporter.errors import InputError

DEFAULT_CONFIG = Path("/etc/argus-wireguard/argus-wg.yml")


def config_argument(parser: argparse.ArgumentParser) -> None:
    """`--config`, the same for every command that has one."""
    parser.add_argument(
        "--config",
        "-c",
        type=Path,
        metavar="FILE",
        help=f"configuration file (default: {DEFAULT_CONFIG} if it is there, otherwise the defaults)",
    )


def config_path(given: Path | None) -> Path | None:
    """The configuration file to use; none means that the defaults do."""
    if given:
        return given
    try:
        return DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None
    except PermissionError:
        raise InputError(
            str(DEFAULT_CONFIG), 0, "", "may not be looked for by this user; name one with --config"
        ) from None
