"""Frames say what snapshots said: all of it, once, also when some of the frames were not kept."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.directory.entry import Directory, Entry
from exporter.model import Device, Link, Reading, Snapshot
from exporter.store.snapshot.changes import MOST, is_other_instance
from exporter.store.snapshot.codec import decode, encode
from exporter.store.snapshot.frame import DeviceFrame, Frame, Lost
from exporter.store.snapshot.tracker import Tracker
from tests.kit.frames import RUN, LivingGateway, Moment, Replica, Witness, row
from tests.kit.gateways import Row, key, with_peers

WG0 = Device("wg0", "kernel", link=Link(True, index=4))
NOBODY = Directory()


def tracker(keyframe_every: int = 120, clearance: int = 1) -> Tracker:
    return Tracker("gw", "default", clearance, RUN, "boot", keyframe_every)


def take(to: Tracker, moment: Moment, keyframe: bool = False) -> Frame:
    snapshot = moment.snapshot
    return to.take(snapshot, moment.directory, moment.generation, snapshot.taken_at, keyframe=keyframe)


def kept(to: Tracker, moment: Moment, keyframe: bool = False) -> Frame:
    frame = take(to, moment, keyframe)
    to.confirm(frame)
    return frame


def moment(*devices: Device, failed: tuple[Reading, ...] = (), directory: Directory = NOBODY) -> Moment:
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
def test_frames_say_what_the_snapshots_said(seed: random.Random, share: float) -> None:
    """Whatever happens on a gateway, and whichever frames are not kept: who reads the others knows who is
    there, how each is configured, where its counters are, and how much it moved in all."""
    frames, gateway = tracker(keyframe_every=10), LivingGateway(seed)
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
            assert replica.there == witness.there
            assert replica.totals == witness.totals
            assert dict(frame.unread) == witness.unread


def test_a_frame_says_whose_it_is() -> None:
    """The head of a frame is the run's, and what was lost before it is told with it."""
    lost = [Lost(1.0, 2.0, "late", 1)]
    frame = tracker(clearance=3).take(Snapshot("gw", 1.0), NOBODY, 0, 2.5, lost)
    assert (frame.run, frame.gateway, frame.organisation, frame.clearance) == (RUN, "gw", "default", 3)
    assert (frame.taken_at, frame.lost, frame.devices) == (2.5, lost, [])


def test_keyframes_are_first_regular_and_on_request() -> None:
    """The first frame that is kept is one, then every so many, and whenever it is asked for."""
    frames = tracker(keyframe_every=3)
    taken = [kept(frames, wg0(row(1)), keyframe=number == 5) for number in range(1, 10)]
    assert [frame.sequence for frame in taken if frame.keyframe] == [1, 4, 5, 8]
    assert [frame.epoch for frame in taken] == [1, 1, 1, 4, 5, 5, 5, 8, 8]


def test_no_epoch_begins_while_a_frame_is_not_kept() -> None:
    """Until the first frame is kept each is a keyframe; later, one that was not kept is made up for first."""
    frames = tracker()
    assert take(frames, wg0(row(1))).keyframe
    assert kept(frames, wg0(row(1))).epoch == 2
    assert take(frames, wg0(row(1)), keyframe=True).epoch == 3
    assert kept(frames, wg0(row(1)), keyframe=True).epoch == 2
    assert kept(frames, wg0(row(1)), keyframe=True).epoch == 5


def test_every_take_has_a_number_of_its_own() -> None:
    """A frame of which nobody knows whether it was kept is not mistaken for the next one."""
    frames = tracker()
    first, second = take(frames, wg0()), take(frames, wg0())
    assert (first.sequence, second.sequence) == (1, 2)
    with pytest.raises(ValueError, match="frame 1 is not the last frame"):
        frames.confirm(first)
    frames.confirm(second)
    with pytest.raises(ValueError, match="frame 2"):
        frames.confirm(second)


def test_what_stays_is_not_told() -> None:
    """An interface on which nothing is new is in the frame, and nothing of its peers."""
    frames = tracker()
    kept(frames, wg0(row(1, 5, 6, 7), row(2)))
    same = only(kept(frames, wg0(row(1, 5, 6, 7), row(2))))
    assert same == DeviceFrame("wg0", "kernel", "", 0, 0, "boot:4", 2, *([] for _ in range(10)))


def test_only_what_changed_is_told() -> None:
    """A peer is told when its bytes or its handshake are new."""
    frames = tracker()
    kept(frames, wg0(row(1, 5, 6, 7), row(2, 5, 6, 7), row(3, 5, 6, 7), row(4, 5, 6, 7)))
    frame = only(kept(frames, wg0(row(1, 9, 6, 7), row(2, 5, 9, 7), row(3, 5, 6, 9), row(4, 5, 6, 7))))
    assert frame.changed == [0, 1, 2]
    assert (frame.last_handshake, frame.receive, frame.transmit) == ([9, 5, 5], [6, 9, 6], [7, 7, 9])
    assert (frame.added, frame.configured, frame.restarted) == ([], [], [])


