"""A simulated day: how many notifications are right, false, missing and repeated."""

from __future__ import annotations

import pytest
import yaml

from tests.alerts.day.incidents import Incident, about, score
from tests.alerts.day.notifications import Alert, Alertmanager, Notification
from tests.alerts.day.run import simulate
from tests.alerts.day.series import STALE, STEP, Series
from tests.alerts.kit import ALERTS, program


def test_a_day() -> None:
    """A day with faults of every kind: no false page, no missed fault, and one page for each fault."""
    result = simulate(program("promtool", "prometheus"), ALERTS)
    print(result.line)  # noqa: T201
    assert result.missed == []
    assert result.false["pager"] == []
    assert len(result.false["tickets"]) <= 5
    assert len(result.false["security"]) <= 5
    assert result.pages <= 1.1 * result.paging_incidents, result.repeated
    assert max(result.delays) <= 8 * 60


def test_notation() -> None:
    """Values are written as runs of equal differences, missing values and stale markers."""
    assert Series("a", {"b": "c"}, [1]).selector == 'a{b="c"}'
    assert Series("a", {}, [5, 5, 5, 7, 9, None, None, STALE, STALE, 3]).notation == (
        "5+0x2 7+2x1 _x2 stale _x1 3"
    )


def alert(name: str, **labels: str) -> Alert:
    kind = {"severity": "critical", "concern": "availability", "job": "wireguard", **labels}
    return frozenset({"alertname": f"WireGuard{name}", **kind}.items())


def sent(*states: set[Alert]) -> list[Notification]:
    """The notifications while these alerts fire, each state for 30 seconds."""
    manager = Alertmanager(yaml.safe_load((ALERTS / "alertmanager.yml").read_text()))
    return [message for step, firing in enumerate(states) for message in manager.advance(step * STEP, firing)]


STALE_1 = alert("CriticalPeerStale", instance="gw1", interface="wg0", public_key="A", site="x")
STALE_2 = alert("CriticalPeerStale", instance="gw2", interface="wg0", public_key="A", site="x")
GATEWAY = alert("GatewayPeersUnreachable", instance="gw1", gateway="gw1")


def test_a_group_waits_and_is_sent_once() -> None:
    """The first message comes after group_wait, with all alerts of the group, and no second one follows."""
    (message,) = sent({STALE_1}, *[{STALE_1, STALE_2}] * 30)
    assert (message.time, message.receiver) == (30, "pager")
    assert message.new == {STALE_1, STALE_2}


def test_a_new_alert_of_a_group_waits_for_the_interval() -> None:
    """A later alert of the group is sent with the next look at the group, after 5 minutes."""
    first, second = sent(*[{STALE_1}] * 3, *[{STALE_1, STALE_2}] * 30)
    assert (first.time, second.time) == (30, 330)
    assert second.new == {STALE_2}


def test_an_alert_that_ends_in_time_is_not_sent() -> None:
    """An alert that ends before group_wait is not sent; one that was sent is sent as resolved."""
    assert sent({STALE_1}, *[set[Alert]()] * 30) == []
    first, over = sent(*[{STALE_1}] * 3, *[set[Alert]()] * 30)
    assert first.firing == {STALE_1}
    assert not over.firing | over.new


def test_an_outage_inhibits_its_peers() -> None:
    """The alert of a gateway inhibits those of its peers, and not those of another gateway's."""
    (one,) = sent(*[{GATEWAY, STALE_1}] * 30)
    assert one.new == {GATEWAY}
    assert {message.new for message in sent(*[{GATEWAY, STALE_2}] * 30)} == {
        frozenset({GATEWAY}),
        frozenset({STALE_2}),
    }


@pytest.mark.parametrize(
    ("time", "false", "missed"), [(400.0, 0, []), (50.0, 1, ["down"]), (900.0, 1, ["down"])]
)
def test_a_message_counts_in_the_time_of_its_fault(time: float, false: int, missed: list[str]) -> None:
    """A message before a fault, or after its end, is false, and the fault is missed."""
    incident = Incident("down", (100, 700), "pager", about(public_key="A"))
    result = score([incident], [Notification(time, "pager", frozenset({STALE_1}), frozenset({STALE_1}))])
    assert (len(result.false["pager"]), result.missed) == (false, missed)


def test_repeated_pages_count() -> None:
    """Two pages of one fault are two pages an incident."""
    incident = Incident("down", (0, 700), "pager", about(public_key="A"))
    both = [Notification(time, "pager", frozenset({STALE_1}), frozenset()) for time in (300.0, 600.0)]
    result = score([incident], both)
    assert result.pages == 2
    assert result.repeated == ["down: 2"]
