"""Alertmanager's configuration: loading, routes, inhibition, secrets and the texts of notifications."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.alerts.day.notifications import fits, matcher
from tests.alerts.kit import ALERT_RULES, ALERTS, Rule, amtool

FILE = ALERTS / "alertmanager.yml"
CONFIG: dict[str, Any] = yaml.safe_load(FILE.read_text())
RECEIVERS = {"critical": "pager", "warning": "tickets", "info": "nobody"}


def routes(route: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All routes below a route, with the settings that they inherit."""
    for child in route.get("routes", ()):
        yield {"receiver": route["receiver"], **child}
        yield from routes({"receiver": route["receiver"], **child})


def test_configuration_loads() -> None:
    """amtool accepts the configuration and the templates."""
    amtool("check-config", FILE)


@pytest.mark.parametrize("rule", ALERT_RULES, ids=str)
def test_each_alert_has_its_receiver(rule: Rule) -> None:
    """Alerts are routed by severity; security alerts and the watchdog have their own receivers."""
    receiver = RECEIVERS.get(rule.labels["severity"], "dead-man")
    if rule.labels["concern"] == "security" and receiver != "nobody":
        receiver = "security"
    labels = {"alertname": rule.name, "job": "wireguard", "instance": "gw1:9586", **rule.labels}
    amtool(
        "config",
        "routes",
        "test",
        f"--config.file={FILE}",
        f"--verify.receivers={receiver}",
        *(f"{name}={value}" for name, value in labels.items()),
    )


@pytest.mark.parametrize("rule", CONFIG["inhibit_rules"], ids=lambda rule: rule["source_matchers"][0])
def test_inhibition_requires_the_compared_labels(rule: dict[str, list[str]]) -> None:
    """Each side of an inhibition rule requires a compared label: a label that both sides lack is equal."""
    for side in ("source_matchers", "target_matchers"):
        guards = [label for label, *rest in map(matcher, rule[side]) if rest == ["!=", ""]]
        assert set(guards) & set(rule["equal"])


@pytest.mark.parametrize("alert", ALERT_RULES, ids=str)
def test_security_is_never_inhibited(alert: Rule) -> None:
    """No inhibition rule has a security alert, the watchdog or its own source as a target."""
    everything = dict.fromkeys(("job", "instance", "interface", "public_key", "site"), "x")
    labels = {"alertname": alert.name, **everything, **alert.labels}
    hit = [rule for rule in CONFIG["inhibit_rules"] if fits(labels, rule["target_matchers"])]
    if alert.labels["concern"] == "security" or alert.labels["severity"] == "none":
        assert not hit
    assert not [rule for rule in hit if fits(labels, rule["source_matchers"])]


@pytest.mark.parametrize("rule", CONFIG["inhibit_rules"], ids=lambda rule: rule["source_matchers"][0])
def test_inhibition_matches_existing_alerts(rule: dict[str, list[str]]) -> None:
    """The source and the target of each inhibition rule match at least one alert."""
    everything = dict.fromkeys(("job", "instance", "interface", "public_key", "site"), "x")
    for side in ("source_matchers", "target_matchers"):
        assert any(
            fits({"alertname": alert.name, **everything, **alert.labels}, rule[side]) for alert in ALERT_RULES
        )


def test_security_is_never_muted() -> None:
    """Maintenance windows mute pages and tickets, but not security alerts or the watchdog."""
    muted = {
        (route["receiver"], "maintenance" in route.get("mute_time_intervals", ()))
        for route in routes(CONFIG["route"])
    }
    assert muted == {
        ("dead-man", False),
        ("nobody", False),
        ("security", False),
        ("pager", True),
        ("tickets", True),
    }


