"""A whole dashboard: variables, panels laid out in rows, and alerts as annotations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count

from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.dashboard import (
    AnnotationContainer,
    AnnotationQuery,
    Dashboard,
    DashboardCursorSync,
    DashboardDashboardTemplating,
    DashboardDashboardTime,
    DashboardLink,
    DashboardLinkType,
    GridPos,
    Panel,
    RowPanel,
    VariableHide,
    VariableModel,
    VariableOption,
    VariableRefresh,
    VariableSort,
    VariableType,
)
from grafana_foundation_sdk.models.prometheus import Dataquery

from dashboards import promql
from dashboards.promql import INFO, PEERS, firing, of
from dashboards.queries import POSTGRESQL, PROMETHEUS

WIDTH = 24
TAG = "argus-wireguard"

Rows = Mapping[str, Sequence[Panel]]


def board(
    uid: str,
    title: str,
    question: str,
    variables: Sequence[VariableModel],
    rows: Rows,
    *,
    alerts: Sequence[str] = (),
    since: str = "now-6h",
) -> Dashboard:
    """Build a dashboard. `rows`: panels by heading; `alerts`: matchers of the alerts to show in graphs."""
    return Dashboard(
        uid=uid,
        title=f"WireGuard / {title}",
        description=question,
        tags=[TAG],
        editable=False,
        graph_tooltip=DashboardCursorSync.CROSSHAIR,
        time=DashboardDashboardTime(since, "now"),
        refresh="1m",
        templating=DashboardDashboardTemplating(list(variables)),
        annotations=AnnotationContainer([_alerts(alerts)]),
        links=[_others()],
        panels=_flow(rows),
    )


def _flow(rows: Rows) -> list[Panel | RowPanel]:
    """Number the panels and place them from left to right and from top to bottom, each under its heading."""
    placed: list[Panel | RowPanel] = []
    numbers = count(1)
    y = 0
    for heading, panels in rows.items():
        placed.append(RowPanel(title=heading, id_val=next(numbers), grid_pos=GridPos(h=1, w=WIDTH, x=0, y=y)))
        y, x, height = y + 1, 0, 0
        for panel in panels:
            place = panel.grid_pos or GridPos()
            if x + place.w > WIDTH:
                y, x, height = y + height, 0, 0
            panel.id_val, place.x, place.y = next(numbers), x, y
            x, height = x + place.w, max(height, place.h)
            placed.append(panel)
        y += height
    return placed


def _alerts(matchers: Sequence[str]) -> AnnotationQuery:
    return AnnotationQuery(
        name="Alerts",
        datasource=PROMETHEUS,
        enable=True,
        icon_color="red",
        target=Dataquery(expr=firing(*matchers), ref_id="Alerts", interval="1m"),
        title_format="{{alertname}}",
        text_format="{{peer}} {{site}} {{interface}} {{instance}}",
        tag_keys="severity",
    )


def _others() -> DashboardLink:
    return DashboardLink(
        title="WireGuard",
        type_val=DashboardLinkType.DASHBOARDS,
        tags=[TAG],
        as_dropdown=True,
        include_vars=True,
        keep_time=True,
    )


def _source(name: str, label: str, kind: DataSourceRef) -> VariableModel:
    return VariableModel(VariableType.DATASOURCE, name, label, query=kind.type_val)


def _values(
    name: str,
    label: str,
    query: str,
    everything: str | None = None,
    *,
    first: bool = False,
    hidden: bool = False,
    regex: str = "",
) -> VariableModel:
    """A variable with the values of a label, of which several can be selected.

    `everything`: the pattern for the option "All"; None: there is no such option. Initially "All" is
    selected, or the first value if `first` is set.
    """
    return VariableModel(
        VariableType.QUERY,
        name,
        label,
        datasource=PROMETHEUS,
        query=query,
        definition=query,
        regex=regex,
        multi=True,
        include_all=everything is not None,
        all_value=everything or None,
        current=None if first else VariableOption(text=["All"], value=["$__all"]),
        hide=VariableHide.HIDE_VARIABLE if hidden else None,
        refresh=VariableRefresh.ON_TIME_RANGE_CHANGED,
        sort=VariableSort.NATURAL_ASC,
    )


DATASOURCE = _source("datasource", "Data source", PROMETHEUS)
RECORDS = _source("records", "Records", POSTGRESQL)
JOB = _values("job", "Job", "label_values(wireguard_exporter_build_info, job)", ".+")
ORGANISATION = _values(
    "organisation",
    "Organisation",
    f'label_values({promql.GATEWAY}{{job=~"$job"}}, organisation)',
    ".*",
)
_INSTANCES = 'label_values(wireguard_exporter_build_info{job=~"$job"}, instance)'
INSTANCE = _values("instance", "Instance", _INSTANCES, ".+")
ONE_INSTANCE = _values("instance", "Instance", _INSTANCES, ".+", first=True)
INTERFACE = _values("interface", "Interface", f"label_values({of(promql.GATEWAY)}, interface)", ".+")
SITE = _values("site", "Site", f"label_values({of(INFO)}, site)", ".*")
PEER = _values(
    "peer",
    "Peer",
    f"query_result({of(INFO, PEERS)})",
    first=True,
    regex='/peer="(?<text>[^"]+)".*public_key="(?<value>[^"]+)"/',
)
# SQL queries select gateways by name. "All" expands to the list of names, since SQL has no pattern for it.
GATEWAY = _values("gateway", "Gateway", f"label_values({of(promql.GATEWAY)}, gateway)", "", hidden=True)
FLEET = (DATASOURCE, JOB, ORGANISATION, INSTANCE)
