"""What each snapshot adds to the last one that was kept: the frame of it.

A frame that is not confirmed was not kept, and the next one says everything since the last that was. So the
tracker holds two readings of each interface, the last one and that of the last confirmed frame, and what is
new between them; most of the time the two are one. In a frame after one that was not kept

- what came and went in between is `added` and `changed` and `removed`, a whole interface also `gone`: take in
  what is told of the interfaces first, in each what it removed last, and then which of them are gone;
- a peer that was removed and came back in between keeps its slot: a public key stands at one slot in a frame;
- an interface can be `unread` as well: what is told of it was read before.

Counters known to have begun anew are in `restarted`: of an interface that was made again, of a peer that has
smaller ones or no handshake any more, and of one that was not there when its interface was last read. Nothing
is known of what this run sees for the first time: who knows more must compare.
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

REMEMBERED = 256  # interfaces that are gone, with their last reading: they may come back as they were


class Tracker:
    """Makes the frame of each snapshot of one run of the daemon. Not for two threads at once.

    Each take has a sequence number of its own, so that one that may or may not have been kept is never
    mistaken for another; what is not confirmed leaves a hole, which the `lost` of a later frame has to tell.
    A keyframe is due first, after `keyframe_every` frames, and on request; it waits for a take that follows
    a confirmed one. Until the first is confirmed, each take begins from nothing.
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
        self._taken: Frame | None = None  # and not confirmed
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
        """What is new since the last confirmed frame. `taken_at` is the frame's instant, in UNIX seconds.

        A directory that is given under the same `generation` as the one before is taken to be that one.
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
            devices=list(self._told(whole and self._epoch > 0)),
            gone=[label for label, each in self._interfaces.items() if each.last.gone and each.is_new],
            unread=list(unread.items()),
            lost=list(lost),
        )
        return self._taken

    def confirm(self, frame: Frame) -> None:
        """The frame taken last is kept: the next one builds on it."""
        if frame is not self._taken:
            raise ValueError(f"frame {frame.sequence} is not the one that was taken last")
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
        """Takes in what was read, and what is gone. Gives what could not be read, and why."""
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
        """Interface → reason: those that could not be read, and those that nobody could list. "" = others may
        be there that this run has not seen."""
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

    def _told(self, whole: bool) -> Iterator[DeviceFrame]:
        for each in self._interfaces.values():
            if not each.news:
                continue
            if not each.last.gone:
                yield whole_of(each.last, each.news, self._configure) if whole else each.news
            elif not whole and (each.news.changed or each.kept.gone):
                yield each.news

    def _configure(self, peer: Peer, directory: Directory) -> PeerConfig:
        entry = directory.get(peer.public_key) or _NOBODY
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


_NOBODY = Entry("")


def _bounded(device: Device) -> Device:
    columns = device.receive_bytes, device.transmit_bytes
    if max(max(column, default=0) for column in columns) <= MOST:
        return device
    receive, transmit = ([min(value, MOST) for value in column] for column in columns)
    return replace(device, receive_bytes=receive, transmit_bytes=transmit)


class _TrackedInterface:
    """The last reading of an interface, that of the last confirmed frame, and what is new between them."""

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
        """It is no longer there. Its last reading is remembered: it may come back as it was."""
        gone = list(self.last.slots or ())
        self.last = replace(self.last, slots=None, gone=True)
        self._add(replace(empty(self.last), peers=0, removed=gone))

    def keep(self) -> None:
        """What is new is told."""
        self.kept, self.news = self.last, None

    def begin_epoch(self) -> None:
        """What is new was told as a whole. An interface that was not read is told by a later frame."""
        told = self.news and not self.last.gone
        slots = range(len(self.last.device.peers) if told else 0)
        self.last = replace(self.last, slots=slots if told else None, free=len(slots))

    def _add(self, step: DeviceFrame) -> None:
        self.news = merged(self.kept, self.news, step) if self.news else step
