"""The directory: for each public key, the name of the peer and the expectations about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from exporter.liveness import Expected

Criticality = Literal["low", "normal", "high"]


@dataclass(frozen=True, slots=True)
class Entry:
    """The settings of one public key in the directory; "" and None = not set."""

    public_key: str  # base64, canonical
    name: str = ""
    site: str = ""
    role: str = ""
    owner: str = ""
    organisation: str = ""
    clearance: int = 0  # minimum clearance needed to see the peer; 0 = none
    expected: Expected | None = None
    criticality: Criticality = "normal"
    stale_after: int | None = None  # seconds
    extra: tuple[tuple[str, str], ...] = ()  # the keys of a friendly_json, sorted


@dataclass(frozen=True, slots=True)
class Site:
    """The position of a site, in degrees: north and east are positive."""

    name: str
    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Directory:
    """All entries and sites.

    `by_interface` has the entries of keys whose name differs between interfaces: (interface, public key) →
    entry.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    sites: Mapping[str, Site] = field(default_factory=dict)
    lists_peers: bool = False  # a directory file lists peers: a key without an entry is an unknown peer
    by_interface: Mapping[tuple[str, str], Entry] = field(default_factory=dict)

    def get(self, public_key: str, label: str = "") -> Entry | None:
        """The entry of a peer; None = the directory has none. `label`: of its interface, `wg0` or
        `blue/wg0`."""
        return self.on(label)(public_key)

    def on(self, label: str) -> Callable[[str], Entry | None]:
        """A function from the public keys of an interface to their entries."""
        if not self.by_interface:
            return self.entries.get
        name = label.rpartition("/")[2]
        return lambda public_key: self.by_interface.get((name, public_key)) or self.entries.get(public_key)
