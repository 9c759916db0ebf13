"""A view as a table: in colour on a terminal, as plain aligned text elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Span, Text

from exporter.check.remedies import remedy_of
from exporter.liveness import State
from exporter.model import Device, Reading
from exporter.show.peers import WORST_FIRST, PeerRow, View
from exporter.terminal import age_text, bytes_text, count_text, plain

COLOURS: dict[State, str] = {
    State.STALE: "bold red",
    State.ONE_WAY: "red",
    State.CLOCK_SKEW: "magenta",
    State.UNOBSERVED: "bright_black",
    State.NEVER: "yellow",
    State.IDLE: "cyan",
    State.ACTIVE: "green",
}
GAP = 2  # cells between two columns
MOST_TROUBLES = 5  # failures that a live table shows
MOST_INTERFACES = 12  # interfaces that the header names


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table. `most` is its largest width on a terminal, in cells."""

    title: str
    cell: Callable[[PeerRow], str]
    justify: Literal["left", "right"] = "left"
    most: int = 32


COLUMNS = (
    Column("state", lambda row: row.state),
    Column("peer", lambda row: plain(row.name)),
    Column("interface", lambda row: plain(row.interface)),
    Column("handshake", lambda row: age_text(row.age), "right"),
    Column("rx/s", lambda row: bytes_text(row.receive_rate), "right"),
    Column("tx/s", lambda row: bytes_text(row.transmit_rate), "right"),
    Column("rx", lambda row: bytes_text(row.receive_bytes), "right"),
    Column("tx", lambda row: bytes_text(row.transmit_bytes), "right"),
    Column("endpoint", lambda row: plain(row.peer.endpoint), most=47),
    Column("IPs", lambda row: str(len(row.peer.allowed_ips)), "right"),
    Column("expected", lambda row: row.expected),
    Column("site", lambda row: plain(row.site), most=16),
)
RATES = ("rx/s", "tx/s")
# Columns that are left out on a narrow terminal, in this order.
NARROW = (("IPs",), ("rx", "tx"), ("expected",), ("endpoint",), ("site",), ("interface",), RATES)


@dataclass(frozen=True, slots=True)
class Screen:
    """The live table. It is rendered for each frame, so it follows the size of the terminal."""

    view: View
    rows: Sequence[PeerRow]  # filtered and sorted
    interval: float  # seconds between readings
    uapi_directory: Path

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.size.height
        head = header(self.view, self.uapi_directory, MOST_TROUBLES)
        if len(console.render_lines(head, options)) > height // 2:
            head = header(self.view, self.uapi_directory, 0)
        used = len(console.render_lines(head, options)) + 3  # a blank line, the titles, the line below
        shown = self.rows[: max(1, height - used)]
        yield from (head, Text(), *table(shown, options.max_width, rated=True), self._footer(len(shown)))

    def _footer(self, shown: int) -> Text:
        hidden = sum(self.view.states.values()) - len(self.rows)
        parts = [
            f"… and {len(self.rows) - shown:,} more" if len(self.rows) > shown else "",
            f"{hidden:,} in other states" if hidden else "",
            f"every {self.interval:g} s",
            "Ctrl-C to quit",
        ]
        return Text(" · ".join(filter(None, parts)), style="dim", no_wrap=True, overflow="ellipsis")


def header(view: View, uapi_directory: Path, most_troubles: int | None = None) -> Text:
    """Gateway, interfaces, peers by state, and failures with their remedies."""
    snapshot, peers = view.snapshot, sum(view.states.values())
    text = Text.assemble(
        (plain(snapshot.gateway), "bold"), time.strftime("  %H:%M:%S  ", time.localtime(snapshot.taken_at))
    )
    text.append_text(_interfaces(snapshot.devices))
    if not snapshot.devices:
        text.append("no WireGuard interface could be read" if view.unreadable else "no WireGuard interface")
    text.append(f"\n{count_text(peers, 'peer')}")
    separator = ": "
    for state in WORST_FIRST:
        if view.states[state]:
            text.append(separator).append(f"{view.states[state]:,} {state}", COLOURS[state])
            separator = ", "
    for line, style in troubles(view, uapi_directory, most_troubles):
        text.append("\n").append(line, style)
    return text


