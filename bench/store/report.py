"""The figures of the records as Markdown, for people."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

from bench.report import limits, table
from bench.store import passage as stages
from bench.store import sizes
from bench.store.figures import COMPACTED, RAW, WITH, WITHOUT, Beside, Passage, Records, Result
from bench.store.verdicts import ASKED, duration, verdicts
from bench.store.writing import PRODUCT, WIDE

BEGIN = "<!-- records: written by `python -m bench --only records --write` -->"
END = "<!-- end of records -->"

STAGES = {
    stages.TRACK: "track: what is new since the last one",
    stages.ENCODE: "encode: columns, compressed",
    stages.KEEP: "keep: into the spool, fsync",
    stages.FETCH: "fetch: out of the spool, decode",
    stages.WRITE: "write: totals, rows, commit",
    stages.CONFIRM: "confirm: out of the spool",
}

Row = Callable[[Records], str]


def report(result: Result) -> str:
    """Everything that was measured, and the limits."""
    parts = _records(result.records), _passages(result.passages), _beside(result.beside)
    return "\n".join([*_front(result), *limits(verdicts(result)), *(line for part in parts for line in part)])


def _front(result: Result) -> Iterator[str]:
    told = ", ".join(f"{key} {value}" for key, value in result.host.items())
    server = "".join(f", PostgreSQL {server}" for server in {one.server for one in result.records})
    yield f"Made by `{result.command}`: medians; {told}{server}.\n"
    if result.no_server:
        yield f"**Nothing was recorded: {result.no_server}.**\n"


def _records(records: Sequence[Records]) -> Iterator[str]:
    if not records:
        return
    one = records[0]
    yield f"### {one.snapshots:,} snapshots of {one.peers:,} peers\n"
    heads = [f"{one.busy:.0%} change" for one in records]
    yield table(["", *heads], [[label, *map(row, records)] for label, row in _rows()])


def _rows() -> Iterator[tuple[str, Row]]:
    for contender, label in ((PRODUCT, "written"), (WIDE, "written as wide rows, by COPY")):
        yield label, lambda one, contender=contender: f"{one.rate(contender):,.0f} peers/s"  # type: ignore[misc]
    yield (
        "the first snapshot, of new peers alone; as wide rows",
        lambda one: "; ".join(duration(one.first[contender]) for contender in (PRODUCT, WIDE)),
    )
    rooms = {
        sizes.SAMPLES: "bytes per peer and snapshot: samples",
        sizes.EVERYTHING: "the same, of all tables",
        sizes.COMPACTED: "the same, of compacted samples",
        sizes.WIDE: "the same, of wide rows",
    }
    for what, label in rooms.items():
        yield label, lambda one, what=what: f"{one.room(what):.1f}"  # type: ignore[misc]
    yield "samples", lambda one: f"{one.samples:,}"
    for what in (sizes.SAMPLES, sizes.COMPACTED):
        yield f"bytes per sample, {what}", lambda one, what=what: f"{one.sizes[what] / one.samples:.1f}"  # type: ignore[misc]
    yield "to compact them", lambda one: duration(one.compaction)
    for question, label in ASKED.items():
        yield (
            f"{label}; compacted",
            lambda one, question=question: "; ".join(  # type: ignore[misc]
                duration(one.answer(kept, question)) for kept in (RAW, COMPACTED)
            ),
        )


def _passages(passages: Sequence[Passage]) -> Iterator[str]:
    if not passages:
        return
    yield f"### One snapshot of {passages[0].peers:,} peers, from the reading to the commit\n"
    heads = [f"{one.busy:.0%} change" for one in passages]
    rows = [[label, *(duration(one.median(stage)) for one in passages)] for stage, label in STAGES.items()]
    rows.append(["total", *(duration(statistics.median(one.whole)) for one in passages)])
    rows.append(
        ["the first one, of new peers alone", *(duration(sum(one.first.values())) for one in passages)]
    )
    rows.append(["its room in the spool", *(f"{one.frame_bytes / 1000:,.0f} kB" for one in passages)])
    yield table(["", *heads], rows)


def _beside(parts: Sequence[Beside]) -> Iterator[str]:
    for one in parts:
        yield f"### Scrapes beside the recording: {one.peers:,} peers, {one.busy:.0%} change\n"
        heads = ["nothing is recorded", f"a snapshot every {one.interval:g} s ({one.recorded} recorded)"]
        kinds = WITHOUT, WITH
        times = {"scrape, gzip, new connection": one.scrapes, "`/-/healthy` meanwhile": one.healthy}
        rows = [[label, *(_spread(seconds[kind]) for kind in kinds)] for label, seconds in times.items()]
        rows.append(["peak memory", *(f"{one.peak[kind] / 1e6:.0f} MB" for kind in kinds)])
        yield table(["", *heads], rows)


def _spread(seconds: Sequence[float]) -> str:
    return f"{duration(statistics.median(seconds))}, longest {duration(max(seconds))}"
