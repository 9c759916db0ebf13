"""Frames applied to a mirror: the totals, and the rows to write."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.store.snapshot.frame import MAX_COUNTER, DeviceFrame, PeerConfig
from exporter.store.storable import storable
from exporter.store.writer import apply
from exporter.store.writer.apply import apply_frame, organisations
from exporter.store.writer.changeset import Batch, Changeset
from exporter.store.writer.mirror import GatewayRow, Mirror
from exporter.store.writer.totals import LATEST
from tests.kit.gateways import key
from tests.kit.store.frames import START, RandomGateway, Witness
from tests.kit.store.mirror import CONFIG, Run, added, changed, device, frame, reset

DAY = 86400.0
SEEN = START // 60 * 60  # of a handshake
State = tuple[PeerConfig | None, int, int, int]


def empty_mirror(*organisations: str) -> Mirror:
    """The mirror of a gateway that is not in the database yet."""
    empty = Mirror("gw")
    for number, name in enumerate(organisations or ("acme",), start=1):
        empty.gateways[name] = GatewayRow(name, number, 0)
    return empty


def totals(mirror: Mirror, number: int) -> tuple[int, int, int, int] | None:
    """Of a peer of wg0: total received and sent bytes, and its counters."""
    return mirror.totals()["wg0"].get(key(number))


def present(mirror: Mirror) -> dict[str, dict[str, State]]:
    """Label → public key → configuration, handshake and counters of each present peer."""
    peers = mirror.peers
    return {
        label: {
            public_key: (
                peers.config[index],
                peers.handshake[index],
                peers.receive[index],
                peers.transmit[index],
            )
            for public_key, index in interface.present.items()
        }
        for label, interface in mirror.interfaces.items()
        if not all(row.removed for row in interface.rows.values())
    }


def all_totals(mirror: Mirror) -> dict[tuple[str, str], tuple[int, int]]:
    """Label and public key → total received and sent bytes, summed over the organisations."""
    peers, found = mirror.peers, dict[tuple[str, str], tuple[int, int]]()
    for index, (row, public_key) in enumerate(zip(peers.interface, peers.key, strict=True)):
        received, sent = found.get((row.label, public_key), (0, 0))
        more = peers.receive_total[index], peers.transmit_total[index]
        found[row.label, public_key] = received + more[0], sent + more[1]
    return found


def written(changes: Changeset, mirror: Mirror) -> dict[tuple[str, bool], list[int]]:
    """(change of the state, active) → numbers of the keys of the peers that get a sample."""
    numbers = {key(number): number for number in range(20)}
    return {
        (batch.state, batch.active): [numbers[mirror.peers.key[index]] for index in found]
        for batch, found in changes.batches.items()
        if found
    }


def check(changes: Changeset, mirror: Mirror) -> None:
    """No peer gets two samples from one frame, each new peer gets one, and each is in the batch of its
    clearance."""
    found = [index for indices in changes.batches.values() for index in indices]
    assert len(set(found)) == len(found)
    inserted = [indices for batch, indices in changes.batches.items() if batch.state == "insert"]
    assert {index for indices in inserted for index in indices} == set(changes.new_peers)
    for batch, indices in changes.batches.items():
        assert {mirror.peers.clearance[index] for index in indices} <= {batch.clearance}


def without_clearance(present: dict[str, dict[str, State]]) -> dict[str, dict[str, State]]:
    return {
        label: {
            each: (config and replace(config, clearance=0), handshake, receive, transmit)
            for each, (config, handshake, receive, transmit) in peers.items()
        }
        for label, peers in present.items()
    }


def documented_example() -> list[list[str]]:
    """The table in the docstring of apply.py: what the frame says, counter, total, rows written."""
    assert apply.__doc__
    rows = re.findall(r"^    \d  .*", apply.__doc__, re.MULTILINE)
    return [re.split(r" {2,}", row.strip())[1:] for row in rows]


def said_by(device: DeviceFrame | None) -> str:
    """What a frame says, in the words of the table; None = the frame has only an interface that is unread."""
    if not device:
        return "wg0: unread, timeout"
    name = "AB"[device.changed[0]]
    return f"{name}: {'added, ' if device.added else ''}received {device.receive[0]}"


def rows_of(changes: Changeset) -> str:
    """The rows to write, in the words of the table."""
    states = {"insert": "state inserted", "update": "state updated", "keep": "state kept"}
    batches = [batch for batch, indices in changes.batches.items() if indices]
    gaps = [round((row.gap_start - START) / 30) for row, _ in changes.opened_gaps]
    return ", ".join(
        [
            *("peer" for _ in changes.new_peers),
            *("configuration" for _ in changes.opened_configs),
            *(f"{states[batch.state]}, sample" for batch in batches),
            *(f"gap opened at snapshot {number}" for number in gaps),
            *("gap closed" for _ in changes.closed_gaps),
        ]
    )


def test_the_documented_example() -> None:
    """The frames of the example in the docstring of apply.py give the rows of its table."""
    mirror = empty_mirror()
    apply_frame(mirror, frame(1, device(**added((1, 0, 400, 0))), at=START))
    mirror.peers.receive_total[0] = 9400
    devices = [
        device(**changed((0, 0, 1000, 0))),
        device(**changed((0, 0, 1500, 0))),
        None,
        device(**changed((0, 0, 200, 0))),
        device(**added((2, 0, 5000, 0), slot=1)),
    ]
    found = []
    for number, each in enumerate(devices, start=1):
        unread = [] if each else [("wg0", "timeout")]
        made = frame(number + 1, *filter(None, [each]), unread=unread, at=START + 30.0 * number)
        changes = apply_frame(mirror, made)["acme"]
        index = 1 if each and each.added else 0
        numbers = mirror.peers.receive[index], mirror.peers.receive_total[index]
        found.append([said_by(each), *map(str, numbers), rows_of(changes)])
    assert found == documented_example()


@settings(max_examples=40, deadline=None)
@given(seed=st.randoms(use_true_random=False), share=st.sampled_from([1, 0.7]))
def test_totals_are_what_the_snapshots_add_up_to(seed: random.Random, share: float) -> None:
    """For any history of a gateway, also if some frames are not kept: the mirror has the peers that are
    present and their configuration, its totals equal a sum over the raw readings, and no total decreases."""
    gateway, witness, run, mirror = RandomGateway(seed), Witness("acme", 1), Run(), empty_mirror()
    before, first = all_totals(mirror), True
    for _ in range(30):
        if first:
            witness = Witness("acme", 1)
        now = gateway.next()
        witness.see(now)
        kept = seed.random() < share
        made = run.frame(now, kept=kept)
        if not kept:
            continue
        first = False
        check(apply_frame(mirror, made)["acme"], mirror)
        assert without_clearance(present(mirror)) == without_clearance(witness.present)  # type: ignore[arg-type]
        after = all_totals(mirror)
        assert after == witness.totals
        assert all(after[peer] >= values for peer, values in before.items())
        before = after


@settings(max_examples=40, deadline=None)
@given(seed=st.randoms(use_true_random=False))
def test_totals_continue_after_the_daemon_restarts(seed: random.Random) -> None:
    """A daemon that restarts at any time continues the totals, whatever it cannot read or list at that time.
    An interface that it cannot list has a gap."""
    gateway, witness, run, mirror = RandomGateway(seed, indexed=1), Witness("acme", 1), Run(), empty_mirror()
    for _ in range(30):
        now = gateway.next()
        witness.see(now)
        if seed.random() < 0.2:
            run = Run()
        check(apply_frame(mirror, run.frame(now))["acme"], mirror)
        assert all_totals(mirror) == witness.totals
        found = present(mirror)
        for label in found.keys() - witness.present.keys():
            assert mirror.interfaces[label].rows["acme"].gap_start
            assert {"", label} & witness.unread.keys()
            del found[label]
        assert without_clearance(found) == without_clearance(witness.present)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(seed=st.randoms(use_true_random=False))
def test_a_peer_is_present_in_one_organisation_at_a_time(seed: random.Random) -> None:
    """With a directory that moves peers between organisations, each present peer is present in its own
    organisation only, and no total decreases."""
    gateway, witness, run, mirror = (
        RandomGateway(seed),
        Witness("other", 1),
        Run("other"),
        empty_mirror("acme", "other"),
    )
    for _ in range(30):
        now = gateway.next()
        witness.see(now)
        before = mirror.peers.receive_total[:], mirror.peers.transmit_total[:]
        for changes in apply_frame(mirror, run.frame(now)).values():
            check(changes, mirror)
        assert without_clearance(present(mirror)) == without_clearance(witness.present)  # type: ignore[arg-type]
        for interface in mirror.interfaces.values():
            for public_key, index in interface.present.items():
                config, row = mirror.peers.config[index], mirror.peers.interface[index]
                assert config is not None
                assert config.organisation == row.gateway.organisation
                assert row.peers[public_key] == index
            for row in interface.rows.values():
                configured = [index for index in row.peers.values() if mirror.peers.config[index]]
                assert row.present == len(configured)
                assert set(configured) <= set(interface.present.values())
        after = mirror.peers.receive_total, mirror.peers.transmit_total
        for old, new in zip(before, after, strict=True):
            assert all(value <= new[index] for index, value in enumerate(old))


def test_the_first_frame_of_a_gateway() -> None:
    """The first frame of a gateway gives an interface, its configuration, and peers with state, sample and
    configuration."""
    mirror = empty_mirror()
    changes = apply_frame(mirror, frame(1, device(**added((1, SEEN, 100, 50), (2, 0, 0, 0)))))["acme"]
    assert [row.label for row in changes.new_interfaces] == ["wg0"]
    assert [config.kind for _, config in changes.opened_interface_configs] == ["kernel"]
    assert [config for _, config in changes.opened_configs] == [CONFIG, CONFIG]
    assert written(changes, mirror) == {("insert", True): [1], ("insert", False): [2]}
    assert (changes.interfaces_read, changes.peers_present) == (1, 2)
    assert (changes.peers_changed, changes.interfaces_unread) == (1, 0)
    assert totals(mirror, 1) == (100, 50, 100, 50)


def test_a_keyframe_without_changes() -> None:
    """A keyframe without changes adds a row to `argus.snapshot`, and no other row."""
    mirror = empty_mirror()
    peers = added((1, SEEN, 100, 50), (2, 0, 0, 0))
    apply_frame(mirror, frame(1, device(**peers)))
    changes = apply_frame(mirror, frame(2, device(**peers), epoch=2))["acme"]
    assert [row.label for row in changes.read_interfaces] == ["wg0"]
    assert changes == Changeset(
        read_interfaces=changes.read_interfaces,
        interfaces_read=1,
        peers_present=2,
        batches=changes.batches,
    )
    assert not any(changes.batches.values())


def test_a_reset_adds_the_carried_bytes_and_the_whole_counter() -> None:
    """A smaller counter, and a handshake that is gone, are a reset even if the frame does not list it."""
    mirror = empty_mirror()
    apply_frame(mirror, frame(1, device(**added((1, SEEN, 100, 50), (2, SEEN, 10, 10)))))
    apply_frame(mirror, frame(2, device(**changed((0, SEEN, 120, 60)), **reset((0, 30, 7)))))
    assert totals(mirror, 1) == (250, 117, 120, 60)
    apply_frame(mirror, frame(3, device(**changed((0, SEEN, 119, 61), (1, 0, 10, 10)))))
    assert totals(mirror, 1) == (369, 178, 119, 61)
    assert totals(mirror, 2) == (20, 20, 10, 10)


def test_another_instance_is_a_reset() -> None:
    """The whole counters of another instance are added, also larger ones; an index that could not be read
    is not another instance, and is not stored."""
    mirror = empty_mirror()
    apply_frame(mirror, frame(1, device(**added((1, SEEN, 100, 50)))))
    changes = apply_frame(mirror, frame(2, device(instance="boot:0", **changed((0, SEEN, 110, 50)))))["acme"]
    assert not changes.changed_interfaces
    assert totals(mirror, 1) == (110, 50, 110, 50)
    changes = apply_frame(mirror, frame(3, device(instance="boot:2", **changed((0, SEEN, 200, 60)))))["acme"]
    assert [row.instance for row in changes.changed_interfaces] == ["boot:2"]
    assert totals(mirror, 1) == (310, 110, 200, 60)


def test_a_peer_that_was_removed_and_returns() -> None:
    """A peer that was removed and returns uses its row again, with a new row of its configuration, and its
    counters were reset."""
    mirror = empty_mirror()
    apply_frame(mirror, frame(1, device(**added((1, SEEN, 100, 50)))))
    changes = apply_frame(mirror, frame(2, device(removed=[0])))["acme"]
    assert changes.removed_peers == [0]
    assert totals(mirror, 1) is None
    changes = apply_frame(mirror, frame(3, device(**added((1, SEEN, 120, 0), slot=1))))["acme"]
    assert (changes.new_peers, changes.returned_peers, changes.closed_configs) == ([], [0], [])
    assert changes.opened_configs == [(0, CONFIG)]
    assert totals(mirror, 1) == (220, 50, 120, 0)


def test_a_keyframe_removes_what_is_not_in_it() -> None:
    """Peers and interfaces that a keyframe does not mention are removed; an unread interface is not."""
    mirror = empty_mirror()
    three = [device(label=label, **added((1, 0, 1, 1), (2, 0, 1, 1))) for label in ("wg0", "wg1", "wg2")]
    apply_frame(mirror, frame(1, *three))
    last = frame(2, device(**added((2, 0, 1, 1))), epoch=2, unread=[("wg1", "timeout")])
    changes = apply_frame(mirror, last)["acme"]
    assert [row.label for row in changes.removed_interfaces] == ["wg2"]
    assert {label: set(peers) for label, peers in present(mirror).items()} == {
        "wg0": {key(2)},
        "wg1": {key(1), key(2)},
    }
    changes = apply_frame(mirror, frame(3, device(label="wg1", **added((1, 0, 1, 1)))))["acme"]
    assert present(mirror)["wg1"].keys() == {key(1)}


def test_an_interface_that_could_not_be_listed_is_not_removed() -> None:
    """If a listing failed, an interface that the frame does not mention has a gap, also with a keyframe;
    otherwise it was removed."""
    mirror = empty_mirror()
    apply_frame(mirror, frame(1, *(device(label=f"wg{n}", **added((1, 0, 1, 1))) for n in range(3))))
    apply_frame(mirror, frame(2, device(label="wg1"), device(label="wg2")))
    assert present(mirror).keys() == {"wg1", "wg2"}
    keyframe = frame(3, device(label="wg1", **added((1, 0, 1, 1))), epoch=3, unread=[("", "timeout")])
    changes = apply_frame(mirror, keyframe)["acme"]
    assert [(row.label, reason) for row, reason in changes.opened_gaps] == [("wg2", "timeout")]
    assert present(mirror).keys() == {"wg1", "wg2"}
    assert changes.interfaces_unread == 1
    changes = apply_frame(mirror, frame(4, device(label="wg1"), epoch=3))["acme"]
    assert [row.label for row, _ in changes.closed_gaps] == ["wg2"]
    assert present(mirror).keys() == {"wg1"}


def test_an_interface_that_comes_back_continues_its_counters() -> None:
    """When an interface comes back as the same instance, differences are added, but a peer that returns to
    it later was reset."""
    mirror = empty_mirror()
    apply_frame(mirror, frame(1, device(**added((1, SEEN, 100, 50), (2, SEEN, 100, 50)))))
    changes = apply_frame(mirror, frame(2, removed=["wg0"]))["acme"]
    assert [row.removed for row in changes.removed_interfaces] == [True]
    assert sorted(changes.removed_peers) == [0, 1]
    changes = apply_frame(mirror, frame(3, device(**added((1, SEEN, 130, 50), slot=2))))["acme"]
    assert [row.removed for row in changes.changed_interfaces] == [False]
    assert [config.kind for _, config in changes.opened_interface_configs] == ["kernel"]
    assert totals(mirror, 1) == (130, 50, 130, 50)
    apply_frame(mirror, frame(4, device(**added((2, SEEN, 130, 0), slot=3))))
    assert totals(mirror, 2) == (230, 50, 130, 0)


def test_an_interface_that_was_read_and_removed_within_one_frame() -> None:
    """The reading is applied before the removal, so the counters of an interface that is back are compared
    with that reading."""
    mirror = empty_mirror()
    apply_frame(mirror, frame(1, device(**added((1, SEEN, 100, 50)))))
    apply_frame(mirror, frame(3, device(removed=[0], **changed((0, SEEN, 120, 50))), removed=["wg0"]))
    assert mirror.interfaces["wg0"].present == {}
    apply_frame(mirror, frame(4, device(**added((1, SEEN, 130, 50), slot=1))))
    assert totals(mirror, 1) == (130, 50, 130, 50)


def test_a_gap_is_open_while_an_interface_is_not_read() -> None:
    """A gap starts at the last reading of an interface, is opened once, and ends with its next reading; an
    interface that was never read has no gap."""
    mirror = empty_mirror()
    apply_frame(mirror, frame(1, device(**added((1, 0, 1, 1)))))
    changes = apply_frame(mirror, frame(2, unread=[("wg0", "timeout"), ("wg9", "timeout")]))["acme"]
    assert [(row.label, row.gap_start, reason) for row, reason in changes.opened_gaps] == [
        ("wg0", START + 30, "timeout")
    ]
    assert changes.interfaces_unread == 2
    assert not apply_frame(mirror, frame(3, unread=[("wg0", "permission")]))["acme"].opened_gaps
    changes = apply_frame(mirror, frame(4, device()))["acme"]
    assert [start for _, start in changes.closed_gaps] == [START + 30]
    assert not apply_frame(mirror, frame(5, device()))["acme"].closed_gaps


def test_an_older_reading_does_not_end_a_gap() -> None:
    """A frame may have an interface both read and unread: its latest reading failed. Its peers are applied,
    and the gap stays open until the interface is read."""
    mirror = empty_mirror()
    apply_frame(mirror, frame(1, device(**added((1, 0, 1, 1)))))
    changes = apply_frame(mirror, frame(2, device(**changed((0, 0, 5, 5))), unread=[("wg0", "timeout")]))[
        "acme"
    ]
    assert (changes.interfaces_read, len(changes.opened_gaps), changes.peers_changed) == (0, 1, 1)
    changes = apply_frame(mirror, frame(3, device(**changed((0, 0, 6, 6))), unread=[("wg0", "timeout")]))[
        "acme"
    ]
    assert (changes.opened_gaps, changes.closed_gaps) == ([], [])
    assert totals(mirror, 1) == (6, 6, 6, 6)


def test_the_first_frame_of_a_day_gives_every_peer_a_sample() -> None:
    """Unchanged peers get one that is not active; the next frame gives samples to changed peers only."""
    mirror = empty_mirror()
    day = START // DAY * DAY
    apply_frame(mirror, frame(1, device(**added((1, 0, 1, 1), (2, 0, 1, 1))), at=day + 1000))
    changes = apply_frame(mirror, frame(2, device(**changed((0, 0, 2, 2))), at=day + DAY))["acme"]
    assert written(changes, mirror) == {("update", True): [1], ("keep", False): [2]}
    changes = apply_frame(mirror, frame(3, device(**changed((1, 0, 2, 2))), at=day + DAY + 30))["acme"]
    assert written(changes, mirror) == {("update", True): [2]}


def test_an_interface_that_was_unread_at_midnight() -> None:
    """The peers of an interface that was unread at midnight get their samples of the day from the first
    frame that reads it."""
    mirror = empty_mirror()
    day = START // DAY * DAY
    apply_frame(mirror, frame(1, device(**added((1, 0, 1, 1))), at=day + 1000))
    changes = apply_frame(mirror, frame(2, at=day + DAY, unread=[("wg0", "timeout")]))["acme"]
    assert written(changes, mirror) == {}
    changes = apply_frame(mirror, frame(3, device(), at=day + DAY + 30))["acme"]
    assert written(changes, mirror) == {("keep", False): [1]}


def test_a_changed_configuration_is_closed_and_opened() -> None:
    """A new endpoint closes one row and opens another; an unchanged peer gets none."""
    mirror = empty_mirror()
    apply_frame(mirror, frame(1, device(**added((1, 0, 1, 1), (2, 0, 1, 1)))))
    moved = replace(CONFIG, endpoint="192.0.2.9:9")
    changes = apply_frame(mirror, frame(2, device(port=51820, configured=[(0, moved), (1, CONFIG)])))["acme"]
    assert (changes.closed_configs, changes.opened_configs) == ([0], [(0, moved)])
    assert [row.label for row in changes.closed_interface_configs] == ["wg0"]
    assert [config.listen_port for _, config in changes.opened_interface_configs] == [51820]


def test_clearance_is_raised_and_never_lowered() -> None:
    """A higher clearance in the directory raises the peer's; a lower one changes nothing. Interfaces and new
    peers have at least the gateway's clearance."""
    mirror = empty_mirror()
    mirror.gateways["acme"].gateway_id = 1
    apply_frame(mirror, frame(1, device(**added((1, 0, 1, 1), (2, 0, 1, 1)))))
    secret = replace(CONFIG, clearance=2)
    changes = apply_frame(
        mirror, frame(2, device(configured=[(0, secret)], **changed((0, 0, 2, 2), (1, 0, 2, 2))))
    )["acme"]
    assert dict(changes.raised_peers) == {(2, "wg0"): [0]}
    assert (changes.closed_configs, changes.opened_configs) == ([], [])
    assert {batch.clearance: numbers for batch, numbers in changes.batches.items()} == {2: [0], 0: [1]}
    changes = apply_frame(mirror, frame(3, device(configured=[(0, CONFIG)])))["acme"]
    assert (changes.raised_peers, changes.closed_configs, changes.opened_configs) == ({}, [], [])
    higher = replace(CONFIG, clearance=3)
    changes = apply_frame(
        mirror, frame(4, device(**added((1, 0, 2, 2), (2, 0, 2, 2), config=higher)), epoch=4, clearance=3)
    )["acme"]
    assert changes.raised_gateway
    assert [row.clearance for row in changes.raised_interfaces] == [3]
    assert dict(changes.raised_peers) == {(3, "wg0"): [0, 1]}
    low = added((3, 0, 2, 2), slot=2)
    changes = apply_frame(mirror, frame(5, device(**low), epoch=4))["acme"]
    assert Batch(3, "insert", True) in changes.batches


