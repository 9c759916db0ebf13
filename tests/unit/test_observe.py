"""What is counted from one reading to the next, compared with counting each peer by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.model import Device, Peer, Reading, Snapshot
from exporter.observe import Observed, Observer
from tests.kit.gateways import NOW, Row, key, with_peers

WG0 = Device("wg0", "kernel")
HERE, THERE = "192.0.2.1:1", "[2001:db8::1]:2"


def snapshot(*devices: Device, failed: tuple[Reading, ...] = ()) -> Snapshot:
    return Snapshot("gw", NOW, devices, failed)


def look_back(seconds: float, *history: tuple[float, int, int]) -> list[bool]:
    """Whether the peer was unanswered at each (time, received, sent)."""
    observer = Observer(seconds)
    answers = []
    for at, received, sent in history:
        observer.update(Snapshot("gw", at, (with_peers(WG0, [row(1, 1, received, sent)]),)))
        answers.append(observer.devices["wg0"].unanswered(0))
    return answers


def observed(*history: list[Row]) -> Observed:
    """The observation of wg0 after these readings of it."""
    observer = Observer()
    for rows in history:
        observer.update(snapshot(with_peers(WG0, rows)))
    return observer.devices["wg0"]


def row(number: int, handshake: int = 0, received: int = 0, sent: int = 0, endpoint: str = "") -> Row:
    return Peer(key(number), endpoint=endpoint), handshake, received, sent


def failure(source: str, interface: str) -> tuple[Reading, ...]:
    return (Reading(source, interface, 0.1, "timeout", "no answer"),)


def test_the_first_reading_counts_nothing() -> None:
    """What happened before the first reading of a peer is not counted."""
    first = observed([row(1, 1000, 5, 5, HERE)])
    assert (first.handshakes, first.endpoint_changes) == ([0], [0])
    assert not first.unanswered(0)


def test_handshakes_are_counted_when_the_time_changes() -> None:
    """A new time is one handshake. The same time, or 0 after the peer was created again, is none."""
    assert observed([row(1)], [row(1, 1000)]).handshakes == [1]
    assert observed([row(1, 1000)], [row(1, 1120)], [row(1, 1120)], [row(1, 1240)]).handshakes == [2]
    assert observed([row(1, 1000)], [row(1, 0)]).handshakes == [0]
    assert observed([row(1, 1000)], [row(1, 900)]).handshakes == [1]  # the clock was set back in between


def test_endpoint_changes_are_counted_from_one_known_to_another() -> None:
    """A change from one known endpoint to another counts. Becoming known or unknown does not count."""
    here, there, nowhere = row(1, endpoint=HERE), row(1, endpoint=THERE), row(1)
    assert observed([here], [there], [there], [here]).endpoint_changes == [2]
    assert observed([nowhere], [here], [nowhere]).endpoint_changes == [0]
    kept_alive = (replace(here[0], persistent_keepalive=25), *here[1:])
    assert observed([here], [kept_alive]).endpoint_changes == [0]


def test_addresses_and_returns_are_counted() -> None:
    """A change of the port is not one of the address; a return is to the endpoint before the last."""
    here, there, port = "192.0.2.1:1000", "192.0.2.2:1000", "192.0.2.1:2000"

    def moves(*endpoints: str) -> tuple[int, int]:
        (made,) = observed(*([row(1, endpoint=endpoint)] for endpoint in endpoints)).moves.values()
        return made.address_changes, made.returns

    assert moves(here, there) == (1, 0)
    assert moves(here, port) == (0, 0)
    assert moves(here, there, here, there, there) == (3, 2)
    assert moves(here, port, here) == (0, 1)
    assert moves(here, there, port, here) == (2, 0)
    assert observed([row(1, endpoint=here)], [row(1, endpoint=here)]).moves == {}


def test_moves_follow_their_peer() -> None:
    """The moves of a peer are kept when other peers come, and forgotten when the peer is removed."""
    first = [row(1, endpoint=HERE)], [row(1, endpoint=THERE)]
    assert observed(*first, [row(2), row(1, endpoint=HERE)]).moves[key(1)].returns == 1
    assert observed(*first, [row(2)]).moves == {}


@pytest.mark.parametrize(
    ("received", "sent", "unanswered"), [(10, 21, True), (10, 20, False), (11, 21, False), (11, 20, False)]
)
def test_unanswered_is_sent_without_an_answer(received: int, sent: int, unanswered: bool) -> None:
    """A peer is unanswered if bytes were sent and none received between two readings, and only then."""
    assert observed([row(1, 1, 10, 20)], [row(1, 1, received, sent)]).unanswered(0) is unanswered


def test_unanswered_looks_at_the_last_two_readings() -> None:
    """A peer that is unanswered at one reading is not at the next one if nothing more was sent."""
    assert not observed([row(1, 1, 10, 20)], [row(1, 1, 10, 21)], [row(1, 1, 10, 21)]).unanswered(0)


def test_counts_follow_their_peer() -> None:
    """Each peer keeps its own counts when the order changes and other peers come and go."""
    before = [row(1, 1), row(2, 1), row(3, 1)]
    after = [row(4, 9), row(3, 2, 0, 1), row(1, 1)]
    seen = observed(before, after)
    assert seen.handshakes == [0, 1, 0]
    assert [seen.unanswered(index) for index in range(3)] == [False, True, False]


def test_the_counts_of_a_removed_peer_are_forgotten() -> None:
    """A peer that is added again starts at 0, as with a counter reset."""
    assert observed([row(1, 1)], [row(1, 2)], [], [row(1, 3)]).handshakes == [0]


HISTORIES = st.lists(
    st.lists(
        st.builds(row, *[st.integers(0, 5)] + [st.integers(0, 3)] * 3, st.sampled_from(("", HERE, THERE))),
        unique_by=lambda one: one[0].public_key,
    ),
    min_size=1,
)


@given(HISTORIES)
def test_any_history(history: list[list[Row]]) -> None:
    """For any history, the columns have the counts that counting each peer by itself gives."""
    last: dict[str, Row] = {}
    counts: dict[str, tuple[int, int, bool]] = {}
    for rows in history:
        now = {one[0].public_key: one for one in rows}
        counts = {name: counted(last.get(name), one, counts.get(name)) for name, one in now.items()}
        last = now
    seen = observed(*history)
    columns = zip(seen.handshakes, seen.endpoint_changes, strict=True)
    assert [(*pair, seen.unanswered(index)) for index, pair in enumerate(columns)] == list(counts.values())


def counted(before: Row | None, after: Row, counts: tuple[int, int, bool] | None) -> tuple[int, int, bool]:
    """(handshakes, endpoint changes, unanswered) of one peer after one more reading."""
    if before is None or counts is None:
        return 0, 0, False
    shook = after[1] not in (0, before[1])
    moved = "" != before[0].endpoint != after[0].endpoint != ""
    return counts[0] + shook, counts[1] + moved, after[3] > before[3] and after[2] == before[2]


@pytest.mark.parametrize(
    "failed",
    [failure("netlink", "wg0"), failure("netlink", "")],
    ids=["the interface fails", "its source fails"],
)
def test_a_failing_interface_keeps_its_counts(failed: tuple[Reading, ...]) -> None:
    """The counts of an interface continue after readings of it that failed."""
    observer = Observer()
    for rows in ([row(1, 1)], [row(1, 2)]):
        observer.update(snapshot(with_peers(WG0, rows)))
    observer.update(snapshot(failed=failed))
    assert len(observer.devices["wg0"].peers) == 1
    observer.update(snapshot(with_peers(WG0, [row(1, 3)])))
    assert observer.devices["wg0"].handshakes == [2]


@pytest.mark.parametrize(
    ("failed", "left"),
    [
        ((), set()),
        (failure("uapi", ""), {"tun0"}),
        (failure("netlink", ""), {"wg0"}),
        (failure("netlink@blue", ""), {"blue/wg0"}),
        (failure("netlink", "wg0"), {"wg0"}),
        (failure("netlink", "") + failure("uapi", "tun0"), {"wg0", "tun0"}),
    ],
    ids=["nothing", "uapi", "netlink", "netlink@blue", "wg0", "netlink and tun0"],
)
def test_an_interface_that_may_still_exist_is_kept(failed: tuple[Reading, ...], left: set[str]) -> None:
    """A removed interface is forgotten, unless it or the source that would list it could not be read."""
    observer = Observer()
    devices = (WG0, Device("wg0", "kernel", "blue"), Device("tun0", "userspace"))
    observer.update(snapshot(*devices))
    observer.update(snapshot(failed=failed))
    assert set(observer.devices) == left


def test_readings_close_together_are_compared_over_the_look_back() -> None:
    """A peer that gets bytes every five seconds stays unanswered at the readings in between, until it
    answers or nothing more is sent."""
    sent_rarely = [(0.0, 0, 0), (1.0, 0, 9), (2.0, 0, 9), (6.0, 0, 18), (7.0, 0, 18), (12.0, 0, 18)]
    assert look_back(10, *sent_rarely) == [False, True, True, True, True, True]
    assert look_back(0, *sent_rarely) == [False, True, False, True, False, False]
    no_more = [(0.0, 0, 0), (5.0, 0, 9), (20.0, 0, 9)]
    assert look_back(10, *no_more) == [False, True, False]
    answered = [(0.0, 0, 0), (10.0, 0, 9), (11.0, 5, 9), (30.0, 5, 9)]
    assert look_back(10, *answered) == [False, True, False, False]


def test_when_allowed_ips_changed() -> None:
    """The time of a change is kept for its peer, also when peers come and go; a new peer has none."""
    observer = Observer()

    def see(at: float, **routes: tuple[str, ...]) -> dict[str, float]:
        rows: list[Row] = [(Peer(key(int(name[1:])), allowed), 0, 0, 0) for name, allowed in routes.items()]
        observer.update(Snapshot("gw", at, (with_peers(WG0, rows),)))
        return dict(observer.devices["wg0"].allowed_ips_changed_at)

    assert see(1.0, p1=("10.0.0.1/32",), p2=()) == {}
    assert see(2.0, p1=("10.0.0.2/32",), p2=()) == {key(1): 2.0}
    assert see(3.0, p3=("10.0.0.3/32",), p1=("10.0.0.2/32",), p2=("::/0",)) == {key(1): 2.0, key(2): 3.0}
    assert see(4.0, p2=("::/0",), p3=("10.0.0.3/32",)) == {key(2): 3.0}
