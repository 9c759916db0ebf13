"""How failures are counted and told: once when they begin, once when they end."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.health import Health
from exporter.model import Device, Reading, Snapshot

WG0 = Device("wg0", "kernel")
SOURCE = Reading("netlink", "", 0.1)
GOOD = Reading("netlink", "wg0", 0.1)
BAD = Reading("netlink", "wg0", 0.1, "timeout", "no answer within 5 s")
WORSE = Reading("netlink", "wg0", 0.1, "permission", "needs CAP_NET_ADMIN")


def told(caplog: pytest.LogCaptureFixture, *history: tuple[Reading, ...], device: bool = True) -> list[str]:
    """What the log says of readings, one after another, of a gateway with or without an interface."""
    health = Health()
    with caplog.at_level(logging.INFO, "argus.read"):
        for readings in history:
            health.update(Snapshot("gw", 0.0, (WG0,) if device else (), readings))
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records]


def test_nothing_is_told_while_all_is_well(caplog: pytest.LogCaptureFixture) -> None:
    """Good readings are no news."""
    assert told(caplog, (SOURCE, GOOD), (SOURCE, GOOD)) == []


def test_a_failure_is_told_at_its_start_and_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    """However often it is read meanwhile: one line when it fails, with the reason, and one when it works."""
    assert told(caplog, (GOOD,), (BAD,), (BAD,), (BAD,), (GOOD,), (GOOD,)) == [
        "ERROR interface wg0 (netlink) cannot be read (timeout): no answer within 5 s",
        "INFO interface wg0 (netlink) is read again",
    ]


def test_another_reason_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Who mends one fault and finds the next one is told of it."""
    assert told(caplog, (BAD,), (WORSE,), (WORSE,), (GOOD,)) == [
        "ERROR interface wg0 (netlink) cannot be read (timeout): no answer within 5 s",
        "ERROR interface wg0 (netlink) cannot be read (permission): needs CAP_NET_ADMIN",
        "INFO interface wg0 (netlink) is read again",
    ]


def test_each_place_is_told_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    """The same interface of two sources, and a source as a whole, each have their own line."""
    elsewhere = Reading("uapi", "wg0", 0.1, "stale-socket", "nothing listens")
    listing = Reading("uapi", "", 0.1, "permission", "not ours to open")
    assert told(caplog, (BAD, elsewhere), (BAD, elsewhere, listing)) == [
        "ERROR interface wg0 (netlink) cannot be read (timeout): no answer within 5 s",
        "ERROR interface wg0 (uapi) cannot be read (stale-socket): nothing listens",
        "ERROR source uapi cannot be read (permission): not ours to open",
    ]


def test_what_fails_and_goes_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A failure also ends when there is nothing left to read; when it comes back it fails anew."""
    assert told(caplog, (BAD,), (SOURCE,), (SOURCE,), (BAD,)) == [
        "ERROR interface wg0 (netlink) cannot be read (timeout): no answer within 5 s",
        "INFO interface wg0 (netlink) is no longer there to be read",
        "ERROR interface wg0 (netlink) cannot be read (timeout): no answer within 5 s",
    ]


def test_what_fails_is_not_called_gone_while_nobody_knows(caplog: pytest.LogCaptureFixture) -> None:
    """While its source cannot be listed, a failing interface is neither gone nor failing anew."""
    unlisted = Reading("netlink", "", 0.1, "timeout", "no list")
    assert told(caplog, (SOURCE, BAD), (unlisted,), (SOURCE, BAD), (SOURCE, GOOD)) == [
        "ERROR interface wg0 (netlink) cannot be read (timeout): no answer within 5 s",
        "ERROR source netlink cannot be read (timeout): no list",
        "INFO source netlink is read again",
        "INFO interface wg0 (netlink) is read again",
    ]


def test_no_interface_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """An empty page is explained: there is nothing to read, which is not a failure."""
    assert told(caplog, (SOURCE,), (SOURCE,), device=False) == [
        "WARNING no WireGuard interface found; `argus-wg check` says where was looked"
    ]


def test_interfaces_that_come_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """After "none found" comes how many there are, once."""
    health = Health()
    with caplog.at_level(logging.INFO, "argus.read"):
        for devices in ((), (WG0,), (WG0,)):
            health.update(Snapshot("gw", 0.0, devices, (SOURCE,)))
    assert [record.getMessage() for record in caplog.records][1:] == ["1 WireGuard interface(s) found"]


def test_a_failure_is_not_called_empty(caplog: pytest.LogCaptureFixture) -> None:
    """Where a reading failed, nobody knows that there is nothing."""
    assert [line.split()[0] for line in told(caplog, (SOURCE, BAD), device=False)] == ["ERROR"]


READINGS = st.lists(
    st.builds(
        Reading,
        st.sampled_from(("netlink", "uapi")),
        st.sampled_from(("", "wg0")),
        st.just(0.1),
        st.sampled_from(("", "timeout", "permission")),
        st.just("a message"),
        st.integers(0, 4),
    ),
    unique_by=lambda reading: (reading.source, reading.interface),
).map(tuple)


@given(st.lists(READINGS))
def test_counts(history: list[tuple[Reading, ...]]) -> None:
    """Every failed reading counts by source and reason, every retry by source, every snapshot once; what
    fails now is known with its reason. A source that is gone takes its counts with it."""
    health = Health()
    for readings in history:
        health.update(Snapshot("gw", 0.0, (), readings))
    sources = {reading.source for reading in (history[-1] if history else ())}
    everything = [
        reading
        for at, readings in enumerate(history)
        for reading in readings
        if reading.source in sources
        and all(any(later.source == reading.source for later in after) for after in history[at:])
    ]
    reasons = [(reading.source, reading.reason) for reading in everything if not reading.ok]
    assert dict(health.failures) == {pair: reasons.count(pair) for pair in reasons}
    assert dict(health.retries) == {
        source: sum(reading.retries for reading in everything if reading.source == source)
        for source in {reading.source for reading in everything}
    }
    assert health.snapshots == len(history)
    failing: dict[tuple[str, str], str] = {}
    for readings in history:
        tried = {(reading.source, reading.interface): reading.reason for reading in readings}
        unlisted = {source for (source, interface), reason in tried.items() if reason and not interface}
        unknown = {place: reason for place, reason in failing.items() if place[0] in unlisted}
        failing = {place: reason for place, reason in (unknown | tried).items() if reason}
    assert health.failing == failing
