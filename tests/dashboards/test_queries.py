"""All queries of panels and variables return data from a live mesh, except those listed in `QUIET`."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from exporter.store.database.connection import Connection
from tests.dashboards import grafana
from tests.dashboards.conftest import Living
from tests.dashboards.grafana import DASHBOARDS, Target, promql, sql, targets
from tests.kit.store.schema import with_connection

CHOSEN = "elbe-gauge"  # stale, with a changed endpoint
QUIET = {
    "argus-mesh: Tunnels whose ends disagree A": "both ends take part in the same handshakes",
    "argus-exporter: Failing readings by reason A": "all interfaces can be read",
    "argus-exporter: Failed readings over time A": "no reading has failed",
    "argus-exporter: Database errors A": "the database was always available",
    "argus-exporter: Gaps in the records A": "the records have no gap",
}
TARGETS = {str(target): target for target in targets()}


def values(living: Living, dashboard: str) -> dict[str, Sequence[str]]:
    """The initial value of each variable ("All" or the result of its query), with one peer selected."""
    chosen: dict[str, Sequence[str]] = {}
    for name, variable in grafana.variables(dashboard).items():
        if variable["type"] == "query":
            chosen[name] = variable.get("allValue") or options(living, variable, chosen)
    if "peer" in chosen:
        assert living.keys[CHOSEN] in chosen["peer"]
        chosen["peer"] = [living.keys[CHOSEN]]
    return chosen


def options(living: Living, variable: Mapping[str, Any], chosen: Mapping[str, Sequence[str]]) -> list[str]:
    """The values that Grafana extracts from the result of a variable's query."""
    query = promql(variable["query"], chosen)
    if match := re.fullmatch(r"label_values\((.*), (\w+)\)", query, re.DOTALL):
        return living.prometheus.label_values(match[2], match[1])
    match = re.fullmatch(r"query_result\((.*)\)", query, re.DOTALL)
    assert match, query
    pattern = re.compile(variable["regex"].strip("/").replace("(?<", "(?P<"))
    lines = []
    for series in living.prometheus.instant(match[1]):
        labels = ",".join(f'{name}="{value}"' for name, value in sorted(series["metric"].items()))
        lines.append(f"{{{labels}}} 1 0")
    found = [pattern.search(line) for line in lines]
    return [one["value"] for one in found if one]


def ask(living: Living, target: Target, **others: Sequence[str]) -> list[dict[str, Any]]:
    """The labels of each series, or the columns of each row, of a result. `others`: values of variables."""
    chosen = values(living, target.dashboard) | others
    now = time.time()
    if target.is_sql:
        low, high = (datetime.fromtimestamp(at, UTC).isoformat() for at in (living.started - 86400, now))
        query = sql(target.text, chosen, low, high)

        async def work(connection: Connection) -> list[dict[str, Any]]:
            return [dict(row) for row in await connection.fetch(query)]

        return with_connection(living.records, work)
    query = promql(target.text, chosen)
    assert "$" not in re.sub(r'"\$1"', "", query), query
    if target.query["instant"]:
        found = living.prometheus.instant(query)
        return [series["metric"] | {"Value": float(series["value"][1])} for series in found]
    return [series["metric"] for series in living.prometheus.range(query, living.started, now)]


@pytest.mark.parametrize("name", TARGETS)
def test_query_returns_data(living: Living, name: str) -> None:
    """Each query returns data, except those listed in `QUIET`, which must return none."""
    found = ask(living, TARGETS[name])
    assert bool(found) is (name not in QUIET), QUIET.get(name, "nothing came back")


OF_AN_ORGANISATION = [name for name, target in TARGETS.items() if "$organisation" in target.text]


@pytest.mark.parametrize("name", OF_AN_ORGANISATION)
def test_another_organisation_is_not_shown(living: Living, name: str) -> None:
    """With another organisation selected, queries return no gateways of this one and count none."""
    assert not any(row["Value"] for row in ask(living, TARGETS[name], organisation=["another"]))


def test_exceptions_are_existing_queries() -> None:
    """Each query in `QUIET` exists."""
    assert QUIET.keys() <= TARGETS.keys()


TABLES = [
    (dashboard, panel)
    for dashboard in DASHBOARDS
    for panel in grafana.panels(DASHBOARDS[dashboard])
    if panel["type"] == "table"
]


@pytest.mark.parametrize(
    ("dashboard", "panel"), TABLES, ids=[f"{one}: {two['title']}" for one, two in TABLES]
)
def test_columns_are_in_the_results(living: Living, dashboard: str, panel: dict[str, Any]) -> None:
    """Each column that a table shows or uses in a link is in the results of its queries."""
    several = len(panel["targets"]) > 1
    found = set()
    for query in panel["targets"]:
        target = Target(dashboard, panel, query)
        for row in ask(living, target):
            found |= row.keys() - {"Value"}
            if "Value" in row:
                found.add(f"Value #{query['refId']}" if several else "Value")
        if str(target) in QUIET:
            return
    if panel["transformations"][0]["id"] == "groupingToMatrix":
        shown = {*panel["transformations"][0]["options"].values()} - {"null"}
    else:
        shown = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
    assert shown <= found
    linked = set(re.findall(r"__data\.fields\.(\w+)", str(panel)))
    assert linked <= found
