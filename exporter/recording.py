"""The state of the recording: written by the store, shown by metrics and `/-/ready`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True)
class Work:
    """Progress of long work: `done` of `goal` steps."""

    done: int = 0
    goal: int = 0


class SpoolFigures(Protocol):
    """The figures of a spool."""

    @property
    def depth(self) -> int:
        """Number of snapshots in the spool."""

    @property
    def size(self) -> int:
        """Bytes in use."""

    @property
    def quota(self) -> int:
        """Maximum of bytes."""

    @property
    def oldest(self) -> float:
        """Instant of the oldest snapshot; UNIX seconds, 0 = the spool is empty."""


@dataclass(slots=True)
class RecordingState:
    """One object for the life of the daemon. The store's thread writes it; other threads read single fields.

    Instants are UNIX seconds, 0 = not yet.
    """

    interval: float = 0.0  # seconds between snapshots
    snapshots: Counter[str] = field(default_factory=Counter)  # by result: spooled, recorded, lost, failed
    gaps: Counter[str] = field(default_factory=Counter)  # by reason
    spooled_at: float = 0.0  # instant of the last snapshot that was written to the spool
    recorded_at: float = 0.0  # instant of the last snapshot that is in the database
    take_duration: float = 0.0  # seconds from the reading to the spool, of the last snapshot
    write_duration: float = 0.0  # seconds of the last transaction that recorded a snapshot
    spool_snapshots: int = 0
    spool_bytes: int = 0
    spool_quota: int = 0  # bytes
    spool_oldest: float = 0.0  # instant of the oldest snapshot in the spool; 0 = it is empty
    spool_full: bool = False  # snapshots are being lost
    spool_broken: str = ""  # why recording stopped
    database: str = ""  # its address, or "embedded"
    database_up: bool = False
    database_errors: Counter[str] = field(default_factory=Counter)  # by reason
    failing: dict[str, str] = field(default_factory=dict)  # reason → message, while the failure lasts
    schema: str = ""  # why the schema is wrong; "" = it is right
    default_rows: int = 0  # rows in the default partitions
    partitions_until: float = 0.0  # end of the last day that has a partition
    work: dict[str, Work] = field(default_factory=dict)  # replay, migrate, maintain

    def show_spool(self, spool: SpoolFigures) -> None:
        """Copies the spool's figures, for metrics."""
        self.spool_snapshots = spool.depth
        self.spool_bytes = spool.size
        self.spool_quota = spool.quota
        self.spool_oldest = spool.oldest

    @property
    def problems(self) -> list[str]:
        """What an administrator has to fix before every snapshot is recorded, one sentence each."""
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
