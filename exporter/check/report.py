"""Findings as a JSON document, and as lines for a terminal."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from exporter.check.finding import Finding, Status
from exporter.check.remedies import user
from exporter.terminal import plain

COLOURS: dict[Status, str] = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def worst(findings: Sequence[Finding]) -> Status:
    """The worst status of the findings; "ok" without any."""
    statuses = {found.status for found in findings}
    return next((status for status in ("failed", "warning") if status in statuses), "ok")


def document(findings: Sequence[Finding]) -> dict[str, object]:
    """The document that `check --json` prints; docs/operations.md describes the keys."""
    return {
        "result": worst(findings),
        "user": user(),
        "findings": [
            {"check": found.check, "status": found.status, "message": found.message, "remedy": found.remedy}
            for found in findings
        ],
    }


def report(findings: Sequence[Finding], console: Console) -> None:
    """Prints a line for each finding, a second one that says how to fix it, and a summary."""
    for found in findings:
        line = Text(f"{found.status:<8} ", COLOURS[found.status])
        line.append(f"{plain(found.check)}: {plain(found.message)}", "not bold default")
        console.print(line)
        if found.remedy:
            console.print(Text(f"         fix: {plain(found.remedy)}"))
    counts = Counter(found.status for found in findings)
    console.print()
    summary = ", ".join(f"{counts[status]} {status}" for status in COLOURS if counts[status])
    console.print(Text(f"{summary} (as {user()}, uid {os.geteuid()})", COLOURS[worst(findings)]))
