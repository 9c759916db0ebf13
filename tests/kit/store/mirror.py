"""Frames for tests of the writer: made by hand, or by the tracker from snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from exporter.store.snapshot.frame import DeviceFrame, Frame, Gap, PeerConfig
from exporter.store.snapshot.tracker import Tracker
from tests.kit.gateways import key
from tests.kit.store.frames import RUN, START, Moment

CONFIG = PeerConfig("192.0.2.1:1", ("10.0.0.1/32",), 25, False, "acme", 0, "laptop", "lab", "ops")
Columns = dict[str, Any]


def device(*, label: str = "wg0", instance: str = "boot:1", port: int = 0, **columns: Any) -> DeviceFrame:
    """An interface that was read; `columns` are fields of `DeviceFrame`, the others are empty."""
    nothing = DeviceFrame(label, "kernel", "", port, 0, instance, 0, *([] for _ in range(10)))
    return replace(nothing, **columns)


def added(*peers: tuple[int, int, int, int], config: PeerConfig = CONFIG, slot: int = 0) -> Columns:
    """Columns of peers added at slots from `slot`: number of the key, handshake, received, sent."""
    slots = range(slot, slot + len(peers))
    return {
        "added": [key(number) for number, *_ in peers],
        "configured": [(slot, config) for slot in slots],
        **changed(*((slot, *values[1:]) for slot, values in zip(slots, peers, strict=True))),
    }


def changed(*peers: tuple[int, ...]) -> Columns:
    """Columns of changed peers: slot, handshake, received, sent."""
    slots, handshakes, received, sent = map(list, zip(*peers, strict=True))
    return {"changed": slots, "last_handshake": handshakes, "receive": received, "transmit": sent}


def reset(*peers: tuple[int, int, int]) -> Columns:
    """Columns of peers whose counters were reset: slot, carried received and sent bytes."""
    slots, received, sent = map(list, zip(*peers, strict=True))
    return {"reset": slots, "carried_receive": received, "carried_transmit": sent}


def frame(
    sequence: int,
    *devices: DeviceFrame,
    epoch: int = 1,
    run: UUID = RUN,
    at: float = 0.0,
    removed: Sequence[str] = (),
    unread: Sequence[tuple[str, str]] = (),
    gaps: Sequence[Gap] = (),
    clearance: int = 0,
    organisation: str = "acme",
) -> Frame:
    """A frame of gateway gw. `at`: UNIX seconds; by default, 30 seconds after the previous sequence
    number."""
    taken_at = at or START + 30.0 * sequence
    return Frame(
        run, sequence, epoch, taken_at, "gw", organisation, clearance, devices, removed, unread, gaps
    )


class Run:
    """One run of a daemon, from start to stop: makes frames of snapshots. Some of them are not kept."""

    def __init__(self, organisation: str = "acme") -> None:
        self._tracker = Tracker("gw", organisation, 1, uuid4(), "boot", keyframe_every=10)

    def frame(self, moment: Moment, *, kept: bool = True) -> Frame:
        taken_at = moment.snapshot.taken_at
        made = self._tracker.take(moment.snapshot, moment.directory, moment.generation, taken_at)
        if kept:
            self._tracker.confirm(made)
        return made
