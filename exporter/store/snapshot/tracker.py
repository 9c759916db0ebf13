"""Makes the frame of each snapshot: the difference to the last snapshot that was kept.

A worked example. Interface wg0 has the peers A and B. C is added, then B is removed:

    snapshot   A received   B received   C received
    1          1000         0            -
    2          1500         0            148
    3          1800         -            148

Each frame was kept (written to the spool) before the next snapshot was taken:

    frame   added   removed   changed   receive       restarted
    1       A, B    -         0, 1      1000, 0       -           keyframe: A gets slot 0, B slot 1
    2       C       -         0, 2      1500, 148     2           C gets slot 2
    3       -       1         0         1800          -           C did not change

Frame 2 was not kept, because the disk was full. Frame 3 then contains both differences:

    frame   added   removed   changed   receive       restarted
    3       C       1         0, 2      1800, 148     2

The rules:

1. The tracker holds two readings of each interface: the last one, and the one of the last confirmed frame
   (`kept`). `news` is the difference between them. Usually both readings are the same, and `news` is None.
2. `confirm` says that the last frame was kept. A frame that is not confirmed was not kept, and the next frame
   contains its difference as well.
3. A reader applies a frame in this order: the devices (in each, `removed` last), then `gone`. Both matter
   after a frame that was not kept: a peer or an interface that came and went in between is in `added` or
   `changed`, and also in `removed` or `gone`.
4. A peer that was removed and came back in between keeps its slot: within a frame, a public key has one slot.
5. An interface can be in `devices` and in `unread`: its difference was read earlier, by a frame that was not
   kept.
6. `restarted` lists the counters that are known to have been reset: those of an interface that was created
   again, of a peer with smaller counters or without its handshake, and of a peer that was missing from the
   previous reading of its interface. The first reading of an interface in a run restarts nothing: the writer
   compares it with the database.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from uuid import UUID

from exporter.directory.entry import Directory, Entry
from exporter.model import Device, Peer, Snapshot
from exporter.sourcenames import listings_of
from exporter.store.snapshot.changes import (
    MOST,
    NEVER,
    Configure,
    Seen,
    compare,
    empty,
    merged,
    slots_of,
    whole_of,
)
from exporter.store.snapshot.frame import DeviceFrame, Frame, Lost, PeerConfig

REMEMBERED = 256  # removed interfaces whose last reading is kept: they may come back unchanged


class Tracker:
    """Makes the frames of one run of the daemon. Not thread-safe.

    Each call of `take` uses the next sequence number, so two frames never share one. A frame that is not
    confirmed leaves a hole in the sequence, which `lost` of a later frame must report. A keyframe is due at
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
        self._interfaces: dict[str, _TrackedInterface] = {}
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
        lost: Sequence[Lost] = (),
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
        whole = not self._epoch or (due and self._taken is None)
        unread = self._update(snapshot)
        self._taken = Frame(
            run=self._run,
            sequence=self._sequence,
            epoch=self._sequence if whole else self._epoch,
            taken_at=taken_at,
            gateway=self._gateway,
            organisation=self._organisation,
            clearance=self._clearance,
            devices=list(self._device_frames(whole and self._epoch > 0)),
            gone=[label for label, each in self._interfaces.items() if each.last.gone and each.is_new],
            unread=list(unread.items()),
            lost=list(lost),
        )
        return self._taken

    def confirm(self, frame: Frame) -> None:
        """Says that the last frame was kept: the next frame builds on it. Raises ValueError for another
        frame."""
        if frame is not self._taken:
            raise ValueError(f"frame {frame.sequence} is not the last frame")
        if frame.keyframe:
            gone = [label for label, each in self._interfaces.items() if each.last.gone]
            for label in gone[:-REMEMBERED]:
                del self._interfaces[label]
            for interface in self._interfaces.values():
                interface.begin_epoch()
        for interface in self._interfaces.values():
            interface.keep()
        self._taken, self._epoch = None, frame.epoch

    def _update(self, snapshot: Snapshot) -> dict[str, str]:
        """Updates the interfaces. Returns interface → reason for the interfaces that could not be read."""
        unread = self._unread(snapshot)
        present = {device.label for device in snapshot.devices} | unread.keys()
        for label, interface in self._interfaces.items():
            if label not in present and not interface.last.gone:
                interface.vanish()
        for device in snapshot.devices:
            interface = self._interfaces.setdefault(device.label, _TrackedInterface())
            index = device.link.index if device.link else 0
            known = interface.last.instance or f"{self._boot_id}:0"
            instance = f"{self._boot_id}:{index}" if index else known
            interface.read(Seen(_bounded(device), instance, self._directory), self._configure)
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
            if reason and not interface.last.gone:
                unread.setdefault(label, reason)
        for device in snapshot.devices:
            unread.pop(device.label, None)
        if listings:
            unread[""] = next(iter(listings.values()))
        return unread

    def _device_frames(self, whole: bool) -> Iterator[DeviceFrame]:
        for each in self._interfaces.values():
            if not each.news:
                continue
            if not each.last.gone:
                yield whole_of(each.last, each.news, self._configure) if whole else each.news
            elif not whole and (each.news.changed or each.kept.gone):
                yield each.news

    def _configure(self, peer: Peer, directory: Directory) -> PeerConfig:
        entry = directory.get(peer.public_key) or _NO_ENTRY
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
    if max(max(column, default=0) for column in columns) <= MOST:
        return device
    receive, transmit = ([min(value, MOST) for value in column] for column in columns)
    return replace(device, receive_bytes=receive, transmit_bytes=transmit)


class _TrackedInterface:
    """The last reading of an interface, the reading of the last confirmed frame, and their difference."""

    def __init__(self) -> None:
        self.kept = self.last = NEVER
        self.news: DeviceFrame | None = None

    @property
    def is_new(self) -> bool:
        return self.last is not self.kept

    def read(self, now: Seen, configure: Configure) -> None:
        news, kept = self.news, self.kept
        taken = (lambda: slots_of(kept, news)) if news else dict[str, int]
        self.last, step = compare(self.last, now, taken, configure)
        self._add(step)

    def vanish(self) -> None:
        """Notes that the interface was removed. Its last reading is kept: it may come back unchanged."""
        gone = list(self.last.slots or ())
        self.last = replace(self.last, slots=None, gone=True)
        self._add(replace(empty(self.last), peers=0, removed=gone))

    def keep(self) -> None:
        """Notes that the difference was kept."""
        self.kept, self.news = self.last, None

    def begin_epoch(self) -> None:
        """Notes that a keyframe was kept. An interface that it does not contain gets slots in a later
        frame."""
        included = self.news and not self.last.gone
        slots = range(len(self.last.device.peers) if included else 0)
        self.last = replace(self.last, slots=slots if included else None, free=len(slots))

    def _add(self, step: DeviceFrame) -> None:
        self.news = merged(self.kept, self.news, step) if self.news else step
