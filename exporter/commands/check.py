"""`argus-wg check`: what would fail, and how to fix it. Changes nothing."""
# ruff: noqa: T201 - a command prints

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from exporter import config
from exporter.check.files import configuration, directory, web_configuration
from exporter.check.finding import Finding, Status
from exporter.check.host import host
from exporter.check.listening import addresses, protection
from exporter.check.records import records
from exporter.check.remedies import user
from exporter.commands.options import config_argument, config_path
from exporter.config import Config
from exporter.terminal import plain, write_anything

COLOURS: dict[Status, str] = {"ok": "green", "warning": "yellow", "failed": "bold red"}

EXIT_CODES = """
Exit codes: 0 all is well, perhaps with warnings, 1 something would fail, 2 wrong usage or configuration file.
Run it as the user that runs the exporter: what root may, another may not."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    config_argument(parser)
    parser.epilog = (parser.epilog or "") + EXIT_CODES


def run(arguments: argparse.Namespace) -> int:
    write_anything()
    path = config_path(arguments.config)
    findings = list(configuration(path))
    readable = _worst(findings) == "ok"
    if readable:
        findings += examine(config.load(path))
    if arguments.json:
        json.dump(document(findings), sys.stdout, indent=2)
        print()
    else:
        report(findings)
    if not readable:
        return 2
    return 1 if _worst(findings) == "failed" else 0


def examine(settings: Config) -> Iterator[Finding]:
    """Every check of a valid configuration, in the order in which the daemon would meet what it looks at."""
    yield from directory(settings.directory)
    yield from web_configuration(settings)
    yield from host(settings)
    yield from addresses(settings)
    yield from protection(settings)
    yield from records(settings)


def document(findings: Sequence[Finding]) -> dict[str, object]:
    """What `--json` prints."""
    return {
        "result": _worst(findings),
        "user": user(),
        "findings": [
            {"check": found.check, "status": found.status, "message": found.message, "remedy": found.remedy}
            for found in findings
        ],
    }


def report(findings: Sequence[Finding]) -> None:
    """One line for each finding, another that says how to fix it, and a summary."""
    console = Console(highlight=False, soft_wrap=True)
    for found in findings:
        line = Text(f"{found.status:<8} ", COLOURS[found.status])
        line.append(f"{plain(found.check)}: {plain(found.message)}", "not bold default")
        console.print(line)
        if found.remedy:
            console.print(Text(f"         fix: {plain(found.remedy)}"))
    counts = Counter(found.status for found in findings)
    console.print()
    summary = ", ".join(f"{counts[status]} {status}" for status in COLOURS if counts[status])
    console.print(Text(f"{summary} (as {user()}, uid {os.geteuid()})", COLOURS[_worst(findings)]))


def _worst(findings: Sequence[Finding]) -> Status:
    statuses = {found.status for found in findings}
    return next((status for status in ("failed", "warning") if status in statuses), "ok")
