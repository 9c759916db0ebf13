"""What one frame adds to the rows of one organisation."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from exporter.store.snapshot.frame import PeerConfig
from exporter.store.writer.mirror import InterfaceConfig, Place


@dataclass(frozen=True, slots=True)
class Batch:
    """Peers whose state and samples are written in one way. `fresh` = they have no state yet; None = it is as
    it was. `active` = counters or handshake changed."""

    clearance: int
    fresh: bool | None
    active: bool


@dataclass(slots=True)
class Changeset:
    """Peers are numbers of rows of the mirror. In the order in which they are to be written: whoever is in
    several comes and goes within the frame."""

    new_places: list[Place] = field(default_factory=list)
    seen: list[Place] = field(default_factory=list)  # read, and to be noted as that
    changed_places: list[Place] = field(default_factory=list)  # another instance, back again
    raised_gateway: bool = False
    raised_places: list[Place] = field(default_factory=list)
    raised: dict[tuple[int, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    closed_interfaces: list[Place] = field(default_factory=list)
    opened_interfaces: list[tuple[Place, InterfaceConfig]] = field(default_factory=list)
    removed_places: list[Place] = field(default_factory=list)
    # Peers
    new: list[int] = field(default_factory=list)
    returned: list[int] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)
    opened: list[tuple[int, PeerConfig]] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    batches: dict[Batch, list[int]] = field(default_factory=dict)
    gaps_opened: list[tuple[Place, str]] = field(default_factory=list)
    gaps_closed: list[tuple[Place, float]] = field(default_factory=list)  # with their start
    interfaces: int = 0  # for the ledger: read, with a place here
    peers: int = 0
    unread: int = 0

    @property
    def changed(self) -> int:
        return sum(len(rows) for batch, rows in self.batches.items() if batch.active)
