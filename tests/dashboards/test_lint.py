"""The rules of Grafana's dashboard-linter, one test for each, and tests of links between dashboards.

One rule is not met on purpose: with two data sources, the variables would have to be named after their types
(`prometheus_datasource`), and links from dashboards with one data source could not keep its value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.models import units

from tests.alerts.kit import rules
from tests.dashboards.grafana import DASHBOARDS, Target, panels, promql, targets, variables
from tests.docs.test_metrics import FAMILIES
from tests.kit.pages import ROOT

EVERY = pytest.mark.parametrize("name", DASHBOARDS)
QUERIES = [target for target in targets() if not target.is_sql]
EVERY_QUERY = pytest.mark.parametrize("target", QUERIES, ids=str)
COUNTING = {"rate", "increase", "resets"}  # functions for counters
PROMETHEUS_OWN = {"up", "ALERTS", "ALERTS_FOR_STATE", "scrape_duration_seconds"}
PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"}
Found = tuple[promql_parser.VectorSelector, tuple[str, ...]]  # and the functions around it, outermost first
RECORDED = {rule.name for rule in rules() if not rule.alert}


def selectors(query: str) -> Iterator[Found]:
    """All selectors of a query."""
    return _selectors(promql_parser.parse(promql(query, {})), ())


def _selectors(node: Any, within: tuple[str, ...]) -> Iterator[Found]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node, within
    if isinstance(node, promql_parser.Call):
        within = (*within, node.func.name)
    for part in ("lhs", "rhs", "expr", "param", "args", "vector_selector"):
        below = getattr(node, part, None)
        for one in below if isinstance(below, list) else [below] if below else []:
            yield from _selectors(one, within)


def matchers(selector: promql_parser.VectorSelector) -> set[str]:
    """The matchers of a selector, such as `label=~"pattern"`."""
    return {str(one) for one in selector.matchers.matchers}


def sources(part: Any) -> Iterator[str]:
    """The data sources used anywhere in a part of a dashboard."""
    if isinstance(part, dict) and isinstance(source := part.get("datasource"), dict):
        yield source["uid"]
    for one in part.values() if isinstance(part, dict) else part if isinstance(part, list) else []:
        yield from sources(one)


def queries_of(name: str) -> list[str]:
    """All text of a dashboard that can contain a variable."""
    return [target.text for target in targets() if target.dashboard == name] + [str(DASHBOARDS[name])]


@EVERY
def test_uneditable(name: str) -> None:
    """Dashboards cannot be edited in Grafana, and their addresses are fixed."""
    assert DASHBOARDS[name]["editable"] is False
    assert DASHBOARDS[name]["uid"] == name
    assert "id" not in DASHBOARDS[name]


@EVERY
def test_template_datasource(name: str) -> None:
    """Data sources are variables, and the first is Prometheus."""
    first, *others = variables(name).values()
    assert (first["type"], first["query"], first["name"], first["label"]) == (
        "datasource",
        "prometheus",
        "datasource",
        "Data source",
    )
    assert [one["query"] for one in others if one["type"] == "datasource"] in (
        [],
        ["grafana-postgresql-datasource"],
    )


@EVERY
@pytest.mark.parametrize("variable", ["job", "instance"])
def test_template_job_and_instance(name: str, variable: str) -> None:
    """`job` and `instance` are variables with multiple values and a pattern for all."""
    found = variables(name)[variable]
    assert found["type"] == "query"
    assert found["datasource"]["uid"] == "${datasource}"
    assert found["label"] == variable.title()
    assert (found["multi"], found["includeAll"], found["allValue"]) == (True, True, ".+")


@EVERY
def test_template_variables(name: str) -> None:
    """Each variable is used; its query is valid and runs again when the time range changes."""
    for variable in variables(name).values():
        if variable["type"] == "query":
            assert variable["refresh"] == 2, variable["name"]
            query = re.fullmatch(r"(?:label_values|query_result)\((.*?)(?:, \w+)?\)", variable["query"])
            assert query, variable["query"]
            promql_parser.parse(query[1])
        asked = [text for text in queries_of(name) if re.search(rf"\$\{{?{variable['name']}\b", text)]
        assert asked, f"${variable['name']} is not used"


@EVERY
def test_panel_datasource(name: str) -> None:
    """Panels, queries and annotations use the variables for data sources."""
    assert {*sources(DASHBOARDS[name])} <= {"${datasource}", "${records}"}
    for target in targets():
        source = "${records}" if target.is_sql else "${datasource}"
        assert target.query["datasource"]["uid"] == target.panel["datasource"]["uid"] == source


@EVERY
def test_panel_title_description(name: str) -> None:
    """Each panel has a unique title and a question as its description."""
    titles = [panel["title"] for panel in panels(DASHBOARDS[name])]
    assert all(titles)
    assert len({*titles}) == len(titles)
    for panel in panels(DASHBOARDS[name]):
        assert "?" in panel["description"], panel["title"]


@EVERY
def test_panel_units(name: str) -> None:
    """Each panel and each numeric column has a valid unit of Grafana."""
    known = {value for value in vars(units).values() if isinstance(value, str)}
    for panel in panels(DASHBOARDS[name]):
        given = [panel["fieldConfig"]["defaults"]["unit"]]
        for override in panel["fieldConfig"]["overrides"]:
            given += [one["value"] for one in override["properties"] if one["id"] == "unit"]
        assert {*given} <= known, panel["title"]


@EVERY
def test_panel_no_targets(name: str) -> None:
    """Each panel has a query."""
    assert all(panel["targets"] for panel in panels(DASHBOARDS[name]))


@EVERY_QUERY
def test_target_promql(target: Target) -> None:
    """Each query is valid PromQL, and its metrics come from the exporter, Prometheus or the rules."""
    known = {family.name for family in FAMILIES} | RECORDED | PROMETHEUS_OWN | PROCESS
    assert {selector.name for selector, _ in selectors(target.text)} <= known


@EVERY_QUERY
def test_target_job_and_instance(target: Target) -> None:
    """Selectors match `$job` and `$instance`, except for thresholds; alerts may lack an instance."""
    for selector, _ in selectors(target.text):
        if not str(selector.name).startswith("threshold:"):
            instances = "$instance|" if str(selector.name).startswith("ALERTS") else "$instance"
            assert {'job=~"$job"', f'instance=~"{instances}"'} <= matchers(selector)


@EVERY_QUERY
def test_target_counter_agg(target: Target) -> None:
    """Counters are only used in functions for counters."""
    for selector, within in selectors(target.text):
        if str(selector.name).endswith("_total"):
            assert within[-1] in COUNTING


@EVERY_QUERY
def test_target_rate_interval(target: Target) -> None:
    """Rates use `$__rate_interval`, which Grafana derives from the scrape interval."""
    assert {*re.findall(r"\brate\(.*?\[(.*?)\]", target.text)} <= {"$__rate_interval"}


def linked() -> list[tuple[str, str]]:
    """(dashboard, URL) of each data link."""
    return [
        (name, address)
        for name, dashboard in DASHBOARDS.items()
        for address in re.findall(r"'url': '([^']+)'", str(dashboard))
    ]


def test_links_lead_to_variables_of_dashboards() -> None:
    """Each link leads to an existing dashboard and sets variables that this dashboard has."""
    assert linked()
    for name, address in linked():
        match = re.match(r"/d/([\w-]+)\?", address)
        assert match
        there = variables(match[1])
        assert {*re.findall(r"var-(\w+)=", address)} <= there.keys()
        kept = set(re.findall(r"\$\{(\w+):queryparam\}", address))
        assert kept <= there.keys() & variables(name).keys()


def test_fleet_links_to_gateway_and_peer() -> None:
    """Fleet links to Gateway, Gateway to Peer, and Fleet also directly to Peer."""
    ways = {(name, address.split("?")[0].removeprefix("/d/")) for name, address in linked()}
    assert {
        ("argus-fleet", "argus-gateway"),
        ("argus-gateway", "argus-peer"),
        ("argus-fleet", "argus-peer"),
    } <= ways


@EVERY
def test_alerts_are_annotations(name: str) -> None:
    """Every dashboard shows the alerts of the selected gateways as annotations."""
    (annotation,) = DASHBOARDS[name]["annotations"]["list"]
    ((selector, _),) = selectors(annotation["target"]["expr"])
    assert selector.name == "ALERTS"
    assert {'job=~"$job"', 'instance=~"$instance|"'} <= matchers(selector)
    pattern = re.search(r'alertname=~"([^"]*)"', annotation["target"]["expr"])
    assert pattern
    assert all(re.fullmatch(pattern[1], rule.name) for rule in rules() if rule.alert)


def test_provisioning_matches_the_dashboards() -> None:
    """The provisioned data sources have the types that dashboards use; dashboards come from files."""
    folder = ROOT / "dashboards/provisioning"
    given = yaml.safe_load(Path(folder / "datasources/argus-wireguard.yml").read_text())["datasources"]
    wanted = {
        one["query"] for name in DASHBOARDS for one in variables(name).values() if one["type"] == "datasource"
    }
    assert {source["type"] for source in given} == wanted
    (provider,) = yaml.safe_load(Path(folder / "dashboards/argus-wireguard.yml").read_text())["providers"]
    assert (provider["type"], provider["allowUiUpdates"]) == ("file", False)
