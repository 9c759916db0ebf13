"""What the database holds of one gateway, in memory: so that what is new in a frame is known without asking.

A peer has a row here for each row it has in the database, in compact columns: 100,000 peers take about 40 MB.
What changes the mirror is in exporter/store/writer/apply.py; what fills it, in exporter/store/writer/load.py.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from exporter.store.snapshot.frame import PeerConfig
from exporter.store.storable import storable


@dataclass(frozen=True, slots=True)
class InterfaceConfig:
    """What is recorded of an interface's configuration."""

    kind: str
    public_key: str
    listen_port: int
    fwmark: int


@dataclass(slots=True)
class Member:
    """The gateway in one organisation."""

    organisation: str
    org_id: int
    clearance: int
    gateway_id: int = 0  # 0 = it has no row yet
    reclassified: int = 0  # how often
    holder: str = ""  # the host of another installation that held the name; "" = none did, or this one


@dataclass(slots=True)
class Place:
    """An interface in one organisation."""

    label: str
    member: Member
    clearance: int
    instance: str
    seen: float  # when it was last read; UNIX seconds
    interface_id: int = 0  # 0 = it has no row yet
    removed: bool = False
    config: InterfaceConfig | None = None  # None = none is open
    gap: float = 0.0  # since when it is not read; UNIX seconds, 0 = it is
    rows: dict[str, int] = field(default_factory=dict)  # public key → row of `Peers`, of all that ever were
    present: int = 0  # how many of them are there
    left: set[int] = field(default_factory=set)  # rows of those that went with the interface


@dataclass(slots=True)
class Interface:
    """An interface in all organisations that have peers on it, and in the gateway's own."""

    places: dict[str, Place] = field(default_factory=dict)  # by organisation
    present: dict[str, int] = field(default_factory=dict)  # public key → row of `Peers`, of those there
    slots: list[int] | None = None  # slot → row, -1 = not known; None = it was not read in this epoch


class Peers:
    """Columns of peers. `config` is None for one that is not there, or of which none is recorded; `peer_id`
    is 0 until it has one."""

    def __init__(self) -> None:
        self.peer_id = array("q")
        self.handshake = array("q")  # UNIX seconds, 0 = never
        self.receive = array("q")  # the interface's counters
        self.transmit = array("q")
        self.receive_total = array("q")
        self.transmit_total = array("q")
        self.first_seen = array("q")  # UNIX seconds
        self.clearance = array("h")
        self.key: list[str] = []
        self.place: list[Place] = []
        self.config: list[PeerConfig | None] = []

    def add(
        self,
        place: Place,
        key: str,
        clearance: int,
        config: PeerConfig | None,
        numbers: Sequence[int] = (0, 0, 0, 0, 0, 0),
        first_seen: int = 0,
    ) -> int:
        """A row, its number. `numbers`: peer_id, handshake, both counters, both totals."""
        row = len(self.key)
        columns = self.peer_id, self.handshake, self.receive, self.transmit
        for column, number in zip((*columns, self.receive_total, self.transmit_total), numbers, strict=True):
            column.append(number)
        self.first_seen.append(first_seen)
        self.clearance.append(clearance)
        self.key.append(key)
        self.place.append(place)
        self.config.append(config)
        place.rows[key] = row
        return row


@dataclass(frozen=True, slots=True)
class InterfaceTotals:
    """What was counted on an interface up to the last snapshot in the database. It never changes: any thread
    may read it."""

    rows: Mapping[str, int]
    columns: tuple[array[int], array[int], array[int], array[int], array[int]]

    def get(self, public_key: str) -> tuple[int, int, int, int] | None:
        """Received and transmitted in total, and the counters at that time: what they are above them now is
        to be added, and all that they are when they are smaller. None = not known."""
        row = self.rows.get(public_key)
        if row is None:
            return None
        received, transmitted, receive, transmit, _ = self.columns
        return received[row], transmitted[row], receive[row], transmit[row]

    def first_seen(self, public_key: str) -> int | None:
        """When a peer was there for the first time; UNIX seconds, None = not known."""
        row = self.rows.get(public_key)
        return None if row is None else self.columns[-1][row]


class Mirror:
    """What the database holds of a gateway. After any failure of a transaction it is worth nothing."""

    def __init__(self, gateway: str) -> None:
        self.gateway = gateway
        self.members: dict[str, Member] = {}  # by organisation
        self.interfaces: dict[str, Interface] = {}  # by label
        self.peers = Peers()
        self.strays: list[int] = []  # rows of peers that are somewhere else now, and were never removed here

    def seed(self, keys: Mapping[str, Iterable[str]]) -> None:
        """The slots of an epoch that is under way: interface → the public keys of its slots, in order."""
        for interface in self.interfaces.values():
            interface.slots = None
        for label, slots in keys.items():
            interface = self.interfaces.setdefault(storable(label), Interface())
            interface.slots = [interface.present.get(key, -1) for key in slots]

    def totals(self) -> dict[str, InterfaceTotals]:
        """A copy, by label."""
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
