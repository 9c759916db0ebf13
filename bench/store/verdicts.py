"""Compares the measurements with the limits that the records must keep."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from bench.store.figures import COMPACTED, RAW, WITH, Impact, Pipeline, Records, Result
from bench.store.reading import ACTIVE, BYTES, HISTORY, LATEST
from bench.store.sizes import COMPACTED as COMPACTED_SIZE
from bench.store.sizes import SAMPLES
from bench.store.writing import PRODUCT, WIDE
from bench.verdicts import STALL, Verdict

# The sizes that limits apply to; other sizes are measured without limits.
PEERS, SNAPSHOTS, LARGEST = 10_000, 200, 100_000
SPEED = {0.2: 3.0, 1.0: 1.0}  # least ratio of peers per second to wide rows, by share of changing peers
SIZE = {0.2: 30.0, 1.0: 110.0}  # most bytes per peer and snapshot, by share of changing peers
COMPACTED_SAMPLE = 30.0  # most bytes per sample of a compacted day
ANSWERS = {LATEST: 0.05, ACTIVE: 0.05, BYTES: 0.1, HISTORY: 0.002}  # most seconds of a query
TOTAL = 2.0  # most seconds from the reading to the commit
QUERY_LABELS = {
    LATEST: "latest state of all peers",
    ACTIVE: "peers active between two instants",
    BYTES: "bytes of each peer on a day",
    HISTORY: "one peer's history",
}


def verdicts(result: Result) -> Iterator[Verdict]:
    """The verdict on each limit that was measured."""
    for records in result.records:
        if (records.peers, records.snapshots) == (PEERS, SNAPSHOTS) and records.busy in SPEED:
            yield from _of_records(records)
    for pipeline in result.pipelines:
        if pipeline.peers == LARGEST:
            yield _of_pipeline(pipeline)
    for impact in result.impacts:
        if impact.peers == LARGEST:
            yield _of_impact(impact)


def _of_records(records: Records) -> Iterator[Verdict]:
    part = f"{records.peers:,} peers, {records.busy:.0%} change"
    faster, least = records.rate(PRODUCT) / records.rate(WIDE), SPEED[records.busy]
    subject = f"{part}: peers per second ÷ wide rows by COPY"
    yield Verdict(subject, f"≥ {least:g}", f"{faster:.2f}", faster >= least)
    size, most = records.bytes_per_peer(SAMPLES), SIZE[records.busy]
    yield Verdict(f"{part}: bytes per peer and snapshot", f"≤ {most:g}", f"{size:.1f}", size <= most)
    compact = records.sizes[COMPACTED_SIZE] / records.samples
    subject = f"{part}: bytes per sample, compacted"
    yield Verdict(subject, f"≤ {COMPACTED_SAMPLE:g}", f"{compact:.1f}", compact <= COMPACTED_SAMPLE)
    for kept, day in ((RAW, ""), (COMPACTED, ", compacted")):
        for question, limit in ANSWERS.items():
            yield _timed(f"{part}: {QUERY_LABELS[question]}{day}", records.query_time(kept, question), limit)


def _of_pipeline(pipeline: Pipeline) -> Verdict:
    subject = (
        f"{pipeline.peers:,} peers, {pipeline.busy:.0%} change: one snapshot, from the reading to the commit"
    )
    return _timed(subject, statistics.median(pipeline.total), TOTAL)


def _of_impact(impact: Impact) -> Verdict:
    part = f"{impact.peers:,} peers, {impact.busy:.0%} change"
    subject = f"{part}: longest wait for `/-/healthy`, with a snapshot every {impact.interval:g} s"
    return _timed(subject, max(impact.healthy[WITH]), STALL)


def _timed(subject: str, seconds: float, limit: float) -> Verdict:
    return Verdict(subject, f"≤ {limit * 1000:g} ms", duration(seconds), seconds <= limit)


def duration(seconds: float) -> str:
    """Seconds as milliseconds, with three significant digits below 100 ms."""
    return f"{seconds * 1000:.{0 if seconds >= 0.1 else 1 if seconds >= 0.01 else 2}f} ms"
