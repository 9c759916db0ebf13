"""How failures are counted, and logged once when they begin and once when they end."""

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


def logged(caplog: pytest.LogCaptureFixture, *history: tuple[Reading, ...], device: bool = True) -> list[str]:
    """The log lines of several snapshots in order, of a gateway with or without an interface."""
    health = Health()
    with caplog.at_level(logging.INFO, "argus.read"):
        for readings in history:
            health.update(Snapshot("gw", 0.0, (WG0,) if device else (), readings))
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records]


def test_good_readings_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A reading without a failure writes no line."""
    assert logged(caplog, (SOURCE, GOOD), (SOURCE, GOOD)) == []


def test_a_failure_is_logged_at_its_start_and_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    """A failure that lasts several readings is one line when it begins and one when it ends."""
    assert logged(caplog, (GOOD,), (BAD,), (BAD,), (BAD,), (GOOD,), (GOOD,)) == [
        "ERROR interface wg0 (netlink) cannot be read (timeout): no answer within 5 s",
        "INFO interface wg0 (netlink) can be read again",
    ]


def test_another_reason_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A failure whose reason changes is logged again."""
    assert logged(caplog, (BAD,), (WORSE,), (WORSE,), (GOOD,)) == [
        "ERROR interface wg0 (netlink) cannot be read (timeout): no answer within 5 s",
        "ERROR interface wg0 (netlink) cannot be read (permission): needs CAP_NET_ADMIN",
        "INFO interface wg0 (netlink) can be read again",
    ]


def test_each_failure_is_logged_separately(caplog: pytest.LogCaptureFixture) -> None:
    """The same interface of two sources, and a source as a whole, each have their own line."""
    elsewhere = Reading("uapi", "wg0", 0.1, "stale-socket", "nothing listens")
    listing = Reading("uapi", "", 0.1, "permission", "not ours to open")
    assert logged(caplog, (BAD, elsewhere), (BAD, elsewhere, listing)) == [
        "ERROR interface wg0 (netlink) cannot be read (timeout): no answer within 5 s",
        "ERROR interface wg0 (uapi) cannot be read (stale-socket): nothing listens",
        "ERROR source uapi cannot be read (permission): not ours to open",
    ]


def test_a_failing_interface_that_is_removed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A failure also ends when its interface is removed; if the interface comes back, it is a new failure."""
    assert logged(caplog, (BAD,), (SOURCE,), (SOURCE,), (BAD,)) == [
        "ERROR interface wg0 (netlink) cannot be read (timeout): no answer within 5 s",
        "INFO interface wg0 (netlink) does not exist any more",
        "ERROR interface wg0 (netlink) cannot be read (timeout): no answer within 5 s",
    ]


def test_an_interface_is_not_reported_as_removed_while_its_source_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While its source cannot be listed, a failing interface is neither removed nor a new failure."""
    unlisted = Reading("netlink", "", 0.1, "timeout", "no list")
    assert logged(caplog, (SOURCE, BAD), (unlisted,), (SOURCE, BAD), (SOURCE, GOOD)) == [
        "ERROR interface wg0 (netlink) cannot be read (timeout): no answer within 5 s",
        "ERROR source netlink cannot be read (timeout): no list",
        "INFO source netlink can be read again",
        "INFO interface wg0 (netlink) can be read again",
    ]


def test_no_interface_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A gateway without interfaces is one warning, because it is not a failure."""
    assert logged(caplog, (SOURCE,), (SOURCE,), device=False) == [
        "WARNING no WireGuard interface found; `argus-wg check` lists the places that were searched"
    ]


def test_interfaces_that_appear_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Interfaces that appear after none was found are logged once, with their number."""
    health = Health()
    with caplog.at_level(logging.INFO, "argus.read"):
        for devices in ((), (WG0,), (WG0,)):
            health.update(Snapshot("gw", 0.0, devices, (SOURCE,)))
    assert [record.getMessage() for record in caplog.records][1:] == ["1 WireGuard interface(s) found"]


def test_a_failure_is_not_logged_as_no_interface(caplog: pytest.LogCaptureFixture) -> None:
    """If a reading failed, the log does not say that there is no interface."""
    assert [line.split()[0] for line in logged(caplog, (SOURCE, BAD), device=False)] == ["ERROR"]


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
    """Failed readings count by source and reason, retries by source, snapshots once. Present failures are
    known with their reasons. The counts of a source that is gone are forgotten."""
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
