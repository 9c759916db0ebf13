"""Dashboards as Grafana reads them: panels, variables, and the substitution of variables in queries."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.kit.pages import ROOT

FOLDER = ROOT / "dashboards/json"
FILES = sorted(FOLDER.glob("*.json"))
DASHBOARDS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in FILES}
MACROS = {"$__rate_interval": "10s", "$__interval": "5s", "$__range": "120s"}


@dataclass(frozen=True, slots=True)
class Target:
    """A query of a panel."""

    dashboard: str
    panel: dict[str, Any]
    query: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.panel['title']} {self.query['refId']}"

    @property
    def is_sql(self) -> bool:
        return "rawSql" in self.query

    @property
    def text(self) -> str:
        return str(self.query["rawSql" if self.is_sql else "expr"])


def panels(dashboard: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All panels except row headings."""
    return (panel for panel in dashboard["panels"] if panel["type"] != "row")


def targets() -> list[Target]:
    return [
        Target(name, panel, query)
        for name, dashboard in DASHBOARDS.items()
        for panel in panels(dashboard)
        for query in panel["targets"]
    ]


def variables(dashboard: str) -> dict[str, dict[str, Any]]:
    return {variable["name"]: variable for variable in DASHBOARDS[dashboard]["templating"]["list"]}


def promql(text: str, values: Mapping[str, Sequence[str]]) -> str:
    """The query as Grafana sends it to Prometheus. Several values become a pattern of the escaped values."""
    for macro, value in MACROS.items():
        text = text.replace(macro, value)
    for name, chosen in values.items():
        text = re.sub(rf"\${name}\b", lambda _, chosen=chosen: _pattern(chosen), text)  # type: ignore[misc]
    return text


def _pattern(chosen: Sequence[str]) -> str:
    if isinstance(chosen, str):
        return chosen
    return "|".join(re.sub(r"([\\^$*+?.()|\[\]{}/])", r"\\\\\1", value) for value in chosen)


def sql(text: str, values: Mapping[str, Sequence[str]], start: str, end: str) -> str:
    """The query as Grafana sends it to PostgreSQL."""
    for name, chosen in values.items():
        quoted = ",".join("'" + value.replace("'", "''") + "'" for value in chosen)
        text = text.replace(f"${{{name}:sqlstring}}", quoted)
    text = re.sub(r"\$__timeFilter\(([\w.]+)\)", rf"\1 BETWEEN '{start}' AND '{end}'", text)
    return text.replace("$__timeFrom()", f"'{start}'").replace("$__timeTo()", f"'{end}'")
