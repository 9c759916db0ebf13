"""A model of Alertmanager: routes, groups and inhibition, as alertmanager.yml states them.

It follows Alertmanager 0.25: a group is sent `group_wait` after its first alert and then looked at every
`group_interval`. It is sent again if an alert is new, if one is resolved and the receiver is sent resolved
alerts, or after `repeat_interval`. Inhibition is decided when a group is sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Labels = Mapping[str, str]
Alert = frozenset[tuple[str, str]]  # the labels of an alert
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
OPERATORS = re.compile(r'(\w+) (=~|!~|!=|=) "?([^"]*)"?')


@dataclass(frozen=True)
class Notification:
    """One message to a receiver. `new`: the alerts that were not in the previous message of the group."""

    time: float
    receiver: str
    new: frozenset[Alert]
    firing: frozenset[Alert]


@dataclass
class _Route:
    receiver: str
    group_by: Sequence[str]
    wait: float
    interval: float
    repeat: float


@dataclass
class _Group:
    route: _Route
    flush_at: float
    alerts: set[Alert] = field(default_factory=set)


@dataclass
class _Sent:
    time: float
    firing: frozenset[Alert]


def matcher(text: str) -> tuple[str, str, str]:
    """Split a matcher such as `'site != ""'` into label, operator and value."""
    found = OPERATORS.fullmatch(text)
    assert found, text
    return found[1], found[2], found[3]


def fits(labels: Labels, matchers: Sequence[str]) -> bool:
    """Whether the labels satisfy all matchers. A missing label is empty."""
    for label, operator, value in map(matcher, matchers):
        have = labels.get(label, "")
        same = bool(re.fullmatch(value, have)) if operator in ("=~", "!~") else have == value
        if same == operator.startswith("!"):
            return False
    return True


def inhibited(labels: Labels, active: Sequence[Labels], rules: Sequence[Mapping[str, Any]]) -> bool:
    """Whether one of the active alerts inhibits an alert."""
    for rule in rules:
        if not fits(labels, rule["target_matchers"]):
            continue
        target_is_source = fits(labels, rule["source_matchers"])
        for source in active:
            if not fits(source, rule["source_matchers"]):
                continue
            if target_is_source and fits(source, rule["target_matchers"]):
                continue
            if all(source.get(label, "") == labels.get(label, "") for label in rule["equal"]):
                return True
    return False


class Alertmanager:
    """Feed `advance` with the firing alerts of each moment, in order."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._wants_resolved = {
            receiver["name"]: any(
                one.get("send_resolved", True)
                for name, ones in receiver.items()
                if name.endswith("_configs")
                for one in ones
            )
            for receiver in config["receivers"]
        }
        self._groups: dict[tuple[int, tuple[str, ...]], _Group] = {}
        self._sent: dict[tuple[int, tuple[str, ...]], _Sent] = {}
        self._routes: dict[Alert, tuple[int, _Route]] = {}

    def advance(self, time: float, firing: set[Alert]) -> Iterator[Notification]:
        """The notifications that are sent at this time, in seconds."""
        for alert in firing:
            number, route = self._route(alert)
            labels = dict(alert)
            key = number, tuple(labels.get(label, "") for label in route.group_by)
            group = self._groups.setdefault(key, _Group(route, time + route.wait))
            group.alerts.add(alert)
        active = [dict(alert) for alert in firing]
        for key, group in list(self._groups.items()):
            if time < group.flush_at:
                continue
            group.flush_at = time + group.route.interval
            yield from self._flush(time, key, group, firing, active)
            group.alerts &= firing
            if not group.alerts:
                del self._groups[key]

    def _flush(
        self,
        time: float,
        key: tuple[int, tuple[str, ...]],
        group: _Group,
        firing: set[Alert],
        active: list[dict[str, str]],
    ) -> Iterator[Notification]:
        shown = frozenset(
            alert
            for alert in group.alerts & firing
            if not inhibited(dict(alert), active, self._config["inhibit_rules"])
        )
        before = self._sent.get(key, _Sent(time, frozenset()))
        resolved = before.firing - shown - firing
        repeat = bool(shown) and time - before.time >= group.route.repeat
        over = bool(resolved) and self._wants_resolved[group.route.receiver]
        if shown - before.firing or repeat or over or (before.firing and not shown):
            self._sent[key] = _Sent(time, shown)
            yield Notification(time, group.route.receiver, shown - before.firing, shown)

    def _route(self, alert: Alert) -> tuple[int, _Route]:
        if alert not in self._routes:
            node = self._config["route"]
            settings = dict(node)
            number = 0
            while True:
                for at, child in enumerate(node.get("routes", ()), 1):
                    if fits(dict(alert), child["matchers"]):
                        number = number * 100 + at
                        settings |= child
                        node = child
                        break
                else:
                    break
            self._routes[alert] = (
                number,
                _Route(
                    settings["receiver"],
                    settings["group_by"],
                    *(
                        _seconds(settings[f"{name}"])
                        for name in ("group_wait", "group_interval", "repeat_interval")
                    ),
                ),
            )
        return self._routes[alert]


def _seconds(text: str) -> float:
    return sum(int(number) * SECONDS[unit] for number, unit in re.findall(r"(\d+)([smhd])", text))
