"""The generated files: a JSON file for each dashboard, and its panels in docs/dashboards.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel, RowPanel
from grafana_foundation_sdk.models.prometheus import Dataquery

from dashboards import exporter, fleet, gateway, mesh, peer, security
from dashboards.queries import Sql

ROOT = Path(__file__).parent.parent
JSON = ROOT / "dashboards/json"
PAGE = ROOT / "docs/dashboards.md"
BEGIN = "<!-- panels: written by `python -m dashboards` -->\n"


def dashboards() -> list[Dashboard]:
    """All dashboards, in the order of docs/dashboards.md."""
    return [module.dashboard() for module in (fleet, gateway, peer, mesh, security, exporter)]


def files() -> dict[Path, str]:
    """The text of each file by path. The part of docs/dashboards.md above the panels is kept as it is."""
    every = dashboards()
    by_hand, begin, _ = PAGE.read_text().partition(BEGIN)
    page = "\n".join(line for one in every for line in _section(one))
    return {JSON / f"{one.uid}.json": _json(one) for one in every} | {PAGE: f"{by_hand}{begin}{page}\n"}


def _json(dashboard: Dashboard) -> str:
    return json.dumps(dashboard, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _section(dashboard: Dashboard) -> Iterator[str]:
    yield from ("", f"## {dashboard.title}", "", dashboard.description or "")
    for panel in dashboard.panels or []:
        if isinstance(panel, RowPanel):
            yield from ("", f"### {panel.title}")
        else:
            yield from _entry(panel)


def _entry(panel: Panel) -> Iterator[str]:
    """A panel's title, description and queries. The fences are not `promql`: it has no variables."""
    yield from ("", f"**{panel.title}.** {panel.description}")
    for target in panel.targets or []:
        if isinstance(target, Sql):
            yield from ("", "```sql", target.sql.strip(), "```")
        elif isinstance(target, Dataquery):
            legend = [f"# {target.legend_format}"] if target.legend_format else []
            yield from ("", "```text", *legend, target.expr, "```")
