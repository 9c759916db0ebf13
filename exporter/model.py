"""A gateway at one instant. Plain records, frozen, times in UTC, and no field that can hold a secret.

A `Peer` is the configuration of a peer, and the same object is in every snapshot until that changes. The
counters, which change every second, are columns of the `Device`, parallel to `peers`. So 100,000 peers are
compared, rendered and stored column by column, without 100,000 new objects for each reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["kernel", "userspace"]


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer as it is configured on one interface."""

    public_key: str  # base64, 44 characters
    allowed_ips: tuple[str, ...] = ()  # "10.0.0.1/32", in the device's order; () = none
    endpoint: str = ""  # "192.0.2.1:51820" or "[2001:db8::1%eth0]:51820"; "" = not known
    persistent_keepalive: int = 0  # seconds; 0 = off
    has_preshared_key: bool = False
    protocol_version: int = 1


@dataclass(frozen=True, slots=True)
class Link:
    """The network interface under a device: its state and its counters, as `ip -s link` shows them."""

    up: bool
    receive_bytes: int = 0
    transmit_bytes: int = 0
    receive_packets: int = 0
    transmit_packets: int = 0
    receive_errors: int = 0
    transmit_errors: int = 0
    receive_drops: int = 0
    transmit_drops: int = 0
    index: int = 0  # the kernel's number of it: an interface that is created again has another; 0 = not known


@dataclass(frozen=True, slots=True)
class Device:
    """A WireGuard interface and its peers. The three columns have one entry per peer, in its order."""

    name: str
    kind: Kind
    namespace: str = ""  # network namespace by name; "" = the daemon's own
    public_key: str = ""  # base64; "" = no private key set
    listen_port: int = 0  # 0 = none
    fwmark: int = 0  # 0 = off
    link: Link | None = None  # None = the link could not be read
    peers: Sequence[Peer] = ()
    last_handshake: Sequence[int] = ()  # UNIX seconds, wall clock; 0 = never
    receive_bytes: Sequence[int] = ()
    transmit_bytes: Sequence[int] = ()

    @property
    def label(self) -> str:
        """The device's name on this host: `wg0`, or `blue/wg0` in the namespace blue (no name has a /)."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class Reading:
    """One attempt: at listing a source (`interface` is "") or at reading one interface."""

    source: str  # "netlink", "netlink@blue" in the namespace blue, or "uapi"; see sourcenames.py
    interface: str  # the device's label; "" = the source as a whole
    duration: float  # seconds
    reason: str = ""  # "" = success, otherwise the `reason` of a ReadError
    message: str = ""  # what failed
    retries: int = 0  # dumps discarded because peers changed meanwhile
    remedy: str = ""  # how to fix it; "" = not known

    @property
    def ok(self) -> bool:
        return not self.reason

    @property
    def explanation(self) -> str:
        """What failed and how to fix it, as one line for the log."""
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that one reading of a gateway found, with what it could not read."""

    gateway: str
    taken_at: float  # UNIX seconds
    devices: tuple[Device, ...] = ()
    readings: tuple[Reading, ...] = field(default=())


def split_endpoint(endpoint: str) -> tuple[str, str]:
    """`"[fe80::1%lo]:5"` → `("fe80::1%lo", "5")`; an unknown endpoint gives two empty strings."""
    host, _, port = endpoint.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), port
