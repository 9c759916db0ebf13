"""The rules load, pass promtool's tests, follow conventions and record as many series as documented."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import promql_parser
import pytest
import yaml

from exporter.bundle import RUNBOOKS
from exporter.metrics.declarations.exporter import EXPORTER_FAMILIES
from exporter.metrics.declarations.interfaces import INTERFACE_FAMILIES
from exporter.metrics.declarations.peers import (
    FIRST_SEEN,
    LIFETIME_FAMILIES,
    PEER_FAMILIES,
    SOME_PEERS_FAMILIES,
)
from exporter.metrics.declarations.recording import RECORDING_FAMILIES
from tests.alerts.kit import (
    ALERT_RULES,
    ALERTS,
    RECORDED,
    RULE_FILES,
    RULES,
    TEST_FILES,
    Rule,
    promtool,
    promtool_3,
    run,
)

SCRAPE = 30  # seconds, of prometheus.yml
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
FAMILIES = {
    family.name
    for families in (
        PEER_FAMILIES,
        LIFETIME_FAMILIES,
        SOME_PEERS_FAMILIES,
        (FIRST_SEEN,),
        INTERFACE_FAMILIES,
        EXPORTER_FAMILIES,
        RECORDING_FAMILIES,
    )
    for family in families
}
FOREIGN = {"up", "ALERTS"}  # from Prometheus
ONLY_DURING_FAULTS = {  # recorded series of few peers
    "peer:wireguard_info:alerted",
    "peer:wireguard_lost:last30s",
    "peer:wireguard_lost:now",
    "peer:wireguard_unreachable:by_gateway",
    "peer:wireguard_unreachable:seconds",
    "peer:wireguard_unreachable_alone:seconds",
    "peer_direction:wireguard_burst_limit:ratio",
    "peer_direction:wireguard_volume_limit:ratio",
}
BOTH_DIRECTIONS = {"peer_direction:wireguard_bytes:increase1d", "peer_direction:wireguard_bytes_baseline:max"}
COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")

every_rule = pytest.mark.parametrize("rule", RULES, ids=str)
every_alert = pytest.mark.parametrize("rule", ALERT_RULES, ids=str)


def test_rules_load() -> None:
    """promtool accepts all rule files and finds no duplicate rules."""
    promtool("check", "rules", *RULE_FILES)


@pytest.mark.parametrize("file", TEST_FILES, ids=lambda file: file.stem)
def test_promtool(file: Path) -> None:
    """Each alert fires with its labels and annotations when it must, and stays quiet when it must."""
    promtool("test", "rules", file)


@pytest.mark.parametrize("file", [*TEST_FILES, None], ids=lambda file: file.stem if file else "rules")
def test_promtool_3(file: Path | None) -> None:
    """The rules load in Prometheus 3, and pass the same tests."""
    command = ["test", "rules", str(file)] if file else ["check", "rules", *map(str, RULE_FILES)]
    run(promtool_3(), *command)


def test_each_alert_is_tested_firing_and_quiet() -> None:
    """promtool's tests have, for each alert, a case that fires and a quiet one; the watchdog always fires."""
    fires: set[str] = set()
    quiet: set[str] = set()
    for file in TEST_FILES:
        for test in yaml.safe_load(file.read_text())["tests"]:
            for case in test.get("alert_rule_test", ()):
                (fires if case.get("exp_alerts") else quiet).add(case["alertname"])
    names = {rule.name for rule in ALERT_RULES}
    assert fires == names
    assert names - quiet <= {"WireGuardWatchdog"}


@every_rule
def test_expression_uses_existing_metrics(rule: Rule) -> None:
    """Each expression is valid PromQL, and every metric in it is exported or recorded."""
    assert rule.selectors() <= FAMILIES | RECORDED | FOREIGN


@every_alert
def test_alert_has_a_condition(rule: Rule) -> None:
    """Each alert has a condition: a comparison, an absence, or a series that exists only during a fault."""
    present_while_wrong = {
        "gateway:wireguard_outage:ratio",
        "job:wireguard_database_down:ratio",
        "job:wireguard_exporters_down:ratio",
        "peer:wireguard_unreachable:seconds",
        "wireguard_exporter_read_failing",
        "wireguard_peer_unknown",
    }
    by_absence = {"unless", "absent"}
    found = {str(node.op) for node in rule.nodes() if isinstance(node, promql_parser.BinaryExpr)}
    found |= {node.func.name for node in rule.nodes() if isinstance(node, promql_parser.Call)}
    assert (
        found & ({*COMPARISONS} | by_absence)
        or rule.selectors() & present_while_wrong
        or rule.name == "WireGuardWatchdog"
    )


@every_rule
def test_absent_has_matchers(rule: Rule) -> None:
    """Each `absent` has label matchers, since the alert gets its labels from them."""
    for node in rule.nodes():
        if isinstance(node, promql_parser.Call) and node.func.name == "absent":
            assert node.args[0].matchers.matchers


@every_rule
def test_rates_span_scrapes(rule: Rule) -> None:
    """Rates span at least four scrapes, so that one failed scrape leaves no gap."""
    for node in rule.nodes():
        if isinstance(node, promql_parser.Call) and node.func.name in ("rate", "increase"):
            assert node.args[0].range.total_seconds() >= 4 * SCRAPE


