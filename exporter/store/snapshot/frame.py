"""What one snapshot adds to the one before: what the spool keeps, and what is written to the database.

A frame speaks of peers by slot: their number on their interface, given out in order from 0 and never used
twice within an epoch. An epoch starts with a keyframe, whose devices add every peer that there is, so that
a frame needs only its epoch's frames before it, and of those only the `added` keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """A peer's configuration as it is recorded, and whose it is. With a change, a new row of its history."""

    endpoint: str
    allowed_ips: tuple[str, ...]
    persistent_keepalive: int
    has_preshared_key: bool
    organisation: str  # never ""
    clearance: int  # what a reader must have; not below the gateway's
    name: str
    site: str
    owner: str


@dataclass(frozen=True, slots=True)
class DeviceFrame:
    """One interface that was read. Columns of one name group are parallel."""

    label: str
    kind: str
    public_key: str
    listen_port: int
    fwmark: int
    instance: str  # boot and index of the interface: with another one, every counter began anew
    peers: int  # how many there are now
    added: Sequence[str]  # public keys; they take the next slots
    removed: Sequence[int]  # slots
    configured: Sequence[tuple[int, PeerConfig]]  # slot and configuration; each added slot is here
    changed: Sequence[int]  # slots whose counters or handshake are new; each added slot is here
    last_handshake: Sequence[int]  # of these: UNIX seconds, 0 = never
    receive: Sequence[int]  # of these: the interface's counters
    transmit: Sequence[int]
    # Slots whose counters began anew since the frame before. What they had counted until then, above the
    # value of the frame before: nothing is known of it (0) unless a reading between the frames saw it.
    restarted: Sequence[int]
    carried_receive: Sequence[int]
    carried_transmit: Sequence[int]


@dataclass(frozen=True, slots=True)
class Lost:
    """Snapshots that were to be taken and are not in the spool."""

    started_at: float  # UNIX seconds: of the last snapshot before
    ended_at: float  # of the frame that says so
    reason: str
    snapshots: int


@dataclass(frozen=True, slots=True)
class Frame:
    """One snapshot of a gateway."""

    run: UUID  # of the daemon, new with each start
    sequence: int  # in the run, from 1, without holes that `lost` does not tell
    epoch: int  # sequence of the keyframe that this frame builds on; its own when it is one
    taken_at: float  # UNIX seconds, whole milliseconds; later than that of any frame before
    gateway: str
    organisation: str  # the gateway's; never ""
    clearance: int  # the gateway's and its interfaces'
    devices: Sequence[DeviceFrame]  # in a delta, too, every interface that was read
    gone: Sequence[str]  # labels of interfaces that are no longer there
    # (label, reason): there, perhaps, but could not be read. "" = a listing failed: interfaces that the frame
    # does not name may be there, too; otherwise they are not.
    unread: Sequence[tuple[str, str]]
    lost: Sequence[Lost]

    @property
    def keyframe(self) -> bool:
        return self.epoch == self.sequence
