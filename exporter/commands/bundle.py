"""`argus-wg bundle DIR`: rules, Alertmanager's configuration, runbooks, dashboards, ready to be loaded.

What is a site's own (thresholds, receivers, targets, sources) is written once and never again; all else is
brought up to date. A file is replaced whole, so that who reads meanwhile gets the old one or the new one.
"""
# ruff: noqa: T201 - a command prints

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from exporter.errors import ArgusError

SHARE = Path(__file__).parents[1] / "share"
ALERTS = ("rules/*.yml", "templates/*.tmpl", "runbooks/*.md", "gateways/*.yml", "*.yml")
DASHBOARDS = ("dashboards/json/*.json", "dashboards/provisioning/*.sql", "dashboards/provisioning/*/*.yml")
OWN = frozenset(
    {
        "rules/thresholds.yml",
        "gateways/gateways.yml",
        "alertmanager.yml",
        "prometheus.yml",
        "dashboards/provisioning/dashboards/argus-wireguard.yml",
        "dashboards/provisioning/datasources/argus-wireguard.yml",
    }
)
RUNBOOKS = "https://argus-wireguard.example/runbooks"  # as the rules have it
DURATION = re.compile(r"(?<![\w.$])(\d+)([smhdw])\b")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class BundleError(ArgusError):
    """The bundle could not be written; the message says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR", help="where to write; made if it is not there")
    parser.add_argument(
        "--runbooks",
        default=RUNBOOKS,
        metavar="URL",
        help="where the files of DIR/runbooks can be read; alerts link there (default: %(default)s)",
    )
    parser.add_argument(
        "--rehearse",
        type=_divisor,
        default=1,
        metavar="N",
        help="divide every duration of rules, routes and scrapes by N, to see an outage within minutes",
    )


def run(arguments: argparse.Namespace) -> int:
    """Says of each file what became of it. Raises `BundleError`."""
    try:
        for name, kept in write(arguments.directory, arguments.runbooks.rstrip("/"), arguments.rehearse):
            print(f"{'kept, it is yours' if kept else 'written':<17}  {arguments.directory / name}")
    except OSError as error:
        raise BundleError(f"{error.filename}: {error.strerror}") from error
    return 0


def write(directory: Path, runbooks: str = RUNBOOKS, divisor: int = 1) -> Iterator[tuple[str, bool]]:
    """Each file's name, and whether it was there and is the site's own."""
    for name, source in shipped().items():
        target = directory / name
        kept = name in OWN and target.exists()
        if not kept:
            text = source.read_text().replace(RUNBOOKS, runbooks)
            replace(target, hurried(text, divisor) if name.endswith(".yml") else text)
        yield name, kept


def shipped() -> dict[str, Path]:
    """Each file by its name in the bundle."""
    return {
        str(path.relative_to(base)): path
        for base, parts in ((SHARE / "alerts", ALERTS), (SHARE, DASHBOARDS))
        for part in parts
        for path in sorted(base.glob(part))
    }


def replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.rename(path)


def hurried(text: str, divisor: int) -> str:
    """Every duration divided, in milliseconds where it has to be; thresholds stay."""

    def divided(match: re.Match[str]) -> str:
        milliseconds = int(match[1]) * SECONDS[match[2]] * 1000 // divisor
        return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"

    return text if divisor == 1 else DURATION.sub(divided, text)


def _divisor(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= 60:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 60")
