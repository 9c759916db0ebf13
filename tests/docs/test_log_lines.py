"""The log lines that the documentation quotes are lines that the program can write."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.kit.messages import Messages
from tests.kit.pages import PAGES, names
from tests.kit.paths import PROJECT

# Texts of libc and PostgreSQL, and the namespace of the examples.
OTHERS = (
    "Connection refused",
    "Address already in use",
    'password authentication failed for user "{}"',
    "blue",
)
PROGRAM = Messages((PROJECT / "exporter").rglob("*.py"), OTHERS)
COLUMNS = {"log line": False, "line begins with": True, "symptom": True}  # True: more of the line may follow
MESSAGE = re.compile(r"(?!wireguard_|curl:)\S+ .*")  # a symptom that is neither a metric nor a state


def quoted(page: str) -> Iterator[tuple[str, bool]]:
    """Each quoted line of a page, and whether more of the line may follow."""
    for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        heading, _, *lines = ([cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines())
        for column, more in COLUMNS.items():
            if column in heading:
                found = (line for cells in lines for line in names(cells[heading.index(column)]))
                yield from ((line, more) for line in found if column != "symptom" or MESSAGE.fullmatch(line))
    example = r"^    (?:ERROR|WARNING|INFO) (.*)$"
    yield from ((line, False) for line in re.findall(example, page, re.MULTILINE))


LINES = sorted(
    {line for page in ("operations", "troubleshooting") for line in quoted(PAGES[f"docs/{page}.md"])}
)


def test_the_page_quotes_lines() -> None:
    """Lines of the tables, of the example and of symptoms are among those that are checked."""
    assert len(LINES) > 30
    assert ("interface wg0 (netlink) can be read again", False) in LINES
    assert ("no PostgreSQL >= 15 on this host", True) in LINES


@pytest.mark.parametrize(("line", "more"), LINES)
def test_quoted_log_lines_can_be_written(line: str, more: bool) -> None:
    """The fixed words of a quoted line are those of string literals in the program."""
    more = more or line.endswith((" …", ":"))
    text = line.removesuffix(" …")
    assert PROGRAM.can_write(text, more=more), line


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
