"""The limits that the records are built to keep, held against what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from bench.store.figures import COMPACTED, RAW, WITH, Beside, Passage, Records, Result
from bench.store.reading import ACTIVE, BYTES, HISTORY, LATEST
from bench.store.sizes import COMPACTED as COMPACTED_SIZE
from bench.store.sizes import SAMPLES
from bench.store.writing import PRODUCT, WIDE
from bench.verdicts import STALL, Verdict

# What limits are about; other sizes are measured without them.
PEERS, SNAPSHOTS, LARGEST = 10_000, 200, 100_000
FASTER = {0.2: 3.0, 1.0: 1.0}  # peers a second against wide rows, by the share that changes
ROOM = {0.2: 30.0, 1.0: 110.0}  # bytes for each peer and snapshot
COMPACT = 30.0  # bytes for each sample of a compacted day
ANSWERS = {LATEST: 0.05, ACTIVE: 0.05, BYTES: 0.1, HISTORY: 0.002}  # seconds
WHOLE = 2.0  # seconds from the reading to the commit
ASKED = {
    LATEST: "latest state of all peers",
    ACTIVE: "who was active between two instants",
    BYTES: "bytes of each peer in a day",
    HISTORY: "one peer's history",
}


def verdicts(result: Result) -> Iterator[Verdict]:
    """Every limit that the figures say something about."""
    for records in result.records:
        if (records.peers, records.snapshots) == (PEERS, SNAPSHOTS) and records.busy in FASTER:
            yield from _of_records(records)
    for passage in result.passages:
        if passage.peers == LARGEST:
            yield _of_passage(passage)
    for beside in result.beside:
        if beside.peers == LARGEST:
            yield _of_beside(beside)


def _of_records(records: Records) -> Iterator[Verdict]:
    part = f"{records.peers:,} peers, {records.busy:.0%} change"
    faster, least = records.rate(PRODUCT) / records.rate(WIDE), FASTER[records.busy]
    subject = f"{part}: peers a second ÷ the same by COPY of wide rows"
    yield Verdict(subject, f"≥ {least:g}", f"{faster:.2f}", faster >= least)
    room, most = records.room(SAMPLES), ROOM[records.busy]
    yield Verdict(f"{part}: bytes ÷ peer and snapshot", f"≤ {most:g}", f"{room:.1f}", room <= most)
    compact = records.sizes[COMPACTED_SIZE] / records.samples
    subject = f"{part}: bytes ÷ samples, compacted"
    yield Verdict(subject, f"≤ {COMPACT:g}", f"{compact:.1f}", compact <= COMPACT)
    for kept, day in ((RAW, ""), (COMPACTED, ", compacted")):
        for question, limit in ANSWERS.items():
            yield _timed(f"{part}: {ASKED[question]}{day}", records.answer(kept, question), limit)


def _of_passage(passage: Passage) -> Verdict:
    subject = (
        f"{passage.peers:,} peers, {passage.busy:.0%} change: a snapshot, from the reading to the commit"
    )
    return _timed(subject, statistics.median(passage.whole), WHOLE)


def _of_beside(beside: Beside) -> Verdict:
    part = f"{beside.peers:,} peers, {beside.busy:.0%} change"
    subject = f"{part}: longest wait for `/-/healthy`, a snapshot every {beside.interval:g} s"
    return _timed(subject, max(beside.healthy[WITH]), STALL)


def _timed(subject: str, seconds: float, limit: float) -> Verdict:
    return Verdict(subject, f"≤ {limit * 1000:g} ms", duration(seconds), seconds <= limit)


def duration(seconds: float) -> str:
    """In milliseconds, with what matters of them behind the point."""
    return f"{seconds * 1000:.{0 if seconds >= 0.1 else 1 if seconds >= 0.01 else 2}f} ms"
