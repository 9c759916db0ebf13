"""The measurements of the records, as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

from bench.report import limits, table
from bench.store import pipeline as stages
from bench.store import sizes
from bench.store.figures import COMPACTED, RAW, WITH, WITHOUT, Impact, Pipeline, Records, Result
from bench.store.verdicts import QUERY_LABELS, duration, verdicts
from bench.store.writing import PRODUCT, WIDE

BEGIN = "<!-- records: written by `python -m bench --only records --write` -->"
END = "<!-- end of records -->"

STAGES = {
    stages.TRACK: "track: compare with the previous snapshot",
    stages.ENCODE: "encode: columns, compressed",
    stages.KEEP: "keep: write to the spool, fsync",
    stages.FETCH: "fetch: read from the spool, decode",
    stages.WRITE: "write: totals, rows, commit",
    stages.CONFIRM: "confirm: remove from the spool",
}

Row = Callable[[Records], str]


def report(result: Result) -> str:
    """A report of all measurements, with the limits."""
    parts = _records(result.records), _pipelines(result.pipelines), _impacts(result.impacts)
    return "\n".join([*_front(result), *limits(verdicts(result)), *(line for part in parts for line in part)])


def _front(result: Result) -> Iterator[str]:
    host = ", ".join(f"{key} {value}" for key, value in result.host.items())
    server = "".join(f", PostgreSQL {server}" for server in {one.server for one in result.records})
    yield f"Made by `{result.command}`: medians; {host}{server}.\n"
    if result.no_server:
        yield f"**The records were not measured: {result.no_server}.**\n"


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
        "first snapshot, all peers are new; the same as wide rows",
        lambda one: "; ".join(duration(one.first[contender]) for contender in (PRODUCT, WIDE)),
    )
    labels = {
        sizes.SAMPLES: "bytes per peer and snapshot: samples",
        sizes.EVERYTHING: "the same, all tables",
        sizes.COMPACTED: "the same, compacted samples",
        sizes.WIDE: "the same, wide rows",
    }
    for what, label in labels.items():
        yield label, lambda one, what=what: f"{one.bytes_per_peer(what):.1f}"  # type: ignore[misc]
    yield "samples", lambda one: f"{one.samples:,}"
    for what in (sizes.SAMPLES, sizes.COMPACTED):
        yield f"bytes per sample, {what}", lambda one, what=what: f"{one.sizes[what] / one.samples:.1f}"  # type: ignore[misc]
    yield "compaction of the day", lambda one: duration(one.compaction)
    for question, label in QUERY_LABELS.items():
        yield (
            f"{label}; compacted",
            lambda one, question=question: "; ".join(  # type: ignore[misc]
                duration(one.query_time(kept, question)) for kept in (RAW, COMPACTED)
            ),
        )


def _pipelines(pipelines: Sequence[Pipeline]) -> Iterator[str]:
    if not pipelines:
        return
    yield f"### One snapshot of {pipelines[0].peers:,} peers, from the reading to the commit\n"
    heads = [f"{one.busy:.0%} change" for one in pipelines]
    rows = [[label, *(duration(one.median(stage)) for one in pipelines)] for stage, label in STAGES.items()]
    rows.append(["total", *(duration(statistics.median(one.total)) for one in pipelines)])
    rows.append(
        ["first snapshot, all peers are new", *(duration(sum(one.first.values())) for one in pipelines)]
    )
    rows.append(["size in the spool", *(f"{one.frame_bytes / 1000:,.0f} kB" for one in pipelines)])
    yield table(["", *heads], rows)


def _impacts(parts: Sequence[Impact]) -> Iterator[str]:
    for one in parts:
        yield f"### Scrapes while recording: {one.peers:,} peers, {one.busy:.0%} change\n"
        heads = ["without recording", f"a snapshot every {one.interval:g} s ({one.recorded} recorded)"]
        kinds = WITHOUT, WITH
        times = {"scrape, gzip, new connection": one.scrapes, "`/-/healthy` meanwhile": one.healthy}
        rows = [[label, *(_spread(seconds[kind]) for kind in kinds)] for label, seconds in times.items()]
        rows.append(["peak memory", *(f"{one.peak[kind] / 1e6:.0f} MB" for kind in kinds)])
        yield table(["", *heads], rows)


def _spread(seconds: Sequence[float]) -> str:
    return f"{duration(statistics.median(seconds))}, longest {duration(max(seconds))}"
