"""How the recording goes: what the store tells, and what metrics, `/-/ready` and `check` show."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True)
class Work:
    """Long work under way: `done` of `goal` steps."""

    done: int = 0
    goal: int = 0


class SpoolFigures(Protocol):
    """What a spool says about itself."""

    @property
    def depth(self) -> int:
        """Snapshots in it."""

    @property
    def size(self) -> int:
        """Bytes on the disk."""

    @property
    def quota(self) -> int:
        """Bytes that it may use."""

    @property
    def oldest(self) -> float:
        """When its oldest snapshot was taken; UNIX seconds, 0 = the spool is empty."""


@dataclass(slots=True)
class RecordingState:
    """One object for the life of the daemon. The store's thread writes it; others only read single fields.
    Times are UNIX seconds, 0 = not yet."""

    interval: float = 0.0  # seconds between snapshots
    snapshots: Counter[str] = field(default_factory=Counter)  # by result: spooled, recorded, lost, failed
    gaps: Counter[str] = field(default_factory=Counter)  # by reason
    spooled_at: float = 0.0  # when the last snapshot was taken that is safe on this host
    recorded_at: float = 0.0  # when the last snapshot was taken that is in the database
    take_duration: float = 0.0  # seconds from the reading to the spool, last time
    write_duration: float = 0.0  # seconds of the last transaction that recorded one
    spool_snapshots: int = 0
    spool_bytes: int = 0
    spool_quota: int = 0  # bytes
    spool_oldest: float = 0.0  # when the oldest snapshot in the spool was taken; 0 = none is there
    spool_full: bool = False  # snapshots are being lost
    spool_broken: str = ""  # why recording stopped
    database: str = ""  # "embedded", or where it is
    database_up: bool = False
    database_errors: Counter[str] = field(default_factory=Counter)  # by reason
    failing: dict[str, str] = field(default_factory=dict)  # reason → what it says, while it lasts
    schema: str = ""  # why the schema is wrong; "" = it is not
    default_rows: int = 0  # rows in a default partition
    partitions_until: float = 0.0  # end of the last day that has its partition
    work: dict[str, Work] = field(default_factory=dict)  # replay, migrate, maintain

    def show_spool(self, spool: SpoolFigures) -> None:
        """Copies the spool's figures, for metrics."""
        self.spool_snapshots = spool.depth
        self.spool_bytes = spool.size
        self.spool_quota = spool.quota
        self.spool_oldest = spool.oldest

    @property
    def problems(self) -> list[str]:
        """What somebody has to mend before all is recorded, each in a sentence."""
        found = []
        if self.spool_broken:
            found.append(f"nothing is recorded: {self.spool_broken}")
        if self.spool_full:
            found.append(
                f"snapshots are being lost: the spool is full, {self.spool_snapshots} wait for the database"
            )
        if self.schema:
            found.append(self.schema)
        claimed = self.failing.get("claimed")
        return [*found, claimed] if claimed else found
