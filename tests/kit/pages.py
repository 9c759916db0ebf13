"""The Markdown pages of the project, at the top and in docs, and functions to read them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kit.paths import PROJECT

ROOT = PROJECT
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")))
}


def rows(page: str, heading: str) -> list[list[str]]:
    """The rows of every table of a page whose first column has this heading, as cells."""
    tables = re.findall(rf"^\|\s*{heading}\s*\|.*\n\|[-|]+\n((?:\|.*\n)+)", page, re.MULTILINE)
    assert tables, f"no table of {heading}"
    return [[cell.strip() for cell in line[1:-1].split("|")] for text in tables for line in text.splitlines()]


def names(cell: str) -> list[str]:
    """The texts in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def fenced(page: str, language: str) -> list[str]:
    """The fenced blocks of a language, without the indentation of a list around them."""
    fence = re.compile(rf"^( *)```{language}\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in fence.findall(page)]


def promtool(*arguments: str | Path) -> None:
    """Runs promtool, which must succeed; skips the test if it is not installed."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
