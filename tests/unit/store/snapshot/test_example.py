"""The worked example at the head of exporter/store/snapshot/tracker.py, with the numbers that it shows."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest

from exporter.directory.entry import Directory
from exporter.model import Device, Peer, Snapshot
from exporter.store.snapshot import tracker
from exporter.store.snapshot.frame import DeviceFrame
from exporter.store.snapshot.tracker import Tracker

A, B, C = ("A" * 43 + "=", "B" * 43 + "=", "C" * 43 + "=")
NAMES = {A: "A", B: "B", C: "C"}
SNAPSHOTS = [{A: 1000, B: 0}, {A: 1500, B: 0, C: 148}, {A: 1800, C: 148}]
FOURTH = {A: 200, C: 300, B: 50}  # A was reset, C received bytes, B is back


def snapshot(number: int, received: dict[str, int]) -> Snapshot:
    """The interface wg0 with these peers, 30 seconds after the previous snapshot."""
    count = len(received)
    device = Device(
        "wg0",
        "kernel",
        peers=tuple(map(Peer, received)),
        last_handshake=[10] * count,
        receive_bytes=list(received.values()),
        transmit_bytes=[0] * count,
    )
    return Snapshot("gw", 30.0 * number, (device,))


def frames(snapshots: Sequence[dict[str, int]], kept: Sequence[bool]) -> list[DeviceFrame]:
    """The frames of the snapshots for wg0; `kept` says which of them are confirmed."""
    tracking = Tracker("gw", "acme", 0, UUID(int=1), "boot")
    made = []
    for number, (received, confirmed) in enumerate(zip(snapshots, kept, strict=True)):
        frame = tracking.take(snapshot(number, received), Directory(), 0, 30.0 * number + 1)
        if confirmed:
            tracking.confirm(frame)
        made.append(frame.devices[0])
    return made


def row(number: int, frame: DeviceFrame) -> str:
    """A row of the example's tables, in the order of their columns."""
    added = ", ".join(NAMES[key] for key in frame.added)
    columns = [added, *(", ".join(map(str, column)) for column in (frame.removed, frame.changed))]
    columns += [", ".join(map(str, frame.receive)), ", ".join(map(str, frame.reset))]
    return " ".join([str(number), *(column or "-" for column in columns)])


def documented(text: str) -> list[str]:
    """The rows of frames in the docstring, with single spaces and without remarks."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.startswith("    ")]
    return [line for line in lines if line[0].isdigit()]


def test_the_example_is_what_the_tracker_does() -> None:
    """Each row of both tables of frames is the frame that the tracker makes of these snapshots."""
    rows = documented(tracker.__doc__ or "")
    readings, shown, shown_late = rows[:3], rows[3:6], rows[6:]
    assert readings == ["1 1000 0 -", "2 1500 0 148", "3 1800 - 148"]
    every = [row(number, frame) for number, frame in enumerate(frames(SNAPSHOTS, [True] * 3), 1)]
    assert [line.startswith(made) for line, made in zip(shown, every, strict=True)] == [True] * 3
    late = row(3, frames(SNAPSHOTS, [True, False, True])[2])
    assert shown_late == [late]


@pytest.mark.parametrize(
    ("third_is_kept", "expected", "carried"),
    [(True, "4 B - 0, 2, 3 200, 300, 50 0, 3", [0, 0]), (False, "4 - - 0, 2, 1 200, 300, 50 0, 1", [300, 0])],
    ids=["kept", "not kept"],
)
def test_the_rules_predict_the_frame_of_a_fourth_snapshot(
    third_is_kept: bool, expected: str, carried: list[int]
) -> None:
    """B gets a new slot if the frame with its removal was kept (rule 1), and otherwise keeps its slot (rule
    4); A carries the bytes that only the third snapshot has (rule 5)."""
    *_, fourth = frames([*SNAPSHOTS, FOURTH], [True, True, third_is_kept, True])
    assert row(4, fourth) == expected
    assert fourth.carried_receive == carried
