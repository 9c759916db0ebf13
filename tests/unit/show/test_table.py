"""Rows on a terminal: in order, within its width and height, and without control characters."""

from __future__ import annotations

import re
from collections import Counter
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType

from exporter.directory.entry import Entry
from exporter.liveness import State
from exporter.model import Device, Peer, Snapshot
from exporter.show.peers import SORTS, WORST_FIRST, PeerRow, View, arrange
from exporter.show.table import Screen, plain_lines, table
from exporter.terminal import age_text, bytes_text, plain


@given(st.text())
def test_no_text_controls_the_terminal(text: str) -> None:
    """Any text is printed with printable characters only; printable text is unchanged."""
    assert plain(text).isprintable()
    assert not text.isprintable() or plain(text) == text


def test_escapes_of_terminals_and_directions_are_written_out() -> None:
    """A colour escape and a right-to-left override are printed as visible escapes."""
    assert plain("\x1b[31mred\u202e") == "\\x1b[31mred\\u202e"


@pytest.mark.parametrize(
    ("age", "text"),
    [
        (None, "never"),
        (0.4, "0s"),
        (12, "12s"),
        (184, "3m 4s"),
        (3600, "1h 0m"),
        (176_400, "2d 1h"),
        (-90, "in 1m 30s"),
    ],
)
def test_ages_have_their_two_largest_units(age: float | None, text: str) -> None:
    """An age is printed in its two largest units."""
    assert age_text(age) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, ""),
        (0, "0 B"),
        (999, "999 B"),
        (1024, "1.0 KiB"),
        (5 * 2**30, "5.0 GiB"),
        (2**64, "16384.0 PiB"),
    ],
)
def test_bytes_have_binary_units(count: float | None, text: str) -> None:
    """Bytes are printed in the units of wg(8)."""
    assert bytes_text(count) == text


def test_sorting() -> None:
    """Each order begins with its largest value; within the worst state, critical peers come first."""

    def row(
        name: str, state: State, age: float | None, received: int, sent: int, *, high: bool = False
    ) -> PeerRow:
        entry = Entry(name, name, criticality="high" if high else "normal")
        return PeerRow("wg0", Peer(name), entry, state, "on-demand", 300, 1, age, received, sent, None, None)

    rows = [
        row("d", State.ACTIVE, 5, 10, 40),
        row("c", State.STALE, 500, 40, 30),
        row("b", State.STALE, 400, 30, 20, high=True),
        row("a", State.NEVER, None, 20, 10),
    ]
    orders = {sort: "".join(row.name for row in arrange(rows, (), sort)) for sort in SORTS}
    assert orders == {"state": "bcad", "age": "cbda", "name": "abcd", "rx": "cbad", "tx": "dcba"}
    assert set(WORST_FIRST) == set(State)


def rows_of(*names: str) -> list[PeerRow]:
    return [
        PeerRow("wg0", Peer(name), Entry(name, name), State.STALE, "always-on", 300, 1, 400, 0, 0, 1.0, None)
        for name in names
    ]


def printed(*renderables: RenderableType, width: int, height: int = 25) -> list[str]:
    console = Console(file=StringIO(), width=width, height=height, force_terminal=True, no_color=True)
    with console.capture() as capture:
        console.print(Group(*renderables))
    return capture.get().rstrip("\n").split("\n")


@given(st.lists(st.text(max_size=60), min_size=1, max_size=5), st.integers(20, 200))
def test_the_table_fits_the_terminal(names: list[str], width: int) -> None:
    """With any names, no line is wider than the terminal and each peer has one line."""
    lines = printed(*table(rows_of(*names), width, rated=True), width=width)
    assert len(lines) == 1 + len(names)
    assert all(cell_len(re.sub("\x1b.*?m", "", line)) <= width for line in lines)


def test_markup_in_names_is_text() -> None:
    """A name that looks like rich markup is printed unchanged."""
    assert "[bold red]x[/]" in "\n".join(
        printed(*table(rows_of("[bold red]x[/]"), 200, rated=False), width=200)
    )


def view_of(rows: list[PeerRow]) -> View:
    device = Device("wg0", "kernel", peers=[row.peer for row in rows])
    return View(Snapshot("gw1", 0.0, (device,)), rows, Counter(row.state for row in rows), found=())


def test_ten_thousand_peers_fill_the_screen_and_no_more() -> None:
    """The live table is as high as the terminal; its last line says how many peers are not shown."""
    rows = rows_of(*(f"peer-{number}" for number in range(10_000)))
    lines = printed(Screen(view_of(rows), rows, 2.0, Path()), width=100, height=20)
    assert len(lines) == 20
    assert "… and 9,985 more · every 2 s · Ctrl-C to quit" in lines[-1]
    assert len(list(plain_lines(view_of(rows), rows, Path()))) == 10_003
