"""Makes the frame of each snapshot: the difference to the last snapshot that was kept.

A worked example. The interface wg0 has the peers A and B. Then A receives 500 bytes and C is added; then A
receives 300 bytes and B is removed. The counters of received bytes in the three snapshots:

    snapshot   A      B   C
    1          1000   0   -
    2          1500   0   148
    3          1800   -   148

Each frame is kept (it is in the spool) before the next snapshot is taken:

    frame   added   removed   changed   receive     reset
    1       A, B    -         0, 1      1000, 0     -       a keyframe: A gets slot 0, B gets slot 1
    2       C       -         0, 2      1500, 148   2       C gets slot 2
    3       -       1         0         1800        -       C did not change

If frame 2 is not kept, because the disk is full, then frame 3 contains both differences:

    frame   added   removed   changed   receive     reset
    3       C       1         0, 2      1800, 148   2

The rules for the frame of one interface:

1. `added` has the keys of new peers, in the order of the reading. Each gets the next slot, from 0 in every
   epoch. `removed` has the slots of removed peers, which no other peer gets. A removed peer that comes back
   is a new peer.
2. `changed` has the slots whose counters or handshake differ from the previous reading of the interface, and
   all slots of `added` and `reset`. `receive`, `transmit` and `last_handshake` give their new values.
   `configured` has the slots whose configuration differs, and all slots of `added`.
3. `reset` has the slots whose counters are known to have started again at zero: a counter became smaller, the
   handshake was lost, the previous reading of the interface does not have the peer, or the interface was
   created again. The first reading of an interface in a run resets nothing: the writer compares it with the
   database.

If a frame is not kept (`confirm` is not called), the next frame also contains its difference:

4. A peer that came and went in between is in `added`, `changed` and `removed`. A peer that went and came back
   in between keeps its slot, and is not in `removed`: within a frame, a public key has one slot.
5. `carried_receive` and `carried_transmit` have the bytes that a slot of `reset` counted between the kept
   snapshot and the reset. With 1000 bytes in the kept snapshot, 1500 in the one that was not kept, and then
   20, `receive` is 20 and `carried_receive` is 500. A peer that the interface lost when it was created again
   is in `reset` with counters of 0.

The rules for the whole frame:

6. `devices` has every interface that was read. An interface that could not be read is in `unread`, and its
   next frame is the difference to its last reading. An interface that was removed is in `removed`, without
   its peers. If it comes back, its peers get new slots; their counters are compared with its last reading.
7. A keyframe adds every peer again, with slots from 0. An interface that is not in the keyframe adds its
   peers in its first frame of the epoch.
8. After a frame that was not kept, an interface that came and went is in both `devices` and `removed`, and an
   interface can be in both `devices` and `unread`. So a reader applies `devices` first (in each, the removed
   slots last), and `removed` afterwards.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from exporter.directory.entry import Directory, Entry
from exporter.model import Device, Peer, Snapshot
from exporter.sourcenames import listings_of
from exporter.store.snapshot.changes import InterfaceState
from exporter.store.snapshot.frame import MAX_COUNTER, Frame, Gap, PeerConfig
from exporter.store.snapshot.trackedinterface import TrackedInterface

REMEMBERED = 256  # removed interfaces whose last reading is kept: they may come back unchanged


class Tracker:
    """Makes the frames of one run of the daemon. Not thread-safe.

    Each call of `take` uses the next sequence number, so two frames never share one. A frame that is not
    confirmed leaves a hole in the sequence, which `gaps` of a later frame must report. A keyframe is due at
    the start, after `keyframe_every` frames, and on request. It is delayed until the previous frame is
    confirmed. Until the first frame is confirmed, every frame is a keyframe without a past.
    """

    def __init__(
        self,
        gateway: str,
        organisation: str,
        clearance: int,
        run: UUID,
        boot_id: str,
        keyframe_every: int = 120,
    ) -> None:
        self._gateway = gateway
        self._organisation = organisation
        self._clearance = clearance
        self._run = run
        self._boot_id = boot_id
        self._keyframe_every = keyframe_every
        self._interfaces: dict[str, TrackedInterface] = {}
        self._sequence = 0
        self._epoch = 0  # of the last confirmed frame
        self._taken: Frame | None = None  # the last frame, while it is not confirmed
        self._directory = Directory()
        self._generation = -1

    def take(
        self,
        snapshot: Snapshot,
        directory: Directory,
        generation: int,
        taken_at: float,
        gaps: Sequence[Gap] = (),
        keyframe: bool = False,
    ) -> Frame:
        """The difference to the last confirmed frame. `taken_at` is the frame's instant, in UNIX seconds.

        A directory with the same `generation` as in the previous call is assumed to be the same directory.
        """
        if generation != self._generation:
            self._directory, self._generation = directory, generation
        if not self._epoch:
            self._interfaces.clear()
        self._sequence += 1
        due = keyframe or self._sequence - self._epoch >= self._keyframe_every
        keyframe = not self._epoch or (due and self._taken is None)
        unread = self._update(snapshot)
        interfaces = self._interfaces
        parts = [interface.frame(keyframe=keyframe) for interface in interfaces.values()]
        self._taken = Frame(
            run=self._run,
            sequence=self._sequence,
            epoch=self._sequence if keyframe else self._epoch,
            taken_at=taken_at,
            gateway=self._gateway,
            organisation=self._organisation,
            clearance=self._clearance,
            devices=[part for part in parts if part],
            removed=[label for label, each in interfaces.items() if each.newly_removed],
            unread=list(unread.items()),
            gaps=list(gaps),
        )
        return self._taken

    def confirm(self, frame: Frame) -> None:
        """Says that the last frame was kept: the next frame builds on it. Raises ValueError for another
        frame."""
        if frame is not self._taken:
            raise ValueError(f"frame {frame.sequence} is not the last frame")
        if frame.keyframe:
            self._forget()
        for interface in self._interfaces.values():
            interface.keep(keyframe=frame.keyframe)
        self._taken, self._epoch = None, frame.epoch

    def _forget(self) -> None:
        """Forgets removed interfaces, except REMEMBERED ones."""
        removed = [label for label, each in self._interfaces.items() if each.last.removed]
        for label in removed[:-REMEMBERED]:
            del self._interfaces[label]

    def _update(self, snapshot: Snapshot) -> dict[str, str]:
        """Updates the interfaces. Returns interface → reason for the interfaces that could not be read."""
        unread = self._unread(snapshot)
        present = {device.label for device in snapshot.devices} | unread.keys()
        for label, interface in self._interfaces.items():
            if label not in present and not interface.last.removed:
                interface.remove()
        for device in snapshot.devices:
            interface = self._interfaces.setdefault(device.label, self._tracked(device.label))
            index = device.link.index if device.link else 0
            known = interface.last.instance or f"{self._boot_id}:0"
            instance = f"{self._boot_id}:{index}" if index else known
            interface.read(InterfaceState(_bounded(device), instance, self._directory))
        return unread

    def _unread(self, snapshot: Snapshot) -> dict[str, str]:
        """Interface → reason: interfaces that could not be read, and known interfaces of a source that could
        not be listed. With the key "", the gateway may have interfaces that this run has not seen."""
        failed = [reading for reading in snapshot.readings if not reading.ok]
        listings = {reading.source: reading.reason for reading in failed if not reading.interface}
        unread = {reading.interface: reading.reason for reading in failed if reading.interface}
        for label, interface in self._interfaces.items():
            reason = next(
                (listings[each] for each in listings_of(interface.last.device) if each in listings), ""
            )
            if reason and not interface.last.removed:
                unread.setdefault(label, reason)
        for device in snapshot.devices:
            unread.pop(device.label, None)
        if listings:
            unread[""] = next(iter(listings.values()))
        return unread

    def _tracked(self, label: str) -> TrackedInterface:
        return TrackedInterface(functools.partial(self._configure, label))

    def _configure(self, label: str, peer: Peer, directory: Directory) -> PeerConfig:
        entry = directory.get(peer.public_key, label) or _NO_ENTRY
        return PeerConfig(
            endpoint=peer.endpoint,
            allowed_ips=peer.allowed_ips,
            persistent_keepalive=peer.persistent_keepalive,
            has_preshared_key=peer.has_preshared_key,
            organisation=entry.organisation or self._organisation,
            clearance=max(self._clearance, entry.clearance),
            name=entry.name,
            site=entry.site,
            owner=entry.owner,
        )


_NO_ENTRY = Entry("")


def _bounded(device: Device) -> Device:
    columns = device.receive_bytes, device.transmit_bytes
    if max(max(column, default=0) for column in columns) <= MAX_COUNTER:
        return device
    receive, transmit = ([min(value, MAX_COUNTER) for value in column] for column in columns)
    return replace(device, receive_bytes=receive, transmit_bytes=transmit)