@pytest.mark.parametrize("after", [row(1, 5, 5, 7), row(1, 5, 6, 6), row(1, 0, 6, 7)])
def test_smaller_counters_began_anew(after: Row) -> None:
    """So did those of a peer that has no handshake any more; a handshake of a clock set back says nothing."""
    frames = tracker()
    kept(frames, wg0(row(1, 5, 6, 7), row(2, 5, 6, 7)))
    frame = only(kept(frames, wg0(after, row(2, 4, 6, 7))))
    assert (frame.changed, frame.restarted, frame.carried_receive) == ([0, 1], [0], [0])


def test_a_peer_that_comes_back_has_a_new_slot() -> None:
    """It was away, so its counters began anew, even where they are larger."""
    frames = tracker()
    kept(frames, wg0(row(1, 5, 6, 7), row(2)))
    away = only(kept(frames, wg0(row(2))))
    assert (away.removed, away.peers) == ([0], 1)
    back = only(kept(frames, wg0(row(2), row(1, 5, 60, 70))))
    assert (back.added, back.changed, back.restarted) == ([key(1)], [2], [2])
    assert [slot for slot, _ in back.configured] == [2]


def test_the_order_of_peers_is_not_news() -> None:
    """Peers keep their slots when an interface lists them in another order."""
    frames = tracker()
    kept(frames, wg0(row(1, 5), row(2, 6), row(3, 7)))
    frame = only(kept(frames, wg0(row(3, 7), row(1, 5), row(2, 8))))
    assert (frame.changed, frame.last_handshake, frame.added, frame.removed) == ([1], [8], [], [])


def test_what_came_and_went_between_two_kept_frames_is_told() -> None:
    """A peer seen only by a snapshot that was not kept takes a slot, with what it counted, and leaves it."""
    frames = tracker()
    kept(frames, wg0(row(1, 5, 6, 7)))
    take(frames, wg0(row(1, 5, 6, 7), row(2, 1, 2, 3)))
    frame = only(kept(frames, wg0(row(1, 5, 6, 7))))
    assert (frame.added, frame.removed, frame.changed) == ([key(2)], [1], [1])
    assert (frame.last_handshake, frame.receive, frame.transmit) == ([1], [2], [3])
    assert only(kept(frames, wg0(row(1, 5, 6, 7), row(3)))).changed == [2]


def test_bytes_counted_before_a_restart_are_carried() -> None:
    """From 100, 150 was seen and 20 after a restart, 30 and 5 after another: 50 and 30 are carried."""
    frames = tracker()
    kept(frames, wg0(row(1, 1, 100, 1000)))
    for received in (150, 20, 30, 5):
        frame = take(frames, wg0(row(1, 1, received, 1000)))
    assert (only(frame).restarted, only(frame).receive, only(frame).transmit) == ([0], [5], [1000])
    assert (only(frame).carried_receive, only(frame).carried_transmit) == ([50 + 30], [0 + 1000])


def test_a_peer_that_is_back_before_a_frame_is_kept_stands_once() -> None:
    """Known or new, it has one slot in the frame, its last counters, and what it had counted besides."""
    frames = tracker()
    kept(frames, wg0(row(1, 1, 100, 0), row(2)))
    take(frames, wg0(row(2), row(3, 1, 40, 0)))
    take(frames, wg0(row(2)))
    frame = only(kept(frames, wg0(row(3, 1, 7, 0), row(2), row(1, 1, 300, 0))))
    assert (frame.added, frame.removed) == ([key(3)], [])
    assert dict(zip(frame.changed, frame.receive, strict=True)) == {0: 300, 2: 7}
    assert dict(zip(frame.restarted, frame.carried_receive, strict=True)) == {0: 0, 2: 40}


def test_an_interface_that_came_and_went_is_told() -> None:
    """It is told as it was, and as gone, once; later frames do not speak of it."""
    frames = tracker()
    kept(frames, moment())
    take(frames, wg0(row(1, 1, 2, 3)))
    frame = kept(frames, moment())
    assert (only(frame).added, only(frame).receive, only(frame).removed) == ([key(1)], [2], [0])
    assert frame.gone == ["wg0"]
    assert (kept(frames, moment()).gone, kept(frames, moment()).devices) == ([], [])


def test_an_interface_that_is_back_adds_its_peers_anew() -> None:
    """At slots that the epoch has not used; the counters of the same interface went on."""
    frames = tracker()
    kept(frames, wg0(row(1, 1, 2, 3), row(2)))
    gone = kept(frames, moment())
    assert (gone.gone, gone.devices) == (["wg0"], [])
    back = only(kept(frames, wg0(row(1, 1, 9, 9), row(2))))
    assert (back.added, back.changed, back.restarted) == ([key(1), key(2)], [2, 3], [])