def test_secrets_are_in_files() -> None:
    """The configuration contains no secret, only the names of files with secrets."""
    text = json.dumps(CONFIG["receivers"])
    assert not re.search(r'"(api_url|routing_key|service_key|password|credentials|bearer_token)":', text)
    assert set(re.findall(r'"(\w+_file)": "([^"]*)"', text)) == {
        ("api_url_file", "/etc/alertmanager/secrets/slack-tickets"),
        ("api_url_file", "/etc/alertmanager/secrets/slack-security"),
        ("routing_key_file", "/etc/alertmanager/secrets/pagerduty"),
        ("credentials_file", "/etc/alertmanager/secrets/dead-man"),
    }


def alert(peer: str, status: str = "firing") -> dict[str, Any]:
    return {
        "status": status,
        "labels": {"alertname": "WireGuardCriticalPeerStale", "peer": peer, "owner": "water-board"},
        "annotations": {
            "description": f"Peer {peer} (site berlin) has made no handshake with gw1 for 11m 0s."
        },
        "startsAt": "2026-01-02T03:04:05Z",
        "endsAt": "2026-01-02T03:24:05Z",
        "generatorURL": f"http://prometheus.example/graph?{peer}",
    }


def rendered(template: str, folder: Path, status: str, *alerts: dict[str, Any]) -> str:
    common = {
        "summary": "Critical peers of wg0 on gw1 are stale",
        "runbook_url": "https://wiki.example/WireGuardCriticalPeerStale.md",
    }
    data = {
        "receiver": "pager",
        "status": status,
        "externalURL": "http://alertmanager.example",
        "groupLabels": {"alertname": "WireGuardCriticalPeerStale", "instance": "gw1:9586"},
        "commonLabels": {"alertname": "WireGuardCriticalPeerStale"},
        "commonAnnotations": common,
        "alerts": alerts,
    }
    file = folder / "data.json"
    file.write_text(json.dumps(data))
    return amtool(
        "template",
        "render",
        f"--template.glob={ALERTS}/templates/*.tmpl",
        f'--template.text={{{{ template "{template}" . }}}}',
        f"--template.data={file}",
    )


def test_text_of_one_alert(tmp_path: Path) -> None:
    """A notification has the description, start, owner, runbook, graph and a link for a silence."""
    assert rendered("argus.text", tmp_path, "firing", alert("elbe-gauge")).rstrip() == (
        "Peer elbe-gauge (site berlin) has made no handshake with gw1 for 11m 0s.\n"
        "Since 2026-01-02 03:04 UTC · owner water-board\n"
        "\n"
        "Runbook: https://wiki.example/WireGuardCriticalPeerStale.md\n"
        "Graph: http://prometheus.example/graph?elbe-gauge\n"
        "Silence: http://alertmanager.example/#/silences/new?filter="
        "%7Balertname%3D%22WireGuardCriticalPeerStale%22%2Cinstance%3D%22gw1%3A9586%22%7D"
    )


def test_text_of_many_and_of_resolved_alerts(tmp_path: Path) -> None:
    """At most ten alerts are listed, followed by their total; a resolved alert has its end."""
    many = rendered("argus.text", tmp_path, "firing", *(alert(f"peer-{number}") for number in range(12)))
    assert many.count("has made no handshake") == 10
    assert "... 12 alerts in total: http://alertmanager.example/#/alerts" in many
    over = rendered("argus.text", tmp_path, "resolved", alert("elbe-gauge", "resolved"))
    assert over.startswith("Resolved at 2026-01-02 03:24 UTC: elbe-gauge\n")
    assert "Graph:" not in over


@pytest.mark.parametrize(
    ("status", "count", "title"),
    [
        ("firing", 1, "Critical peers of wg0 on gw1 are stale"),
        ("firing", 3, "3 alerts: Critical peers of wg0 on gw1 are stale"),
        ("resolved", 1, "Resolved: Critical peers of wg0 on gw1 are stale"),
    ],
)
def test_title(tmp_path: Path, status: str, count: int, title: str) -> None:
    """The title is the summary, with the number of alerts, or that they are resolved."""
    alerts = [alert(f"peer-{number}", status) for number in range(count)]
    assert rendered("argus.title", tmp_path, status, *alerts) == title