@every_rule
def test_joins_name_the_gateway(rule: Rule) -> None:
    """Joins on a peer or an interface include `job` and `instance`: one key may be on many gateways.

    Only a join of gateways with the peers that they are on other gateways is on the key alone.
    """
    for labels in re.findall(r"on \(([^)]*)\)", rule.expr):
        names = {label.strip() for label in labels.split(",")}
        assert "job" in names
        assert "instance" in names or names <= {"job", "site", "direction"} or names == {"job", "public_key"}


@every_rule
def test_no_label_of_a_target_is_kept(rule: Rule) -> None:
    """Recorded series of peers, gateways and sites have the labels of this project only.

    A label that a site adds to its targets would otherwise be in the series, and changing it would end them.
    """
    level, _, rest = rule.name.partition(":")
    if not rule.alert and rest and level not in ("threshold", "mesh"):
        series = {name for name in rule.selectors() if ":" not in name and name != "ALERTS"}
        assert not series or re.search(r"\b(max|min|sum|count|quantile) by \(", rule.expr), series


@every_rule
def test_recorded_names_have_three_parts(rule: Rule) -> None:
    """Names of recorded series have the form level:metric:operation, with a metric of this project."""
    if not rule.alert:
        assert re.fullmatch(r"[a-z_]+:wireguard_[a-z_]+:[a-z_0-9]+", rule.name)


@every_alert
def test_alert_is_complete(rule: Rule) -> None:
    """Each alert has the prefix WireGuard, a known severity and concern, three annotations and a runbook."""
    assert rule.name.startswith("WireGuard")
    assert set(rule.labels) == {"severity", "concern"}
    assert rule.labels["severity"] in ("critical", "warning", "info", "none")
    assert rule.labels["concern"] in ("availability", "security", "records", "exporter")
    assert set(rule.annotations) == {"summary", "description", "runbook_url"}
    assert rule.annotations["runbook_url"] == f"{RUNBOOKS}/{rule.name}.md"


@every_alert
def test_summary_fits_a_group(rule: Rule) -> None:
    """Summaries name no peer and no value: a notification has one title for many alerts."""
    of_group = {"job", "instance", "interface", "gateway"} | (
        {"site"} if "Site" in rule.name or "Critical" in rule.name else set()
    )
    assert set(re.findall(r"\$labels\.(\w+)", rule.annotations["summary"])) <= of_group
    assert "$value" not in rule.annotations["summary"]


@every_alert
def test_pages_survive_a_restart_of_prometheus(rule: Rule) -> None:
    """Pages have no `for`, so an open page is not sent a second time after a restart.

    A `for` below 10 minutes starts again with Prometheus, and the page would end meanwhile.
    """
    if rule.labels["severity"] == "critical" and rule.name != "WireGuardNoTargets":
        assert not rule.wait


@every_alert
def test_labels_are_not_templated(rule: Rule) -> None:
    """No label is templated: a changed label would make a new alert, whose `for` starts again."""
    assert not any("{{" in value for value in rule.labels.values())


@every_alert
def test_on_demand_peers_never_page(rule: Rule) -> None:
    """Alerts that page about single peers select always-on peers only."""
    if rule.labels["severity"] == "critical" and any("public_key" in label for label in rule.expr.split()):
        assert 'expected="always-on"' in rule.expr


def test_thresholds() -> None:
    """Each threshold is in thresholds.yml, has a comment, and is used by a rule."""
    text = (ALERTS / "rules/thresholds.yml").read_text()
    defined = {rule.name for rule in RULES if rule.file == "thresholds.yml"}
    used = {name for rule in RULES for name in rule.selectors() if name.startswith("threshold:")}
    assert used == defined
    for paragraph in text.partition("rules:\n")[2].split("\n\n"):
        assert paragraph.lstrip().startswith("#")


def test_runbooks() -> None:
    """Each alert has one runbook, with the four sections, a command, valid links and known metrics."""
    files = {path.stem: path.read_text() for path in ALERTS.glob("runbooks/*.md")}
    assert set(files) == {rule.name for rule in ALERT_RULES}
    for name, text in files.items():
        assert text.startswith(f"# {name}\n")
        assert re.findall(r"^## (.*)$", text, re.M) == ["Meaning", "Impact", "Diagnosis", "Mitigation"]
        assert re.search(r"^    \S", text, re.M), name
        for link in re.findall(r"\]\(([^)#]+)", text):
            assert (ALERTS / "runbooks" / link).is_file(), f"{name}: {link}"
        for metric in re.findall(
            r"\b(?:wireguard|threshold:wireguard)_(?:peer|exporter|interface)_[a-z_:0-9]+\w\b", text
        ):
            assert metric in FAMILIES | RECORDED, f"{name}: {metric}"


def test_recorded_series_per_peer() -> None:
    """Thirteen series are recorded for each peer, which is the limit, as rules/recording.yml states."""
    per_peer = Counter(
        rule.name
        for rule in RULES
        if not rule.alert
        and rule.name.partition(":")[0] in ("peer", "peer_direction")
        and rule.name not in ONLY_DURING_FAULTS
    )
    both = 2  # directions: these rules record one series for each
    series = sum(both if name in BOTH_DIRECTIONS else count for name, count in per_peer.items())
    assert series == 13
    assert "Thirteen series for each peer" in (ALERTS / "rules/recording.yml").read_text()