def _interfaces(devices: Sequence[Device]) -> Text:
    """`2 interfaces: wg0 (3 peers), blue/wg1 (1 peer, down)`; "" without any."""
    text = Text(f"{count_text(len(devices), 'interface')}: " if devices else "")
    for number, device in enumerate(devices[:MOST_INTERFACES]):
        down = device.link is not None and not device.link.up
        name = f"{plain(device.label)} ({count_text(len(device.peers), 'peer')}{', down' if down else ''})"
        text.append(", " if number else "").append(name, "red" if down else "")
    if len(devices) > MOST_INTERFACES:
        text.append(f" and {len(devices) - MOST_INTERFACES} more")
    return text


def troubles(view: View, uapi_directory: Path, most: int | None = None) -> Iterator[tuple[str, str]]:
    """(line, style) for each failed reading, its remedy, and an error in the directory."""
    unreadable = view.unreadable
    for reading in unreadable[:most]:
        yield trouble(reading), "red"
        yield f"  fix: {plain(remedy_of(reading, uapi_directory))}", ""
    if most is not None and len(unreadable) > most:
        more = f"{len(unreadable) - most} {'more ' if most else ''}cannot be read"
        yield f"{more}; `argus-wg check` says why, and how to fix it", "red"
    if view.directory_error:
        yield f"directory: {plain(view.directory_error)}", "yellow"


def trouble(reading: Reading) -> str:
    """One line: what cannot be read, and why."""
    what = f"{reading.interface} ({reading.source})" if reading.interface else f"source {reading.source}"
    why = reading.message.removeprefix(f"{reading.interface}: ")
    return plain(f"{what} cannot be read ({reading.reason}): {why}")


def table(rows: Sequence[PeerRow], width: int, *, rated: bool) -> Iterator[Text]:
    """A line of titles, and a line for each row. Columns that do not fit the width are left out, in the order
    of `NARROW`. (rich's own table takes a millisecond per row, this a fraction of it.)"""
    columns, texts = _columns(rows, rated=rated)
    padded = {
        column.title: list(
            _aligned([cut(cell, column.most) for cell in (column.title, *cells)], column.justify)
        )
        for column, cells in zip(columns, texts, strict=True)
    }
    for titles in NARROW:
        if sum(cell_len(cells[0]) + GAP for cells in padded.values()) - GAP <= width:
            break
        for title in titles:
            padded.pop(title, None)
    titles, *lines = zip(*padded.values(), strict=True)
    yield Text((" " * GAP).join(titles), "bold", no_wrap=True, overflow="ellipsis")
    for row, (state, *rest) in zip(rows, lines, strict=True):
        line = Text(state, no_wrap=True, overflow="ellipsis", spans=[Span(0, len(state), COLOURS[row.state])])
        yield line.append((" " * GAP).join(["", *rest]))


def cut(text: str, width: int) -> str:
    """The text, cut to a width in cells of the terminal."""
    return text if cell_len(text) <= width else f"{set_cell_size(text, width - 1)}…"


def plain_lines(view: View, rows: Sequence[PeerRow], uapi_directory: Path) -> Iterator[str]:
    """The header and every column in full width, without colour."""
    yield header(view, uapi_directory).plain
    if not rows:
        return
    yield ""
    columns, texts = _columns(rows, rated=has_rates(rows))
    padded = [
        list(_aligned((column.title, *cells), column.justify))
        for column, cells in zip(columns, texts, strict=True)
    ]
    for line in zip(*padded, strict=True):
        yield (" " * GAP).join(line).rstrip()


def has_rates(rows: Sequence[PeerRow]) -> bool:
    return any(row.receive_rate is not None or row.transmit_rate is not None for row in rows)


def _columns(rows: Sequence[PeerRow], *, rated: bool) -> tuple[list[Column], list[list[str]]]:
    """The columns, with or without the rates, and the texts of each column."""
    columns = [column for column in COLUMNS if rated or column.title not in RATES]
    return columns, [[column.cell(row) for row in rows] for column in columns]


def _aligned(cells: Iterable[str], justify: str) -> Iterator[str]:
    cells = list(cells)
    width = max(map(cell_len, cells))
    for cell in cells:
        blank = " " * (width - cell_len(cell))
        yield blank + cell if justify == "right" else cell + blank
