"""The measurements of the records, as plain data that can be converted to JSON and back."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

Times = Mapping[str, list[float]]  # name of the measured step → seconds of each repetition

RAW, COMPACTED = "raw", "compacted"  # storage of the samples that are queried
WITH, WITHOUT = "with", "without"  # a daemon with recording, and one without


@dataclass(frozen=True, slots=True)
class Records:
    """Snapshots of one gateway, written and queried. Sizes are in bytes and include all indexes."""

    peers: int
    snapshots: int
    busy: float  # share of peers that change with each snapshot
    server: str  # version of PostgreSQL
    first: Mapping[str, float]  # by contender: seconds of the first snapshot, whose peers are all new
    writes: Times  # by contender: seconds of each later snapshot
    sizes: Mapping[str, int]
    samples: int  # number of samples, the same before and after compaction
    compaction: float  # seconds
    reads: Mapping[str, Times]  # RAW and COMPACTED → seconds by query

    def rate(self, contender: str) -> float:
        """Peers per second."""
        return self.peers / statistics.median(self.writes[contender])

    def bytes_per_peer(self, what: str) -> float:
        """Bytes per peer and snapshot, also counting those without a row."""
        return self.sizes[what] / (self.peers * self.snapshots)

    def query_time(self, kept: str, question: str) -> float:
        """Seconds."""
        return statistics.median(self.reads[kept][question])


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The stages of a snapshot, from the reading to the commit."""

    peers: int
    busy: float
    first: Mapping[str, float]  # by stage: seconds of the first snapshot, whose peers are all new
    stages: Times  # by stage: seconds of each later snapshot
    frame_bytes: int  # size of the last frame in the spool

    def median(self, stage: str) -> float:
        return statistics.median(self.stages[stage])

    @property
    def total(self) -> list[float]:
        """Seconds of all stages together, for each later snapshot."""
        return list(map(sum, zip(*self.stages.values(), strict=True)))


@dataclass(frozen=True, slots=True)
class Impact:
    """Scrapes of a daemon, WITH and WITHOUT recording."""

    peers: int
    busy: float
    interval: float  # seconds between two snapshots
    recorded: int  # number of snapshots recorded during the measurement
    scrapes: Times
    healthy: Times  # answers of /-/healthy
    peak: Mapping[str, int]  # peak memory of the daemon in bytes


@dataclass(frozen=True, slots=True)
class Result:
    """All measurements of one run."""

    host: Mapping[str, str]
    command: str
    no_server: str  # why PostgreSQL could not be used; "" = it was used
    records: tuple[Records, ...] = ()
    pipelines: tuple[Pipeline, ...] = ()
    impacts: tuple[Impact, ...] = ()
