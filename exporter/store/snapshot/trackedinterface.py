"""One interface of a tracker: what the next frame says about it."""

from __future__ import annotations

from dataclasses import replace

from exporter.store.snapshot.changes import (
    NEVER_READ,
    Configure,
    InterfaceState,
    compare,
    whole,
    without_changes,
)
from exporter.store.snapshot.frame import DeviceFrame
from exporter.store.snapshot.merge import merge, slots_of


class TrackedInterface:
    """The last reading of an interface, its reading in the last kept frame, and the difference between them.

    While every frame is kept, both readings are the same one. The difference is None if the interface has
    neither been read nor removed since the last kept frame.
    """

    def __init__(self, configure: Configure) -> None:
        self._configure = configure
        self.last = NEVER_READ
        self._kept = NEVER_READ
        self._difference: DeviceFrame | None = None

    @property
    def newly_removed(self) -> bool:
        """Whether it was removed after the last kept frame."""
        return self.last.removed and self.last is not self._kept

    def read(self, current: InterfaceState) -> None:
        """Takes a reading, which has no slots yet."""
        difference, kept = self._difference, self._kept
        earlier_slots = (lambda: slots_of(kept, difference)) if difference else dict[str, int]
        self.last, step = compare(self.last, current, earlier_slots, self._configure)
        self._add(step)

    def remove(self) -> None:
        """Notes that the interface was removed. Its last reading stays: it may come back unchanged."""
        slots = list(self.last.slots or ())
        self.last = replace(self.last, slots=None, removed=True)
        self._add(replace(without_changes(self.last), peers=0, removed=slots))

    def frame(self, *, keyframe: bool) -> DeviceFrame | None:
        """The interface's part of the next frame; None = it has none.

        A removed interface has a part only if it also has differences that were not kept: new counters, or
        readings of an interface that the last kept frame does not have.
        """
        difference = self._difference
        if not difference:
            return None
        if self.last.removed:
            unkept = difference.changed or self._kept.removed
            return difference if unkept and not keyframe else None
        if keyframe and self._kept is not NEVER_READ:  # the difference to nothing is whole
            return whole(self.last, difference, self._configure)
        return difference

    def keep(self, *, keyframe: bool) -> None:
        """Notes that the next frame was kept. A keyframe begins an epoch: an interface that has no part in it
        gets its slots in a later frame."""
        if keyframe:
            included = self._difference and not self.last.removed
            slots = range(len(self.last.device.peers) if included else 0)
            self.last = replace(self.last, slots=slots if included else None, next_slot=len(slots))
        self._kept, self._difference = self.last, None

    def _add(self, step: DeviceFrame) -> None:
        self._difference = merge(self._kept, self._difference, step) if self._difference else step
