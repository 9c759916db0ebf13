"""The writer's copy, in memory, of one gateway's rows in the database.

With it the writer knows what is new in a frame without asking the database. `load.py` fills the mirror from
the database, `apply.py` applies frames to it. After a failed transaction the mirror may be ahead of the
database; it is thrown away and loaded again.

A gateway, or an interface, has one row in the database for each organisation that has peers on it.
`GatewayRow` and `InterfaceRow` are these rows. `Interface` joins the rows of one interface. A peer has one
row for each organisation that it ever belonged to; it is present in one of them at most. `Peers` holds one
index for each of these rows, in compact columns: 100,000 peers take about 40 MB.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from exporter.store.snapshot.frame import PeerConfig
from exporter.store.storable import storable


@dataclass(frozen=True, slots=True)
class InterfaceConfig:
    """The configuration of an interface, as it is recorded."""

    kind: str
    public_key: str
    listen_port: int
    fwmark: int


@dataclass(slots=True)
class GatewayRow:
    """The gateway's row in `argus.gateway` for one organisation."""

    organisation: str
    org_id: int
    clearance: int
    gateway_id: int = 0  # 0 = the row is not written yet
    reclassified: int = 0  # how often the gateway was reclassified
    previous_holder: str = ""  # host of another installation that holds the name; "" = none, or this one


@dataclass(slots=True)
class InterfaceRow:
    """An interface's row in `argus.interface` for one organisation."""

    label: str
    gateway: GatewayRow
    clearance: int
    instance: str
    read_at: float  # of the last reading; UNIX seconds
    interface_id: int = 0  # 0 = the row is not written yet
    removed: bool = False
    config: InterfaceConfig | None = None  # of the open row of its configuration; None = no row is open
    gap_start: float = 0.0  # of the open gap; UNIX seconds, 0 = the interface has no open gap
    peers: dict[str, int] = field(default_factory=dict)  # public key → index, of all peers ever recorded here
    present: int = 0  # number of these peers that are present
    removed_with_it: set[int] = field(
        default_factory=set
    )  # indices of peers removed along with the interface


@dataclass(slots=True)
class Interface:
    """An interface, with its rows in all organisations that have peers on it and in the gateway's own."""

    rows: dict[str, InterfaceRow] = field(default_factory=dict)  # by organisation
    present: dict[str, int] = field(default_factory=dict)  # public key → index, of the peers that are present
    # Index of the peer at each slot, -1 = unknown peer. None = the interface was not read in this epoch yet.
    slots: list[int] | None = None


class Peers:
    """Columns of peers: one index is one row of `argus.peer`, with its state and its open configuration.

    `config` is None for a peer that is not present, or whose configuration has no open row. `peer_id` is 0
    until the peer gets one.
    """

    def __init__(self) -> None:
        self.peer_id = array("q")
        self.handshake = array("q")  # UNIX seconds, 0 = never
        self.receive = array("q")  # the interface's counters at the last sample
        self.transmit = array("q")
        self.receive_total = array("q")  # the running totals, see apply.py
        self.transmit_total = array("q")
        self.first_seen = array("q")  # UNIX seconds
        self.clearance = array("h")
        self.key: list[str] = []
        self.interface: list[InterfaceRow] = []
        self.config: list[PeerConfig | None] = []

    def add(
        self,
        interface: InterfaceRow,
        key: str,
        clearance: int,
        config: PeerConfig | None,
        numbers: Sequence[int] = (0, 0, 0, 0, 0, 0),
        first_seen: int = 0,
    ) -> int:
        """Adds a peer and returns its index. `numbers`: peer_id, handshake, both counters, both totals."""
        index = len(self.key)
        columns = self.peer_id, self.handshake, self.receive, self.transmit
        for column, number in zip((*columns, self.receive_total, self.transmit_total), numbers, strict=True):
            column.append(number)
        self.first_seen.append(first_seen)
        self.clearance.append(clearance)
        self.key.append(key)
        self.interface.append(interface)
        self.config.append(config)
        interface.peers[key] = index
        return index


@dataclass(frozen=True, slots=True)
class InterfaceTotals:
    """The totals of an interface's peers at the last snapshot in the database. Immutable, so any thread may
    read them."""

    indices: Mapping[str, int]  # by public key
    columns: tuple[array[int], array[int], array[int], array[int], array[int]]

    def get(self, public_key: str) -> tuple[int, int, int, int] | None:
        """Total received and sent bytes, and the counters at that snapshot; None = unknown peer."""
        index = self.indices.get(public_key)
        if index is None:
            return None
        received, transmitted, receive, transmit, _ = self.columns
        return received[index], transmitted[index], receive[index], transmit[index]

    def first_seen(self, public_key: str) -> int | None:
        """When the peer was seen for the first time; UNIX seconds, None = unknown peer."""
        index = self.indices.get(public_key)
        return None if index is None else self.columns[-1][index]


class Mirror:
    """The copy of one gateway's rows in the database."""

    def __init__(self, gateway: str) -> None:
        self.gateway = gateway
        self.gateways: dict[str, GatewayRow] = {}  # by organisation
        self.interfaces: dict[str, Interface] = {}  # by label
        self.peers = Peers()
        # A peer that moved to another organisation while the daemon was stopped is present in both in the
        # database. These are the indices of the older ones, which the next frame removes.
        self.duplicates: list[int] = []

    def set_slots(self, keys: Mapping[str, Iterable[str]]) -> None:
        """Sets the slots of the current epoch. `keys`: interface → the public keys of its slots, in order."""
        for interface in self.interfaces.values():
            interface.slots = None
        for label, slots in keys.items():
            interface = self.interfaces.setdefault(storable(label), Interface())
            interface.slots = [interface.present.get(key, -1) for key in slots]

    def totals(self) -> dict[str, InterfaceTotals]:
        """A copy of the totals of the peers that are present, by interface."""
        peers = self.peers
        columns = (
            peers.receive_total[:],
            peers.transmit_total[:],
            peers.receive[:],
            peers.transmit[:],
            peers.first_seen[:],
        )
        return {
            label: InterfaceTotals(dict(interface.present), columns)
            for label, interface in self.interfaces.items()
        }
