"""The log lines that the documentation quotes are lines that the program can write."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.kit.messages import Messages
from tests.kit.pages import PAGES, names
from tests.kit.paths import PROJECT

# Of libc and PostgreSQL, and the namespace of the examples.
OTHERS = ("Connection refused", 'password authentication failed for user "{}"', "blue")
PROGRAM = Messages((PROJECT / "exporter").rglob("*.py"), OTHERS)
COLUMNS = {"log line": False, "line begins with": True}  # True: the line may go on


def quoted() -> Iterator[tuple[str, bool]]:
    """Each quoted line of docs/operations.md, and whether more of the line may follow."""
    page = PAGES["docs/operations.md"]
    for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        heading, _, *lines = ([cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines())
        for column, goes_on in COLUMNS.items():
            if column in heading:
                for cells in lines:
                    yield from ((line, goes_on) for line in names(cells[heading.index(column)]))
    yield from (
        (line, False) for line in re.findall(r"^    (?:ERROR|WARNING|INFO) (.*)$", page, re.MULTILINE)
    )


LINES = sorted(set(quoted()))


def test_the_page_quotes_lines() -> None:
    """The tables of log lines were found."""
    assert len(LINES) > 30


@pytest.mark.parametrize(("line", "goes_on"), LINES)
def test_quoted_log_lines_can_be_written(line: str, goes_on: bool) -> None:
    """The fixed words of a quoted line are those of string literals in the program."""
    goes_on = goes_on or line.endswith((" …", ":"))
    text = line.removesuffix(" …")
    assert PROGRAM.can_write(text, more=goes_on), line


@pytest.mark.parametrize(
    "line",
    [
        "snapshots remain in the spool: …",
        "interface wg0 (netlink) cannot be read (permission): reading WireGuard devices takes CAP_NET_ADMIN",
        "ready: the first reading is over",
    ],
)
def test_lines_with_other_words_cannot_be_written(line: str) -> None:
    """A line of which one word differs is not accepted."""
    assert not PROGRAM.can_write(line)
    assert not PROGRAM.can_write(line, more=True)
