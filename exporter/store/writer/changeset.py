"""The changes that one frame makes to the rows of one organisation."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Literal

from exporter.store.snapshot.frame import PeerConfig
from exporter.store.writer.mirror import InterfaceConfig, InterfaceRow

StateChange = Literal["insert", "update", "keep"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Properties shared by peers that each get a sample, so that few statements write all of them."""

    clearance: int
    state: StateChange  # the statement for their rows of `argus.peer_state`
    active: bool  # their counters or their handshake changed


@dataclass(slots=True)
class Changeset:
    """Rows to insert and to update. Integers are indices into the mirror's `Peers`.

    The fields are in the order in which they are written. A peer can be in several: one that was added and
    removed between two kept snapshots is in `new_peers` and in `removed_peers`.
    """

    raised_gateway: bool = False  # its clearance is raised
    new_interfaces: list[InterfaceRow] = field(default_factory=list)
    changed_interfaces: list[InterfaceRow] = field(default_factory=list)  # another instance, or back again
    raised_interfaces: list[InterfaceRow] = field(default_factory=list)  # their clearance is raised
    read_interfaces: list[InterfaceRow] = field(default_factory=list)  # `seen_until` becomes this snapshot
    closed_interface_configs: list[InterfaceRow] = field(default_factory=list)
    opened_interface_configs: list[tuple[InterfaceRow, InterfaceConfig]] = field(default_factory=list)
    removed_interfaces: list[InterfaceRow] = field(default_factory=list)
    new_peers: list[int] = field(default_factory=list)
    returned_peers: list[int] = field(default_factory=list)  # were removed, and are present again
    raised_peers: dict[tuple[int, str], list[int]] = field(  # (new clearance, interface) → peers
        default_factory=lambda: defaultdict(list)
    )
    closed_configs: list[int] = field(default_factory=list)
    opened_configs: list[tuple[int, PeerConfig]] = field(default_factory=list)
    batches: dict[Batch, list[int]] = field(default_factory=dict)
    removed_peers: list[int] = field(default_factory=list)
    opened_gaps: list[tuple[InterfaceRow, str]] = field(default_factory=list)  # with the reason
    closed_gaps: list[tuple[InterfaceRow, float]] = field(
        default_factory=list
    )  # with the start; UNIX seconds
    # Numbers for the row of `argus.snapshot`
    interfaces_read: int = 0
    interfaces_unread: int = 0
    peers_present: int = 0

    @property
    def peers_changed(self) -> int:
        return sum(len(peers) for batch, peers in self.batches.items() if batch.active)
