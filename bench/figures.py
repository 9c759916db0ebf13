"""What was measured, and where: plain records that go through JSON unharmed."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Contenders, as the records name them.
RAW, WG, FRESH, KEPT, IDENTITY, SENDING, STAGES = (
    "raw",
    "wg",
    "fresh",
    "kept",
    "identity",
    "sending",
    "stages",
)


@dataclass(frozen=True, slots=True)
class Figures:
    """One part of the benchmark at one number of peers. Times in seconds, sizes in bytes."""

    peers: int
    busy: float | None  # share of peers that change with each reading; None = a real kernel's idle interface
    times: Mapping[str, list[float]]  # by contender, one for each round
    stages: Mapping[str, list[float]]  # by stage
    processor: float  # user and system time of the daemon for one compressed scrape
    peak: Mapping[
        str, int
    ]  # most memory of the daemon: after compressed scrapes, after uncompressed ones too
    sizes: Mapping[str, int]  # of the raw dump, the compressed page, the page
    healthy: Mapping[str, list[float]]  # answers of /-/healthy during compressed and uncompressed scrapes

    def median(self, contender: str) -> float | None:
        """Seconds; None = it did not take part."""
        times = self.times.get(contender)
        return statistics.median(times) if times else None

    def stage(self, name: str) -> float:
        return statistics.median(self.stages[name])

    def ratio(self, contender: str, other: str = RAW) -> float | None:
        """How many times as long as the other a contender takes."""
        mine, others = self.median(contender), self.median(other)
        return mine / others if mine is not None and others else None

    @property
    def scrapes_against_raw(self) -> float:
        """The whole scrape on a new connection against the raw dump."""
        return self.ratio(FRESH) or 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """A whole run."""

    host: Mapping[str, str]
    command: str
    rounds: int
    no_kernel: str  # why no WireGuard kernel took part; "" = one did
    figures: tuple[Figures, ...]

    @classmethod
    def from_json(cls, read: Mapping[str, Any]) -> Result:
        return cls(**{**read, "figures": tuple(Figures(**one) for one in read["figures"])})


def host() -> dict[str, str]:
    """What the times depend on."""
    return {
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} usable",
        "python": platform.python_version(),
    }


def _processor() -> str:
    """The processor's maker and model, as the kernel tells them."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    names = [told[key] for key in ("vendor_id", "model name") if told.get(key)]
    return " ".join(names) or platform.machine()
