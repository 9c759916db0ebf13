"""The mirror follows what the snapshots said: who is there, how configured, and how much it moved in all."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.store.snapshot.changes import MOST
from exporter.store.snapshot.frame import PeerConfig
from exporter.store.storable import storable
from exporter.store.writer.apply import LATEST, fold, organisations
from exporter.store.writer.changeset import Batch, Changeset
from exporter.store.writer.mirror import Member, Mirror
from tests.kit.frames import START, LivingGateway, Witness
from tests.kit.gateways import key
from tests.kit.mirror import CONFIG, Run, added, changed, device, frame, restarted

DAY = 86400.0
SEEN = START // 60 * 60  # of a handshake
State = tuple[PeerConfig | None, int, int, int]


def mirror(*names: str) -> Mirror:
    """Of a gateway that the database does not know yet, in these organisations."""
    empty = Mirror("gw")
    for number, name in enumerate(names or ("acme",), start=1):
        empty.members[name] = Member(name, number, 0)
    return empty


def totals(of: Mirror, number: int) -> tuple[int, int, int, int] | None:
    """Of a peer of wg0: received and sent in total, and its counters."""
    return of.totals()["wg0"].get(key(number))


def there(of: Mirror) -> dict[str, dict[str, State]]:
    """Label → public key → what the mirror holds of a peer that is there."""
    peers = of.peers
    return {
        label: {
            public_key: (peers.config[row], peers.handshake[row], peers.receive[row], peers.transmit[row])
            for public_key, row in interface.present.items()
        }
        for label, interface in of.interfaces.items()
        if not all(place.removed for place in interface.places.values())
    }


def all_totals(of: Mirror) -> dict[tuple[str, str], tuple[int, int]]:
    """By label and public key; summed over organisations."""
    peers, found = of.peers, dict[tuple[str, str], tuple[int, int]]()
    for row, (place, public_key) in enumerate(zip(peers.place, peers.key, strict=True)):
        received, sent = found.get((place.label, public_key), (0, 0))
        more = peers.receive_total[row], peers.transmit_total[row]
        found[place.label, public_key] = received + more[0], sent + more[1]
    return found


def written(rows: Changeset, of: Mirror) -> dict[tuple[bool | None, bool], list[int]]:
    """(fresh, active) → numbers of the keys whose state or sample is written."""
    numbers = {key(number): number for number in range(20)}
    return {
        (batch.fresh, batch.active): [numbers[of.peers.key[row]] for row in found]
        for batch, found in rows.batches.items()
        if found
    }


def check(rows: Changeset, of: Mirror) -> None:
    """No peer is written twice in a frame, a new one is written, and each has the clearance of its batch."""
    found = [row for numbers in rows.batches.values() for row in numbers]
    assert len(set(found)) == len(found)
    assert {row for batch, numbers in rows.batches.items() if batch.fresh for row in numbers} == set(rows.new)
    for batch, numbers in rows.batches.items():
        assert {of.peers.clearance[row] for row in numbers} <= {batch.clearance}


def without_clearance(there: dict[str, dict[str, State]]) -> dict[str, dict[str, State]]:
    return {
        label: {
            each: (config and replace(config, clearance=0), handshake, receive, transmit)
            for each, (config, handshake, receive, transmit) in peers.items()
        }
        for label, peers in there.items()
    }


@settings(max_examples=40, deadline=None)
@given(seed=st.randoms(use_true_random=False), share=st.sampled_from([1, 0.7]))
def test_totals_are_what_the_snapshots_add_up_to(seed: random.Random, share: float) -> None:
    """Whatever happens on a gateway, and whichever frames are not kept: the mirror knows who is there and how
    configured, its totals are those of a fold over the raw readings, and they never go back."""
    gateway, witness, run, held = LivingGateway(seed), Witness("acme", 1), Run(), mirror()
    before, first = all_totals(held), True
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
        check(fold(held, made)["acme"], held)
        assert without_clearance(there(held)) == without_clearance(witness.there)  # type: ignore[arg-type]
        after = all_totals(held)
        assert after == witness.totals
        assert all(after[peer] >= values for peer, values in before.items())
        before = after


@settings(max_examples=40, deadline=None)
@given(seed=st.randoms(use_true_random=False))
def test_runs_join(seed: random.Random) -> None:
    """A daemon that starts again at any time goes on where the last one was, whatever it cannot read or list
    at that time: the first frame of a run is compared with what is known, and an interface of which nobody
    can say whether it is there has a gap."""
    gateway, witness, run, held = LivingGateway(seed, indexed=1), Witness("acme", 1), Run(), mirror()
    for _ in range(30):
        now = gateway.next()
        witness.see(now)
        if seed.random() < 0.2:
            run = Run()
        check(fold(held, run.frame(now))["acme"], held)
        assert all_totals(held) == witness.totals
        found = there(held)
        for label in found.keys() - witness.there.keys():
            assert held.interfaces[label].places["acme"].gap
            assert {"", label} & witness.unread.keys()
            del found[label]
        assert without_clearance(found) == without_clearance(witness.there)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(seed=st.randoms(use_true_random=False))
def test_peers_belong_to_one_organisation_at_a_time(seed: random.Random) -> None:
    """With a directory that moves peers between organisations: who is there is there once, in the
    organisation that it belongs to, and no total goes back."""
    gateway, witness, run, held = (
        LivingGateway(seed),
        Witness("other", 1),
        Run("other"),
        mirror("acme", "other"),
    )
    for _ in range(30):
        now = gateway.next()
        witness.see(now)
        before = held.peers.receive_total[:], held.peers.transmit_total[:]
        for rows in fold(held, run.frame(now)).values():
            check(rows, held)
        assert without_clearance(there(held)) == without_clearance(witness.there)  # type: ignore[arg-type]
        for interface in held.interfaces.values():
            for public_key, row in interface.present.items():
                config, place = held.peers.config[row], held.peers.place[row]
                assert config is not None
                assert config.organisation == place.member.organisation
                assert place.rows[public_key] == row
            for place in interface.places.values():
                members = [row for row in place.rows.values() if held.peers.config[row]]
                assert place.present == len(members)
                assert set(members) <= set(interface.present.values())
        after = held.peers.receive_total, held.peers.transmit_total
        for old, new in zip(before, after, strict=True):
            assert all(value <= new[row] for row, value in enumerate(old))


def test_the_first_frame_makes_everything() -> None:
    """Gateway unknown: an interface, its configuration, peers with state, sample and configuration."""
    held = mirror()
    rows = fold(held, frame(1, device(**added((1, SEEN, 100, 50), (2, 0, 0, 0)))))["acme"]
    assert [place.label for place in rows.new_places] == ["wg0"]
    assert [config.kind for _, config in rows.opened_interfaces] == ["kernel"]
    assert [config for _, config in rows.opened] == [CONFIG, CONFIG]
    assert written(rows, held) == {(True, True): [1], (True, False): [2]}
    assert (rows.interfaces, rows.peers, rows.changed, rows.unread) == (1, 2, 1, 0)
    assert totals(held, 1) == (100, 50, 100, 50)


def test_what_is_equal_is_not_written() -> None:
    """A keyframe that says what is known adds a row to the ledger and nothing else."""
    held = mirror()
    peers = added((1, SEEN, 100, 50), (2, 0, 0, 0))
    fold(held, frame(1, device(**peers)))
    rows = fold(held, frame(2, device(**peers), epoch=2))["acme"]
    assert [place.label for place in rows.seen] == ["wg0"]
    assert rows == Changeset(seen=rows.seen, interfaces=1, peers=2, batches=rows.batches)
    assert not any(rows.batches.values())


def test_a_restart_carries_what_was_counted() -> None:
    """Carried bytes and the new counters are added; without a word of a restart lower counters are one, too,
    and so is a handshake that is gone."""
    held = mirror()
    fold(held, frame(1, device(**added((1, SEEN, 100, 50), (2, SEEN, 10, 10)))))
    fold(held, frame(2, device(**changed((0, SEEN, 120, 60)), **restarted((0, 30, 7)))))
    assert totals(held, 1) == (250, 117, 120, 60)
    fold(held, frame(3, device(**changed((0, SEEN, 119, 61), (1, 0, 10, 10)))))
    assert totals(held, 1) == (369, 178, 119, 61)
    assert totals(held, 2) == (20, 20, 10, 10)


def test_another_instance_begins_anew() -> None:
    """After a reboot counters that are higher than before are counted in full; an index that could not be
    read is no other instance, and is not remembered."""
    held = mirror()
    fold(held, frame(1, device(**added((1, SEEN, 100, 50)))))
    rows = fold(held, frame(2, device(instance="boot:0", **changed((0, SEEN, 110, 50)))))["acme"]
    assert not rows.changed_places
    assert totals(held, 1) == (110, 50, 110, 50)
    rows = fold(held, frame(3, device(instance="boot:2", **changed((0, SEEN, 200, 60)))))["acme"]
    assert [place.instance for place in rows.changed_places] == ["boot:2"]
    assert totals(held, 1) == (310, 110, 200, 60)


def test_a_peer_that_went_and_came_back_is_the_same() -> None:
    """Its row comes back, its configuration is a new one, its counters began at zero."""
    held = mirror()
    fold(held, frame(1, device(**added((1, SEEN, 100, 50)))))
    rows = fold(held, frame(2, device(removed=[0])))["acme"]
    assert rows.removed == [0]
    assert totals(held, 1) is None
    rows = fold(held, frame(3, device(**added((1, SEEN, 120, 0), slot=1))))["acme"]
    assert (rows.new, rows.returned, rows.closed) == ([], [0], [])
    assert rows.opened == [(0, CONFIG)]
    assert totals(held, 1) == (220, 50, 120, 0)


def test_a_keyframe_removes_who_is_not_in_it() -> None:
    """Peers and interfaces that are not told of any more are gone; those that could not be read are not."""
    held = mirror()
    three = [device(label=label, **added((1, 0, 1, 1), (2, 0, 1, 1))) for label in ("wg0", "wg1", "wg2")]
    fold(held, frame(1, *three))
    last = frame(2, device(**added((2, 0, 1, 1))), epoch=2, unread=[("wg1", "timeout")])
    rows = fold(held, last)["acme"]
    assert [place.label for place in rows.removed_places] == ["wg2"]
    assert {label: set(peers) for label, peers in there(held).items()} == {
        "wg0": {key(2)},
        "wg1": {key(1), key(2)},
    }
    rows = fold(held, frame(3, device(label="wg1", **added((1, 0, 1, 1)))))["acme"]
    assert there(held)["wg1"].keys() == {key(1)}


def test_what_nobody_could_list_is_not_gone() -> None:
    """An interface that a frame does not name has a gap when a listing failed, in a keyframe, too; when none
    did it is gone."""
    held = mirror()
    fold(held, frame(1, *(device(label=label, **added((1, 0, 1, 1))) for label in ("wg0", "wg1", "wg2"))))
    fold(held, frame(2, device(label="wg1"), device(label="wg2")))
    assert there(held).keys() == {"wg1", "wg2"}
    rows = fold(held, frame(3, device(label="wg1", **added((1, 0, 1, 1))), epoch=3, unread=[("", "timeout")]))
    assert [(place.label, reason) for place, reason in rows["acme"].gaps_opened] == [("wg2", "timeout")]
    assert there(held).keys() == {"wg1", "wg2"}
    assert rows["acme"].unread == 1
    rows = fold(held, frame(4, device(label="wg1"), epoch=3))
    assert [place.label for place, _ in rows["acme"].gaps_closed] == ["wg2"]
    assert there(held).keys() == {"wg1"}


def test_an_interface_that_was_away_goes_on_counting() -> None:
    """Gone and back as the same instance: its counters are compared; a peer that it lost meanwhile, and that
    comes later, begins anew."""
    held = mirror()
    fold(held, frame(1, device(**added((1, SEEN, 100, 50), (2, SEEN, 100, 50)))))
    rows = fold(held, frame(2, gone=["wg0"]))["acme"]
    assert [place.removed for place in rows.removed_places] == [True]
    assert sorted(rows.removed) == [0, 1]
    rows = fold(held, frame(3, device(**added((1, SEEN, 130, 50), slot=2))))["acme"]
    assert [place.removed for place in rows.changed_places] == [False]
    assert [config.kind for _, config in rows.opened_interfaces] == ["kernel"]
    assert totals(held, 1) == (130, 50, 130, 50)
    fold(held, frame(4, device(**added((2, SEEN, 130, 0), slot=3))))
    assert totals(held, 2) == (230, 50, 130, 0)


def test_an_interface_that_counted_and_went_in_one_frame_goes_on_counting() -> None:
    """What was read of it before it went is taken in, and its peers are removed, and it is gone: back again,
    its counters are compared with those."""
    held = mirror()
    fold(held, frame(1, device(**added((1, SEEN, 100, 50)))))
    fold(held, frame(3, device(removed=[0], **changed((0, SEEN, 120, 50))), gone=["wg0"]))
    assert held.interfaces["wg0"].present == {}
    fold(held, frame(4, device(**added((1, SEEN, 130, 50), slot=1))))
    assert totals(held, 1) == (130, 50, 130, 50)


def test_a_gap_is_open_while_an_interface_is_not_read() -> None:
    """It starts when the interface was last read, is told once, and ends with the first frame that reads it;
    an interface that was never read has none."""
    held = mirror()
    fold(held, frame(1, device(**added((1, 0, 1, 1)))))
    rows = fold(held, frame(2, unread=[("wg0", "timeout"), ("wg9", "timeout")]))["acme"]
    assert [(place.label, place.gap, reason) for place, reason in rows.gaps_opened] == [
        ("wg0", START + 30, "timeout")
    ]
    assert rows.unread == 2
    assert not fold(held, frame(3, unread=[("wg0", "permission")]))["acme"].gaps_opened
    rows = fold(held, frame(4, device()))["acme"]
    assert [start for _, start in rows.gaps_closed] == [START + 30]
    assert not fold(held, frame(5, device()))["acme"].gaps_closed


def test_what_was_read_between_frames_does_not_end_a_gap() -> None:
    """A frame may tell of an interface, and that it could not be read: its peers are taken in, it is not
    seen, and the gap goes on until it is read."""
    held = mirror()
    fold(held, frame(1, device(**added((1, 0, 1, 1)))))
    rows = fold(held, frame(2, device(**changed((0, 0, 5, 5))), unread=[("wg0", "timeout")]))["acme"]
    assert (rows.interfaces, len(rows.gaps_opened), rows.changed) == (0, 1, 1)
    rows = fold(held, frame(3, device(**changed((0, 0, 6, 6))), unread=[("wg0", "timeout")]))["acme"]
    assert (rows.gaps_opened, rows.gaps_closed) == ([], [])
    assert totals(held, 1) == (6, 6, 6, 6)


def test_the_first_frame_of_a_day_tells_of_everyone() -> None:
    """Who did not change has a row that says so; the next frame tells of changes alone."""
    held = mirror()
    day = START // DAY * DAY
    fold(held, frame(1, device(**added((1, 0, 1, 1), (2, 0, 1, 1))), at=day + 1000))
    rows = fold(held, frame(2, device(**changed((0, 0, 2, 2))), at=day + DAY))["acme"]
    assert written(rows, held) == {(False, True): [1], (None, False): [2]}
    rows = fold(held, frame(3, device(**changed((1, 0, 2, 2))), at=day + DAY + 30))["acme"]
    assert written(rows, held) == {(False, True): [2]}


def test_an_interface_that_missed_midnight_is_told_when_it_is_read() -> None:
    """The first frame of the day that reads an interface tells of its peers."""
    held = mirror()
    day = START // DAY * DAY
    fold(held, frame(1, device(**added((1, 0, 1, 1))), at=day + 1000))
    rows = fold(held, frame(2, at=day + DAY, unread=[("wg0", "timeout")]))["acme"]
    assert written(rows, held) == {}
    rows = fold(held, frame(3, device(), at=day + DAY + 30))["acme"]
    assert written(rows, held) == {(None, False): [1]}


def test_a_changed_configuration_is_closed_and_opened() -> None:
    """A new endpoint ends one row and begins another; a peer that is as it was has none."""
    held = mirror()
    fold(held, frame(1, device(**added((1, 0, 1, 1), (2, 0, 1, 1)))))
    moved = replace(CONFIG, endpoint="192.0.2.9:9")
    rows = fold(held, frame(2, device(port=51820, configured=[(0, moved), (1, CONFIG)])))["acme"]
    assert (rows.closed, rows.opened) == ([0], [(0, moved)])
    assert [place.label for place in rows.closed_interfaces] == ["wg0"]
    assert [config.listen_port for _, config in rows.opened_interfaces] == [51820]


def test_clearance_is_raised_and_never_lowered() -> None:
    """A higher clearance in the directory raises the peer's; a lower one changes nothing; and the gateway's
    is that of all its interfaces, and of new peers."""
    held = mirror()
    held.members["acme"].gateway_id = 1
    fold(held, frame(1, device(**added((1, 0, 1, 1), (2, 0, 1, 1)))))
    secret = replace(CONFIG, clearance=2)
    rows = fold(held, frame(2, device(configured=[(0, secret)], **changed((0, 0, 2, 2), (1, 0, 2, 2)))))[
        "acme"
    ]
    assert dict(rows.raised) == {(2, "wg0"): [0]}
    assert (rows.closed, rows.opened) == ([], [])
    assert {batch.clearance: numbers for batch, numbers in rows.batches.items()} == {2: [0], 0: [1]}
    rows = fold(held, frame(3, device(configured=[(0, CONFIG)])))["acme"]
    assert (rows.raised, rows.closed, rows.opened) == ({}, [], [])
    higher = replace(CONFIG, clearance=3)
    rows = fold(
        held, frame(4, device(**added((1, 0, 2, 2), (2, 0, 2, 2), config=higher)), epoch=4, clearance=3)
    )["acme"]
    assert rows.raised_gateway
    assert [place.clearance for place in rows.raised_places] == [3]
    assert dict(rows.raised) == {(3, "wg0"): [0, 1]}
    low = added((3, 0, 2, 2), slot=2)
    rows = fold(held, frame(5, device(**low), epoch=4))["acme"]
    assert Batch(3, True, True) in rows.batches


def test_a_peer_that_changes_its_organisation_leaves_and_enters() -> None:
    """It is removed in the one and new in the other, whose total starts at the counter; back again, what was
    counted for the other is not counted twice."""
    held = mirror("acme", "beta")
    fold(held, frame(1, device(**added((1, SEEN, 100, 50)))))
    beta = replace(CONFIG, organisation="beta")
    both = fold(held, frame(2, device(configured=[(0, beta)])))
    assert (both["acme"].removed, both["beta"].new) == ([0], [1])
    assert [place.label for place in both["beta"].new_places] == ["wg0"]
    assert written(both["beta"], held) == {(True, False): [1]}
    assert totals(held, 1) == (100, 50, 100, 50)
    fold(held, frame(3, device(**changed((0, SEEN, 130, 60)))))
    both = fold(held, frame(4, device(configured=[(0, CONFIG)], **changed((0, SEEN, 140, 60)))))
    assert (both["beta"].removed, both["acme"].returned) == ([1], [0])
    assert totals(held, 1) == (110, 50, 140, 60)
    assert [rows.peers for rows in both.values()] == [1, 0]


def test_slots_that_are_not_known_wait_for_a_keyframe() -> None:
    """Of a slot whose configuration was in a frame that is lost nothing is written."""
    held = mirror()
    fold(held, frame(1, device(**added((1, 0, 1, 1)))))
    held.seed({"wg0": [key(1), key(2)]})
    columns = changed((0, 0, 2, 2), (1, 0, 9, 9))
    rows = fold(held, frame(3, device(removed=[1], configured=[(1, CONFIG)], **columns)))["acme"]
    assert written(rows, held) == {(False, True): [1]}
    assert (rows.new, rows.removed) == ([], [])
    rows = fold(held, frame(4, device(**added((1, 0, 2, 2), (2, 0, 9, 9))), epoch=4))["acme"]
    assert written(rows, held) == {(True, True): [2]}


def test_slots_beyond_all_that_were_added_are_refused() -> None:
    """A frame whose predecessor is missing fails; it does not guess."""
    held = mirror()
    fold(held, frame(1, device(**added((1, 0, 1, 1)))))
    with pytest.raises(LookupError):
        fold(held, frame(3, device(**changed((1, 0, 2, 2)))))


def test_counters_and_handshakes_stay_within_what_the_database_holds() -> None:
    """A userspace implementation that counts to the end of 64 bits, or is far ahead of its time."""
    held = mirror()
    fold(held, frame(1, device(**added((1, MOST, MOST, 5)))))
    fold(held, frame(2, device(**changed((0, MOST, 7, 5)))))
    assert totals(held, 1) == (MOST, 5 + 5, 7, 5)
    assert held.peers.handshake[0] == LATEST


def test_names_that_postgresql_does_not_take_are_escaped() -> None:
    """Interfaces and directories may have any name."""
    assert storable("wg\udcff") == "wg\\udcff"
    assert storable("Zoë\0") == "Zoë\ufffd"
    held, name = mirror(), "wg\udcff"
    odd = replace(CONFIG, owner="\0")
    fold(held, frame(1, device(label=name, **added((1, 0, 1, 1), config=odd))))
    rows = fold(held, frame(2, device(label=name, configured=[(0, odd)]), unread=[(name, "timeout")]))["acme"]
    assert (rows.opened, rows.new_places) == ([], [])
    assert [place.label for place, _ in rows.gaps_opened] == ["wg\\udcff"]


def test_a_frame_names_its_organisations() -> None:
    """The gateway's, and those of the peers that it configures."""
    peers = added((1, 0, 1, 1), config=replace(CONFIG, organisation="beta"))
    assert organisations(frame(1, device(**peers))) == {"acme", "beta"}
    assert organisations(frame(1, organisation="gamma")) == {"gamma"}
