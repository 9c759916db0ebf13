"""What `queries` answers: one class for each kind of row. Instants are UNIX seconds."""

from __future__ import annotations

from datetime import date
from operator import itemgetter
from typing import NamedTuple

import asyncpg


class AnswerRow(asyncpg.Record):
    """A row as the driver makes it: its fields are attributes, and nothing is copied."""

    def __init_subclass__(cls) -> None:
        for name in cls.__annotations__:
            setattr(cls, name, property(itemgetter(name)))


class Latest(AnswerRow):
    peer_id: int
    gateway: str
    interface: str
    public_key: str
    last_handshake: float | None  # None = never
    receive_total: int
    transmit_total: int
    changed_at: float
    removed: bool


class Known(AnswerRow):
    """A peer with all that is known of it now. One that was removed has no configuration."""

    peer_id: int
    gateway: str
    interface: str
    public_key: str
    name: str | None
    site: str | None
    owner: str | None
    endpoint: str | None
    allowed_ips: list[str] | None
    persistent_keepalive: int | None
    has_preshared_key: bool | None
    first_seen: float
    last_seen: float
    removed: bool
    clearance: int


class Active(AnswerRow):
    peer_id: int
    public_key: str


class Sample(AnswerRow):
    taken_at: float
    receive_total: int
    transmit_total: int
    last_handshake: float | None
    active: bool


class PeerConfigRow(AnswerRow):
    valid_from: float
    valid_to: float | None  # None = as it is now
    endpoint: str
    allowed_ips: list[str]
    persistent_keepalive: int
    has_preshared_key: bool
    name: str
    site: str
    owner: str


class InterfaceConfigRow(AnswerRow):
    valid_from: float
    valid_to: float | None
    kind: str
    public_key: str
    listen_port: int
    fwmark: int


class Gap(AnswerRow):
    gateway: str
    interface: str | None  # None = the whole gateway
    started_at: float
    ended_at: float | None  # None = it goes on
    reason: str
    snapshots: int


class KeySeen(AnswerRow):
    role: str  # "peer", or "interface" for its own key
    gateway: str
    interface: str
    first_seen: float
    last_seen: float


class Total(AnswerRow):
    """Bytes since recording of the peer began; both None = not found."""

    peer_id: int
    receive: int | None
    transmit: int | None


class DayBytes(NamedTuple):
    """What a peer received and sent on a day."""

    peer_id: int
    day: date
    receive: int
    transmit: int


class Rate(NamedTuple):
    """Bytes per second between two samples. The counters did not move before the last snapshot of the two."""

    started_at: float
    ended_at: float
    receive: float
    transmit: float
