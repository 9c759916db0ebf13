"""A frame: the difference between a snapshot and the previous one that was kept. The spool stores frames,
and the writer writes them to the database.

A frame identifies a peer by its slot: the number of the peer on its interface. Slots are assigned in order
from 0, and no slot is used twice within an epoch. An epoch starts with a keyframe, which adds every peer. To
read a frame, a reader needs the `added` keys of the earlier frames of its epoch, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

MAX_COUNTER = 2**63 - 1  # of a counter, and of a sum of bytes: the largest value that the database can hold


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """A peer's configuration as it is recorded. Each change starts a new row of the peer's history."""

    endpoint: str
    allowed_ips: tuple[str, ...]
    persistent_keepalive: int
    has_preshared_key: bool
    organisation: str  # never ""
    clearance: int  # minimum clearance needed to read it; not below the gateway's
    name: str
    site: str
    owner: str


@dataclass(frozen=True, slots=True)
class DeviceFrame:
    """One interface that was read. The columns of a group are parallel: one entry per slot of the group."""

    label: str
    kind: str
    public_key: str
    listen_port: int
    fwmark: int
    instance: str  # boot and index of the interface; a new instance has reset every counter
    peers: int  # number of peers in the snapshot
    added: Sequence[str]  # public keys, which get the next slots
    removed: Sequence[int]  # slots
    configured: Sequence[tuple[int, PeerConfig]]  # (slot, configuration); includes each added slot
    changed: Sequence[int]  # slots with new counters or a new handshake; includes each added slot
    last_handshake: Sequence[int]  # of `changed`: UNIX seconds, 0 = never
    receive: Sequence[int]  # of `changed`: bytes, as the interface counts them
    transmit: Sequence[int]
    # Slots whose counters were reset since the previous frame, and the bytes that they counted between the
    # previous frame and the reset: 0, unless a snapshot that was not kept saw some of them.
    reset: Sequence[int]
    carried_receive: Sequence[int]
    carried_transmit: Sequence[int]


@dataclass(frozen=True, slots=True)
class Gap:
    """Snapshots that are missing from the spool, and the reason."""

    started_at: float  # UNIX seconds: the last snapshot before the gap
    ended_at: float  # the frame that reports the gap
    reason: str
    snapshots: int


@dataclass(frozen=True, slots=True)
class Frame:
    """One snapshot of a gateway."""

    run: UUID  # a start of the daemon
    sequence: int  # within the run, from 1; `gaps` reports every missing number
    epoch: int  # sequence of the keyframe that this frame builds on; a keyframe's own sequence
    taken_at: float  # UNIX seconds, whole milliseconds; later than in all earlier frames
    gateway: str
    organisation: str  # the gateway's; never ""
    clearance: int  # the gateway's and its interfaces'
    devices: Sequence[DeviceFrame]  # every interface that was read, also in a frame that is no keyframe
    removed: Sequence[str]  # labels of interfaces
    # (label, reason) of each interface that could not be read. The label "" means that a source could not be
    # listed: interfaces that the frame does not name may exist. Without it, they do not exist.
    unread: Sequence[tuple[str, str]]
    gaps: Sequence[Gap]

    @property
    def keyframe(self) -> bool:
        return self.epoch == self.sequence


def is_other_instance(before: str, after: str) -> bool:
    """Whether two values of `DeviceFrame.instance` show that the interface's counters were reset in between.
    An index of 0 could not be read; then only the boot is compared."""
    boot_before, _, index_before = before.rpartition(":")
    boot_after, _, index_after = after.rpartition(":")
    return boot_before != boot_after or (
        index_before != index_after and "0" not in (index_before, index_after)
    )