def test_a_keyframe_tells_an_interface_as_gone() -> None:
    """A keyframe, too, says which interfaces are gone since the frame before, and nothing else of them."""
    frames = tracker()
    kept(frames, wg0(row(1, 1, 2, 3)))
    frame = kept(frames, moment(), keyframe=True)
    assert (frame.gone, frame.devices) == (["wg0"], [])
    assert only(kept(frames, wg0(row(2)))).changed == [0]


def test_another_index_is_another_interface() -> None:
    """With it, all counters began anew; an index that cannot be read is the one it was."""
    frames = tracker()
    nameless, other = replace(WG0, link=None), replace(WG0, link=Link(True, index=5))
    instances, restarts = [], []
    for device in (nameless, WG0, nameless, other, other):
        frame = only(kept(frames, wg0(row(1, 1, 2, 3), row(2), device=device)))
        instances.append(frame.instance)
        restarts.append(frame.restarted)
    assert instances == ["boot:0", "boot:4", "boot:4", "boot:5", "boot:5"]
    assert restarts == [[], [], [], [0, 1], []]


def test_what_an_instance_counted_ends_with_it() -> None:
    """Of a peer that is not on the interface any more when it is made again, the bytes seen are carried."""
    frames = tracker()
    kept(frames, wg0(row(1, 1, 100, 0), row(2)))
    take(frames, wg0(row(1, 1, 150, 0), row(2)))
    frame = only(kept(frames, wg0(row(2), device=replace(WG0, link=Link(True, index=5)))))
    assert (frame.instance, frame.removed) == ("boot:5", [0])
    assert dict(zip(frame.changed, frame.receive, strict=True)) == {0: 0, 1: 0}
    assert dict(zip(frame.restarted, frame.carried_receive, strict=True)) == {0: 50, 1: 0}


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
    """Index 0 is not known, and says nothing; another boot is another instance of everything."""
    assert is_other_instance(before, after) is other


def test_an_interface_that_cannot_be_read_keeps_its_state() -> None:
    """Its own reading failed, or the listing of its source, or that of all namespaces: it is not gone, and
    others may be there."""
    blue, utun = replace(WG0, namespace="blue"), Device("utun", "userspace")
    all_three = moment(*(with_peers(device, [row(1, 1, 2, 3)]) for device in (WG0, blue, utun)))
    frames = tracker()
    kept(frames, all_three)
    failed = failure("netlink", "wg0") + failure("netlink@*") + failure("uapi") + failure("uapi", "new")
    frame = kept(frames, moment(failed=failed))
    assert sorted(frame.unread) == [(label, "timeout") for label in ("", "blue/wg0", "new", "utun", "wg0")]
    assert (frame.gone, frame.devices) == ([], [])
    assert [device.changed for device in kept(frames, all_three).devices] == [[], [], []]


def test_a_failed_listing_hides_nothing_that_was_read() -> None:
    """What was read in spite of it is told as read, and what was gone before stays gone."""
    frames = tracker()
    kept(frames, wg0(row(1)))
    read = kept(frames, moment(WG0, failed=failure("netlink") + failure("netlink", "wg0")))
    assert (read.unread, only(read).removed) == ([("", "timeout")], [0])
    kept(frames, moment())
    assert kept(frames, moment(failed=failure("netlink"))).unread == [("", "timeout")]


def test_an_interface_unread_at_a_keyframe_is_told_later() -> None:
    """Its first frame in the epoch says all of it, and which counters began anew since it was last read."""
    frames = tracker()
    kept(frames, wg0(row(1, 1, 20, 30), row(2, 1, 20, 30), row(3)))
    kept(frames, moment(failed=failure("netlink", "wg0")), keyframe=True)
    frame = only(kept(frames, wg0(row(4, 1, 1, 1), row(2, 1, 21, 31), row(1, 1, 2, 3))))
    assert (frame.added, frame.changed, frame.removed) == ([key(4), key(2), key(1)], [0, 1, 2], [])
    assert (frame.restarted, len(frame.configured)) == ([0, 2], 3)


def test_a_peer_is_its_organisations() -> None:
    """The directory says whose a peer is and who may see it, or else the gateway; never below the gateway."""
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


def test_another_directory_configures_whom_it_changes() -> None:
    """What does not concern a peer's records is no change, nor is a directory given under an old number."""
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


def test_counters_are_what_the_database_can_hold() -> None:
    """A counter, and a sum that is carried, ends at the largest number of eight bytes with a sign."""
    frames = tracker()
    kept(frames, wg0(row(1, 1, 2**64 - 1, 0)))
    for received in (0, MOST, 5):
        frame = take(frames, wg0(row(1, 1, received, 2**63)))
    assert (only(frame).carried_receive, only(frame).transmit) == ([MOST], [MOST])
    assert only(kept(tracker(), wg0(row(1, 1, 2**64 - 1, 0)))).receive == [MOST]