def test_a_peer_that_moves_to_another_organisation() -> None:
    """A peer that moves is removed from the old organisation and new in the other, where its total starts
    at its counter; no byte is counted in both organisations."""
    mirror = empty_mirror("acme", "beta")
    apply_frame(mirror, frame(1, device(**added((1, SEEN, 100, 50)))))
    beta = replace(CONFIG, organisation="beta")
    both = apply_frame(mirror, frame(2, device(configured=[(0, beta)])))
    assert (both["acme"].removed_peers, both["beta"].new_peers) == ([0], [1])
    assert [row.label for row in both["beta"].new_interfaces] == ["wg0"]
    assert written(both["beta"], mirror) == {("insert", False): [1]}
    assert totals(mirror, 1) == (100, 50, 100, 50)
    apply_frame(mirror, frame(3, device(**changed((0, SEEN, 130, 60)))))
    both = apply_frame(mirror, frame(4, device(configured=[(0, CONFIG)], **changed((0, SEEN, 140, 60)))))
    assert (both["beta"].removed_peers, both["acme"].returned_peers) == ([1], [0])
    assert totals(mirror, 1) == (110, 50, 140, 60)
    assert [changes.peers_present for changes in both.values()] == [1, 0]


def test_a_slot_of_an_unknown_peer_waits_for_a_keyframe() -> None:
    """Nothing is written for a slot whose peer was added by a lost frame, until a keyframe adds the peer."""
    mirror = empty_mirror()
    apply_frame(mirror, frame(1, device(**added((1, 0, 1, 1)))))
    mirror.set_slots({"wg0": [key(1), key(2)]})
    columns = changed((0, 0, 2, 2), (1, 0, 9, 9))
    changes = apply_frame(mirror, frame(3, device(removed=[1], configured=[(1, CONFIG)], **columns)))["acme"]
    assert written(changes, mirror) == {("update", True): [1]}
    assert (changes.new_peers, changes.removed_peers) == ([], [])
    changes = apply_frame(mirror, frame(4, device(**added((1, 0, 2, 2), (2, 0, 9, 9))), epoch=4))["acme"]
    assert written(changes, mirror) == {("insert", True): [2]}


