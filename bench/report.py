"""The figures as Markdown, for people."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence

from bench import stages
from bench.figures import FRESH, IDENTITY, KEPT, RAW, SENDING, WG, Figures, Result
from bench.verdicts import Verdict, verdicts

BEGIN, END = "<!-- figures: written by `python -m bench --write` -->", "<!-- end of figures -->"

TIMES = {
    RAW: "raw dump, received undecoded",
    WG: "`wg show wg0 dump >/dev/null`",
    FRESH: "scrape, gzip, new connection",
    KEPT: "scrape, gzip, kept connection",
    IDENTITY: "scrape, not compressed",
}
STAGES = {
    "read": "read: receive and decode",
    "observe": "observe: compare with the previous reading",
    "gather": "gather: columns and states",
    "render": "render: find what changed, write its text",
    "compress": "compress that text",
    "join": "join old and new blocks, checksum",
}

Row = Callable[[Figures], str]


def report(result: Result) -> str:
    """Everything that was measured, and the limits."""
    return "\n".join([*_front(result), *limits(verdicts(result.figures)), *_parts(result.figures)])


def _front(result: Result) -> Iterator[str]:
    told = ", ".join(f"{key} {value}" for key, value in result.host.items())
    yield f"Made by `{result.command}`: {result.rounds} rounds, medians; {told}.\n"
    if result.no_kernel:
        yield f"**No WireGuard kernel took part: {result.no_kernel}.** Only replayed dumps were measured.\n"


def limits(found: Iterable[Verdict]) -> Iterator[str]:
    """A table of limits, and whether they are kept; nothing when there is none."""
    rows = [[one.subject, one.limit, one.reached, "yes" if one.kept else "**no**"] for one in found]
    if rows:
        yield "### Limits\n"
        yield table(["measurement", "limit", "measured", "met"], rows)


def _parts(figures: Sequence[Figures]) -> Iterator[str]:
    for busy in dict.fromkeys(one.busy for one in figures):
        part = sorted((one for one in figures if one.busy == busy), key=lambda one: one.peers)
        yield (
            "### A real kernel, nothing changes\n"
            if busy is None
            else f"### Replayed, {busy:.0%} of peers change\n"
        )
        heads = [f"{one.peers:,} peers" for one in part]
        rows = [(label, row) for label, row in _rows() if any(row(one) for one in part)]
        yield table(["", *heads], [[label, *map(row, part)] for label, row in rows])
        yield table(["where a compressed scrape's time goes", *heads], list(_stages(part)))


def _rows() -> Iterator[tuple[str, Row]]:
    for contender, label in TIMES.items():
        yield label, lambda one, contender=contender: _time(one, contender)  # type: ignore[misc]
    yield (
        "size of raw dump; gzip; plain page",
        lambda one: "; ".join(_size(size) for size in one.sizes.values()),
    )
    yield (
        "peak memory; also with plain pages",
        lambda one: "; ".join(_size(size) for size in one.peak.values()),
    )
    yield "processor time per peer and scrape", lambda one: f"{one.processor / one.peers * 1e6:.2f} µs"
    for kind, pages in (("gzip", "gzip"), ("identity", "plain page")):
        yield f"`/-/healthy` during scrapes, {pages}", lambda one, kind=kind: _wait(one.healthy[kind])  # type: ignore[misc]


def _stages(part: Sequence[Figures]) -> Iterator[list[str]]:
    for stage in stages.STAGES:
        yield [STAGES[stage], *(f"{one.stage(stage) * 1000:.2f} ms" for one in part)]
    yield ["send: HTTP, a page that is ready", *(_time(one, SENDING, ratio=False) for one in part)]
    sums = [sum(map(one.stage, stages.STAGES)) + (one.median(SENDING) or 0) for one in part]
    yield ["total", *(f"{seconds * 1000:.2f} ms" for seconds in sums)]


def _time(one: Figures, contender: str, *, ratio: bool = True) -> str:
    """`12.3 ms (4.5 raw)`: how many raw dumps it takes as long as; empty when it did not take part."""
    seconds = one.median(contender)
    if seconds is None:
        return ""
    against = f" ({one.ratio(contender):.2f} raw)" if ratio and contender != RAW else ""
    return f"{seconds * 1000:.2f} ms{against}"


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _wait(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.1f} ms, longest {max(seconds) * 1000:.1f} ms"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first stand to the right."""
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def put_into(page: str, text: str, first: str = BEGIN, last: str = END) -> str:
    """The page with the text where these figures stand, between two lines. Raises `ValueError` when it has no
    place for them."""
    before, begin, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"the page has no lines {first!r} and {last!r}")
    return f"{before}{begin}\n\n{text}\n{end}{after}"
