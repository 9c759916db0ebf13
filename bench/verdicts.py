"""The limits that the exporter is built to keep, held against what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bench.figures import FRESH, KEPT, RAW, WG, Figures

RATIO = 4.0  # whole scrape against the raw dump
MEGABYTE = 1_000_000
PEAK = {10_000: 110 * MEGABYTE, 100_000: 500 * MEGABYTE}
STALL = 0.1  # seconds that /-/healthy may take to answer
FLAT = 1.25  # processor time per peer, of the largest gateway against the smallest


@dataclass(frozen=True, slots=True)
class Verdict:
    """One limit: what it is on, what is allowed, what was reached."""

    subject: str
    limit: str
    reached: str
    kept: bool


def verdicts(figures: Iterable[Figures]) -> Iterator[Verdict]:
    """Every limit that the figures say something about."""
    ordered = sorted(figures, key=lambda one: one.peers)
    kernel = [one for one in ordered if one.busy is None]
    for one in kernel:
        if one.peers in PEAK:
            yield from _of_kernel(one)
    for one in ordered:
        if one.busy is not None and one.peers in PEAK:
            yield from _of_replay(one, next((other for other in kernel if other.peers == one.peers), None))
    for busy in dict.fromkeys(one.busy for one in ordered):
        yield from _flat([one for one in ordered if one.busy == busy])


def name(one: Figures) -> str:
    """What a part of the benchmark is called in the report."""
    part = "kernel, idle" if one.busy is None else f"replay, {one.busy:.0%} change"
    return f"{one.peers:,} peers, {part}"


def _of_kernel(one: Figures) -> Iterator[Verdict]:
    for contender, connection in ((FRESH, "new connection"), (KEPT, "kept connection")):
        ratio = one.ratio(contender) or 0.0
        subject = f"{name(one)}: scrape ({connection}) ÷ raw dump"
        yield Verdict(subject, f"≤ {RATIO:g}", f"{ratio:.2f}", ratio <= RATIO)
    ratio = one.ratio(FRESH, WG) or 0.0
    yield Verdict(f"{name(one)}: scrape ÷ `wg show dump`", "< 1", f"{ratio:.2f}", ratio < 1)
    yield from _of_any(one)


def _of_replay(one: Figures, kernel: Figures | None) -> Iterator[Verdict]:
    ratio = one.ratio(FRESH) or 0.0
    yield Verdict(f"{name(one)}: scrape ÷ raw replay", f"≤ {RATIO:g}", f"{ratio:.2f}", ratio <= RATIO)
    estimate = with_kernel(one, kernel)
    if estimate is not None:
        subject = f"{name(one)}: the same with the kernel's time to make the dump (calculated)"
        yield Verdict(subject, f"≤ {RATIO:g}", f"{estimate:.2f}", estimate <= RATIO)
    yield from _of_any(one)


def with_kernel(one: Figures, kernel: Figures | None) -> float | None:
    """The ratio of a replay, had its dump come from the kernel: receiving a replayed message costs a copy,
    where the kernel walks peers and allowed IPs first. The raw dump is exchanged on both sides."""
    replayed, scrape = one.median(RAW), one.median(FRESH)
    real = kernel.median(RAW) if kernel else None
    if replayed is None or scrape is None or not real:
        return None
    return (scrape - replayed + real) / real


def _of_any(one: Figures) -> Iterator[Verdict]:
    limit = PEAK[one.peers]
    for kind, pages in (("gzip", "compressed pages"), ("identity", "also with plain pages")):
        peak = one.peak[kind]
        subject = f"{name(one)}: peak memory, {pages}"
        yield Verdict(subject, f"≤ {limit / MEGABYTE:.0f} MB", f"{peak / MEGABYTE:.0f} MB", peak <= limit)
    if one.peers == max(PEAK):
        for kind, pages in (("gzip", "compressed"), ("identity", "plain")):
            longest = max(one.healthy[kind])
            subject = f"{name(one)}: longest wait for `/-/healthy`, {pages} page"
            yield Verdict(subject, f"≤ {STALL * 1000:.0f} ms", f"{longest * 1000:.0f} ms", longest <= STALL)


def _flat(figures: list[Figures]) -> Iterator[Verdict]:
    if len(figures) < 2:
        return
    first, last = figures[0], figures[-1]
    growth = last.processor / last.peers / (first.processor / first.peers)
    part = name(last).partition(", ")[2]
    subject = f"{part}: processor time per peer, {last.peers:,} ÷ {first.peers:,} peers"
    yield Verdict(subject, f"≤ {FLAT:g}", f"{growth:.2f}", growth <= FLAT)
