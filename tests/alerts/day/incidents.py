"""Incidents, and the score of the notifications about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.alerts.day.mesh import Span
from tests.alerts.day.notifications import Alert, Labels, Notification

MINUTE = 60.0
LATE = 60.0  # seconds after the end of a fault within which a message about it is still right


@dataclass(frozen=True)
class Incident:
    """Something that happens. `receiver` must get a message about it; an empty one: nobody may.

    `concerns` says whether an alert is about this incident.
    """

    name: str
    span: Span
    receiver: str
    concerns: Callable[[Labels], bool] = lambda _: False
    slack: float = LATE

    def explains(self, time: float, alert: Labels) -> bool:
        start, end = self.span
        return start <= time <= end + self.slack and self.concerns(alert)


@dataclass
class Score:
    incidents: int = 0
    pages: int = 0
    paging_incidents: int = 0
    false: dict[str, list[str]] = field(default_factory=lambda: {"pager": [], "tickets": [], "security": []})
    missed: list[str] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)

    @property
    def line(self) -> str:
        worst = max(self.delays, default=0) / 60
        mean = sum(self.delays) / max(1, len(self.delays)) / 60
        return (
            f"{self.incidents} incidents: {len(self.false['pager'])} false pages, "
            f"{len(self.false['tickets'])} false tickets, "
            f"{len(self.false['security'])} false security messages, "
            f"{len(self.missed)} missed, {self.pages / max(1, self.paging_incidents):.1f} pages an incident, "
            f"pages after {mean:.1f} minutes, at most {worst:.1f}"
        )


def score(incidents: list[Incident], notifications: list[Notification]) -> Score:
    """Count the messages that are right, false, missing and repeated."""
    result = Score(incidents=len(incidents))
    reported: dict[str, list[float]] = {}
    for message in notifications:
        if not message.new or message.receiver not in result.false:
            continue
        about = {
            incident.name
            for alert in message.new
            for incident in incidents
            if incident.explains(message.time, dict(alert))
        }
        for name in about:
            reported.setdefault(f"{name} to {message.receiver}", []).append(message.time)
        if not about:
            result.false[message.receiver].append(f"{message.time / MINUTE:.1f}m {_names(message.new)}")
        elif message.receiver == "pager":
            result.pages += 1
    for incident in incidents:
        if incident.receiver:
            times = reported.get(f"{incident.name} to {incident.receiver}", [])
            if not times:
                result.missed.append(incident.name)
            if incident.receiver == "pager":
                result.paging_incidents += 1
                result.delays += [min(times) - incident.span[0]] if times else []
        if len(pages := reported.get(f"{incident.name} to pager", [])) > 1:
            result.repeated.append(f"{incident.name}: {len(pages)}")
    return result


def _names(alerts: frozenset[Alert]) -> str:
    shown = ("alertname", "instance", "interface", "site", "peer", "public_key")
    return "; ".join(
        " ".join(dict(alert).get(label, "-") for label in shown) for alert in sorted(alerts, key=sorted)
    )


def about(**labels: str) -> Callable[[Labels], bool]:
    """Whether an alert has these labels."""
    return lambda alert: all(alert.get(name) == value for name, value in labels.items())


def either(*ways: Callable[[Labels], bool]) -> Callable[[Labels], bool]:
    """Whether one of the conditions holds for an alert."""
    return lambda alert: any(way(alert) for way in ways)


def named(*names: str) -> Callable[[Labels], bool]:
    """Whether an alert has one of these names, without the prefix."""
    return lambda alert: alert.get("alertname", "").removeprefix("WireGuard") in names