def test_a_slot_that_no_frame_added_is_refused() -> None:
    """A frame whose predecessor is missing raises LookupError."""
    mirror = empty_mirror()
    apply_frame(mirror, frame(1, device(**added((1, 0, 1, 1)))))
    with pytest.raises(LookupError):
        apply_frame(mirror, frame(3, device(**changed((1, 0, 2, 2)))))


def test_counters_and_handshakes_stay_within_what_the_database_holds() -> None:
    """Counters near 2^64 and handshakes far in the future, as a userspace implementation may send, are
    limited."""
    mirror = empty_mirror()
    apply_frame(mirror, frame(1, device(**added((1, MAX_COUNTER, MAX_COUNTER, 5)))))
    apply_frame(mirror, frame(2, device(**changed((0, MAX_COUNTER, 7, 5)))))
    assert totals(mirror, 1) == (MAX_COUNTER, 5 + 5, 7, 5)
    assert mirror.peers.handshake[0] == LATEST


def test_names_that_postgresql_does_not_take_are_escaped() -> None:
    """Interfaces and names from the directory may contain any bytes."""
    assert storable("wg\udcff") == "wg\\udcff"
    assert storable("Zoë\0") == "Zoë\ufffd"
    mirror, name = empty_mirror(), "wg\udcff"
    odd = replace(CONFIG, owner="\0")
    apply_frame(mirror, frame(1, device(label=name, **added((1, 0, 1, 1), config=odd))))
    changes = apply_frame(
        mirror, frame(2, device(label=name, configured=[(0, odd)]), unread=[(name, "timeout")])
    )["acme"]
    assert (changes.opened_configs, changes.new_interfaces) == ([], [])
    assert [row.label for row, _ in changes.opened_gaps] == ["wg\\udcff"]


def test_the_organisations_of_a_frame() -> None:
    """The organisations of a frame are the gateway's and those of the peers that the frame configures."""
    peers = added((1, 0, 1, 1), config=replace(CONFIG, organisation="beta"))
    assert organisations(frame(1, device(**peers))) == {"acme", "beta"}
    assert organisations(frame(1, organisation="gamma")) == {"gamma"}
