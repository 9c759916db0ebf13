"""`argus-wg check`: finds what would fail, and says how to fix it. Changes nothing."""
# ruff: noqa: T201 - a command prints

from __future__ import annotations

import argparse
import json
import sys

from rich.console import Console

from exporter import config
from exporter.check.examine import examine
from exporter.check.files import configuration
from exporter.check.report import document, report, worst
from exporter.commands.options import config_argument, config_path
from exporter.terminal import write_anything

EXIT_CODES = """
Exit codes: 0 nothing failed (there may be warnings), 1 something would fail, 2 wrong usage or configuration.
Run it as the user that runs the exporter: root has permissions that another user does not have."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    config_argument(parser)
    parser.epilog = (parser.epilog or "") + EXIT_CODES


def run(arguments: argparse.Namespace) -> int:
    write_anything()
    path = config_path(arguments.config)
    findings = list(configuration(path))
    readable = worst(findings) == "ok"
    if readable:
        findings += examine(config.load(path))
    if arguments.json:
        json.dump(document(findings), sys.stdout, indent=2)
        print()
    else:
        report(findings, Console(highlight=False, soft_wrap=True))
    if not readable:
        return 2
    return 1 if worst(findings) == "failed" else 0
