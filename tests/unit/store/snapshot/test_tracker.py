"""Frames contain everything that snapshots contain, once, also when some frames were not kept."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.directory.entry import Directory, Entry
from exporter.model import Device, Link, Reading, Snapshot
from exporter.store.snapshot.codec import decode, encode
from exporter.store.snapshot.frame import MAX_COUNTER, DeviceFrame, Frame, Gap, is_other_instance
from exporter.store.snapshot.tracker import Tracker
from tests.kit.gateways import Row, key, with_peers
from tests.kit.store.frames import RUN, Moment, RandomGateway, Replica, Witness, row

WG0 = Device("wg0", "kernel", link=Link(True, index=4))
NO_ENTRIES = Directory()


def tracker(keyframe_every: int = 120, clearance: int = 1) -> Tracker:
    return Tracker("gw", "default", clearance, RUN, "boot", keyframe_every)


def take(to: Tracker, moment: Moment, keyframe: bool = False) -> Frame:
    snapshot = moment.snapshot
    return to.take(snapshot, moment.directory, moment.generation, snapshot.taken_at, keyframe=keyframe)


def kept(to: Tracker, moment: Moment, keyframe: bool = False) -> Frame:
    frame = take(to, moment, keyframe)
    to.confirm(frame)
    return frame


def moment(*devices: Device, failed: tuple[Reading, ...] = (), directory: Directory = NO_ENTRIES) -> Moment:
    return Moment(Snapshot("gw", 1.0, devices, failed), directory, len(directory.entries))


def wg0(*rows: Row, device: Device = WG0) -> Moment:
    return moment(with_peers(device, rows))


def failure(source: str, interface: str = "") -> tuple[Reading, ...]:
    return (Reading(source, interface, 0.1, "timeout", "no answer"),)


def only(frame: Frame) -> DeviceFrame:
    (device,) = frame.devices
    return device


@settings(deadline=None)
@given(seed=st.randoms(use_true_random=False), share=st.sampled_from([1, 0.7, 0.4]))
def test_frames_contain_what_the_snapshots_contain(seed: random.Random, share: float) -> None:
    """For any events on a gateway and any frames that are not kept, the kept frames give the present peers,
    their configurations, their counters and their total bytes."""
    frames, gateway = tracker(keyframe_every=10), RandomGateway(seed)
    witness, replica = Witness("default", 1), Replica()
    for _ in range(30):
        if not replica.sequence:
            witness = Witness("default", 1)
        now = gateway.next()
        witness.see(now)
        frame = take(frames, now, keyframe=seed.random() < 0.1)
        if seed.random() < share:
            frames.confirm(frame)
            replica.apply(decode(encode(frame)))
            assert replica.present == witness.present
            assert replica.totals == witness.totals
            assert dict(frame.unread) == witness.unread


def test_a_frame_has_the_identity_of_its_run() -> None:
    """A frame has the identity of its run, and reports the gaps before it."""
    gaps = [Gap(1.0, 2.0, "late", 1)]
    frame = tracker(clearance=3).take(Snapshot("gw", 1.0), NO_ENTRIES, 0, 2.5, gaps)
    assert (frame.run, frame.gateway, frame.organisation, frame.clearance) == (RUN, "gw", "default", 3)
    assert (frame.taken_at, frame.gaps, frame.devices) == (2.5, gaps, [])


def test_keyframes_are_first_regular_and_on_request() -> None:
    """The first kept frame is a keyframe, then every n-th one, and one on request."""
    frames = tracker(keyframe_every=3)
    taken = [kept(frames, wg0(row(1)), keyframe=number == 5) for number in range(1, 10)]
    assert [frame.sequence for frame in taken if frame.keyframe] == [1, 4, 5, 8]
    assert [frame.epoch for frame in taken] == [1, 1, 1, 4, 5, 5, 5, 8, 8]


def test_no_epoch_begins_while_a_frame_is_not_kept() -> None:
    """Every frame is a keyframe until one is kept; later a keyframe waits until a frame was kept."""
    frames = tracker()
    assert take(frames, wg0(row(1))).keyframe
    assert kept(frames, wg0(row(1))).epoch == 2
    assert take(frames, wg0(row(1)), keyframe=True).epoch == 3
    assert kept(frames, wg0(row(1)), keyframe=True).epoch == 2
    assert kept(frames, wg0(row(1)), keyframe=True).epoch == 5


def test_every_take_has_a_number_of_its_own() -> None:
    """No two frames share a sequence number, so a frame that may have been kept is not confused with the
    next."""
    frames = tracker()
    first, second = take(frames, wg0()), take(frames, wg0())
    assert (first.sequence, second.sequence) == (1, 2)
    with pytest.raises(ValueError, match="frame 1 is not the last frame"):
        frames.confirm(first)
    frames.confirm(second)
    with pytest.raises(ValueError, match="frame 2"):
        frames.confirm(second)


def test_an_unchanged_peer_is_not_in_the_frame() -> None:
    """An interface without changes is in the frame, without any peer."""
    frames = tracker()
    kept(frames, wg0(row(1, 5, 6, 7), row(2)))
    same = only(kept(frames, wg0(row(1, 5, 6, 7), row(2))))
    assert same == DeviceFrame("wg0", "kernel", "", 0, 0, "boot:4", 2, *([] for _ in range(10)))


def test_only_changed_peers_are_in_the_frame() -> None:
    """A peer with new bytes or a new handshake is in `changed`."""
    frames = tracker()
    kept(frames, wg0(row(1, 5, 6, 7), row(2, 5, 6, 7), row(3, 5, 6, 7), row(4, 5, 6, 7)))
    frame = only(kept(frames, wg0(row(1, 9, 6, 7), row(2, 5, 9, 7), row(3, 5, 6, 9), row(4, 5, 6, 7))))
    assert frame.changed == [0, 1, 2]
    assert (frame.last_handshake, frame.receive, frame.transmit) == ([9, 5, 5], [6, 9, 6], [7, 7, 9])
    assert (frame.added, frame.configured, frame.reset) == ([], [], [])


@pytest.mark.parametrize("after", [row(1, 5, 5, 7), row(1, 5, 6, 6), row(1, 0, 6, 7)])
def test_smaller_counters_were_reset(after: Row) -> None:
    """A peer that lost its handshake was reset; an earlier handshake after a clock step is no reset."""
    frames = tracker()
    kept(frames, wg0(row(1, 5, 6, 7), row(2, 5, 6, 7)))
    frame = only(kept(frames, wg0(after, row(2, 4, 6, 7))))
    assert (frame.changed, frame.reset, frame.carried_receive) == ([0, 1], [0], [0])


def test_a_peer_that_comes_back_has_a_new_slot() -> None:
    """A peer that was removed and came back was reset, even if its counters are larger."""
    frames = tracker()
    kept(frames, wg0(row(1, 5, 6, 7), row(2)))
    away = only(kept(frames, wg0(row(2))))
    assert (away.removed, away.peers) == ([0], 1)
    back = only(kept(frames, wg0(row(2), row(1, 5, 60, 70))))
    assert (back.added, back.changed, back.reset) == ([key(1)], [2], [2])
    assert [slot for slot, _ in back.configured] == [2]


def test_the_order_of_peers_is_no_change() -> None:
    """Peers keep their slots when an interface lists them in another order."""
    frames = tracker()
    kept(frames, wg0(row(1, 5), row(2, 6), row(3, 7)))
    frame = only(kept(frames, wg0(row(3, 7), row(1, 5), row(2, 8))))
    assert (frame.changed, frame.last_handshake, frame.added, frame.removed) == ([1], [8], [], [])


def test_a_peer_that_came_and_went_between_two_kept_frames() -> None:
    """A peer that only an unkept snapshot contained gets a slot with its bytes, and is removed again."""
    frames = tracker()
    kept(frames, wg0(row(1, 5, 6, 7)))
    take(frames, wg0(row(1, 5, 6, 7), row(2, 1, 2, 3)))
    frame = only(kept(frames, wg0(row(1, 5, 6, 7))))
    assert (frame.added, frame.removed, frame.changed) == ([key(2)], [1], [1])
    assert (frame.last_handshake, frame.receive, frame.transmit) == ([1], [2], [3])
    assert only(kept(frames, wg0(row(1, 5, 6, 7), row(3)))).changed == [2]


def test_bytes_counted_before_a_reset_are_carried() -> None:
    """100, 150, reset to 20, 30, reset to 5: the frame carries 50 and then 30 bytes."""
    frames = tracker()
    kept(frames, wg0(row(1, 1, 100, 1000)))
    for received in (150, 20, 30, 5):
        frame = take(frames, wg0(row(1, 1, received, 1000)))
    assert (only(frame).reset, only(frame).receive, only(frame).transmit) == ([0], [5], [1000])
    assert (only(frame).carried_receive, only(frame).carried_transmit) == ([50 + 30], [0 + 1000])


def test_a_peer_that_is_back_before_a_frame_is_kept_has_one_slot() -> None:
    """A peer that came and went has one slot in the frame, its last counters and its carried bytes."""
    frames = tracker()
    kept(frames, wg0(row(1, 1, 100, 0), row(2)))
    take(frames, wg0(row(2), row(3, 1, 40, 0)))
    take(frames, wg0(row(2)))
    frame = only(kept(frames, wg0(row(3, 1, 7, 0), row(2), row(1, 1, 300, 0))))
    assert (frame.added, frame.removed) == ([key(3)], [])
    assert dict(zip(frame.changed, frame.receive, strict=True)) == {0: 300, 2: 7}
    assert dict(zip(frame.reset, frame.carried_receive, strict=True)) == {0: 0, 2: 40}


def test_an_interface_that_came_and_went() -> None:
    """An interface that came and went is in `devices` and `removed` of one frame, and in no later frame."""
    frames = tracker()
    kept(frames, moment())
    take(frames, wg0(row(1, 1, 2, 3)))
    frame = kept(frames, moment())
    assert (only(frame).added, only(frame).receive, only(frame).removed) == ([key(1)], [2], [0])
    assert frame.removed == ["wg0"]
    assert (kept(frames, moment()).removed, kept(frames, moment()).devices) == ([], [])


def test_an_interface_that_is_back_adds_its_peers_again() -> None:
    """The peers of an interface that returns get unused slots, and their counters continue."""
    frames = tracker()
    kept(frames, wg0(row(1, 1, 2, 3), row(2)))
    away = kept(frames, moment())
    assert (away.removed, away.devices) == (["wg0"], [])
    back = only(kept(frames, wg0(row(1, 1, 9, 9), row(2))))
    assert (back.added, back.changed, back.reset) == ([key(1), key(2)], [2, 3], [])


def test_a_keyframe_lists_a_removed_interface() -> None:
    """A keyframe also lists the interfaces removed since the previous frame, without their peers."""
    frames = tracker()
    kept(frames, wg0(row(1, 1, 2, 3)))
    frame = kept(frames, moment(), keyframe=True)
    assert (frame.removed, frame.devices) == (["wg0"], [])
    assert only(kept(frames, wg0(row(2)))).changed == [0]


def test_another_index_is_another_interface() -> None:
    """A new instance resets all counters; an unreadable index is assumed to be unchanged."""
    frames = tracker()
    nameless, other = replace(WG0, link=None), replace(WG0, link=Link(True, index=5))
    instances, resets = [], []
    for device in (nameless, WG0, nameless, other, other):
        frame = only(kept(frames, wg0(row(1, 1, 2, 3), row(2), device=device)))
        instances.append(frame.instance)
        resets.append(frame.reset)
    assert instances == ["boot:0", "boot:4", "boot:4", "boot:5", "boot:5"]
    assert resets == [[], [], [], [0, 1], []]


def test_bytes_of_an_earlier_instance_are_carried() -> None:
    """The bytes of a peer that is missing from a new instance of the interface are carried."""
    frames = tracker()
    kept(frames, wg0(row(1, 1, 100, 0), row(2)))
    take(frames, wg0(row(1, 1, 150, 0), row(2)))
    frame = only(kept(frames, wg0(row(2), device=replace(WG0, link=Link(True, index=5)))))
    assert (frame.instance, frame.removed) == ("boot:5", [0])
    assert dict(zip(frame.changed, frame.receive, strict=True)) == {0: 0, 1: 0}
    assert dict(zip(frame.reset, frame.carried_receive, strict=True)) == {0: 50, 1: 0}


@pytest.mark.parametrize(
    ("before", "after", "other"),
    [
        ("b:1", "b:1", False),
        ("b:1", "b:2", True),
        ("a:1", "b:1", True),
        ("b:0", "b:2", False),
        ("b:1", "b:0", False),
        ("a:0", "b:0", True),
        ("b:10", "b:20", True),
    ],
)
def test_instances_are_compared_as_far_as_they_are_known(before: str, after: str, other: bool) -> None:
    """Index 0 is unknown and proves nothing; another boot is another instance of every interface."""
    assert is_other_instance(before, after) is other


def test_an_interface_that_cannot_be_read_keeps_its_state() -> None:
    """An interface whose reading, source or namespaces failed is unread and not removed, and others may
    exist."""
    blue, utun = replace(WG0, namespace="blue"), Device("utun", "userspace")
    all_three = moment(*(with_peers(device, [row(1, 1, 2, 3)]) for device in (WG0, blue, utun)))
    frames = tracker()
    kept(frames, all_three)
    failed = failure("netlink", "wg0") + failure("netlink@*") + failure("uapi") + failure("uapi", "new")
    frame = kept(frames, moment(failed=failed))
    assert sorted(frame.unread) == [(label, "timeout") for label in ("", "blue/wg0", "new", "utun", "wg0")]
    assert (frame.removed, frame.devices) == ([], [])
    assert [device.changed for device in kept(frames, all_three).devices] == [[], [], []]


def test_a_failed_listing_hides_nothing_that_was_read() -> None:
    """An interface that was read despite a failed listing is read, and a removed one stays removed."""
    frames = tracker()
    kept(frames, wg0(row(1)))
    read = kept(frames, moment(WG0, failed=failure("netlink") + failure("netlink", "wg0")))
    assert (read.unread, only(read).removed) == ([("", "timeout")], [0])
    kept(frames, moment())
    assert kept(frames, moment(failed=failure("netlink"))).unread == [("", "timeout")]


def test_an_interface_unread_at_a_keyframe_adds_its_peers_later() -> None:
    """The first frame in the epoch that has the interface adds all of its peers, with the resets since its
    last reading."""
    frames = tracker()
    kept(frames, wg0(row(1, 1, 20, 30), row(2, 1, 20, 30), row(3)))
    kept(frames, moment(failed=failure("netlink", "wg0")), keyframe=True)
    frame = only(kept(frames, wg0(row(4, 1, 1, 1), row(2, 1, 21, 31), row(1, 1, 2, 3))))
    assert (frame.added, frame.changed, frame.removed) == ([key(4), key(2), key(1)], [0, 1, 2], [])
    assert (frame.reset, len(frame.configured)) == ([0, 2], 3)


def test_the_organisation_of_a_peer() -> None:
    """Organisation and clearance come from the directory or the gateway, never below the gateway's
    clearance."""
    entries = {
        key(1): Entry(key(1), "one", "berlin", "", "noc", "acme", 5),
        key(2): Entry(key(2), "two", clearance=1),
    }
    frame = tracker(clearance=2).take(
        wg0(row(1), row(2), row(3)).snapshot, Directory(entries), 1, 1.0, keyframe=True
    )
    whose = [
        (config.organisation, config.clearance, config.name, config.site, config.owner)
        for _, config in only(frame).configured
    ]
    assert whose == [
        ("acme", 5, "one", "berlin", "noc"),
        ("default", 2, "two", "", ""),
        ("default", 2, "", "", ""),
    ]


def test_another_directory_changes_configurations() -> None:
    """Fields that are not recorded cause no change; a directory under an old generation is not looked at."""
    frames, snapshot = tracker(), wg0(row(1), row(2), row(3)).snapshot
    before = Directory({key(number): Entry(key(number), f"peer-{number}") for number in (1, 2)})
    after = Directory({key(1): Entry(key(1), "peer-1", role="hub"), key(3): Entry(key(3), "peer-3")})

    def configured(directory: Directory, generation: int) -> list[tuple[int, str]]:
        frame = frames.take(snapshot, directory, generation, 1.0)
        frames.confirm(frame)
        return [(slot, config.name) for slot, config in only(frame).configured]

    assert configured(before, 1) == [(0, "peer-1"), (1, "peer-2"), (2, "")]
    assert configured(after, 1) == []
    assert configured(after, 2) == [(1, ""), (2, "peer-3")]


def test_counters_are_limited_to_what_the_database_can_hold() -> None:
    """Counters and carried sums are limited to the largest signed 64-bit number."""
    frames = tracker()
    kept(frames, wg0(row(1, 1, 2**64 - 1, 0)))
    for received in (0, MAX_COUNTER, 5):
        frame = take(frames, wg0(row(1, 1, received, 2**63)))
    assert (only(frame).carried_receive, only(frame).transmit) == ([MAX_COUNTER], [MAX_COUNTER])
    assert only(kept(tracker(), wg0(row(1, 1, 2**64 - 1, 0)))).receive == [MAX_COUNTER]
