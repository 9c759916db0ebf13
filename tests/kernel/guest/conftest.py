"""Writes the outcome of each phase of each test in the guest to a file at once, so that a crash loses
little."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.kernel.session import REPORT_VARIABLE


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if path := os.environ.get(REPORT_VARIABLE):
        with Path(path).open("a") as lines:
            lines.write(json.dumps([report.nodeid, report.when, report.outcome, _text(report)]) + "\n")


def _text(report: pytest.TestReport) -> str:
    """The reason of a skip, the traceback and captured output of a failure."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    captured = (f"{title}\n{content}" for title, content in report.sections if report.failed)
    return "\n".join([report.longreprtext, *captured])
