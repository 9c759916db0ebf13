"""What was measured of the records: plain data that goes through JSON unharmed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

Times = Mapping[str, list[float]]  # seconds, by what took them, one for each turn

RAW, COMPACTED = "raw", "compacted"  # how samples are kept that are read
WITH, WITHOUT = "with", "without"  # a daemon that records, one that does not


@dataclass(frozen=True, slots=True)
class Records:
    """Snapshots of one gateway, written and read back. Sizes in bytes, with all indexes."""

    peers: int
    snapshots: int
    busy: float  # share of peers that change with each snapshot
    server: str  # version of PostgreSQL
    first: Mapping[str, float]  # by contender: seconds of the first snapshot, which is of new peers alone
    writes: Times  # by contender: of the others, one by one
    sizes: Mapping[str, int]
    samples: int  # rows that `samples` and `compacted` have in them
    compaction: float  # seconds
    reads: Mapping[str, Times]  # RAW and COMPACTED: by question

    def rate(self, contender: str) -> float:
        """Peers a second."""
        return self.peers / statistics.median(self.writes[contender])

    def room(self, what: str) -> float:
        """Bytes for each peer and snapshot, whether there is a row of it or not."""
        return self.sizes[what] / (self.peers * self.snapshots)

    def answer(self, kept: str, question: str) -> float:
        """Seconds."""
        return statistics.median(self.reads[kept][question])


@dataclass(frozen=True, slots=True)
class Passage:
    """A snapshot's way from the reading to the commit."""

    peers: int
    busy: float
    first: Mapping[str, float]  # by stage: of new peers alone
    stages: Times  # of the others
    frame_bytes: int  # of the last one, as it was in the spool

    def median(self, stage: str) -> float:
        return statistics.median(self.stages[stage])

    @property
    def whole(self) -> list[float]:
        """Seconds of all stages together, snapshot by snapshot."""
        return list(map(sum, zip(*self.stages.values(), strict=True)))


@dataclass(frozen=True, slots=True)
class Beside:
    """Scrapes of a daemon WITH and WITHOUT recording."""

    peers: int
    busy: float
    interval: float  # seconds between two snapshots
    recorded: int  # snapshots that reached the database meanwhile
    scrapes: Times
    healthy: Times  # answers of /-/healthy
    peak: Mapping[str, int]  # bytes: the most memory that the daemon had


@dataclass(frozen=True, slots=True)
class Result:
    """A whole run."""

    host: Mapping[str, str]
    command: str
    no_server: str  # why no PostgreSQL took part; "" = one did
    records: tuple[Records, ...] = ()
    passages: tuple[Passage, ...] = ()
    beside: tuple[Beside, ...] = ()
