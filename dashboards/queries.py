"""Queries of panels: PromQL for the selected Prometheus, SQL for the selected PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from string import ascii_uppercase

from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import prometheus
from grafana_foundation_sdk.models.common import DataSourceRef

PROMETHEUS = DataSourceRef("prometheus", "${datasource}")
POSTGRESQL = DataSourceRef("grafana-postgresql-datasource", "${records}")
REFS = ascii_uppercase  # the names of the queries of a panel


class Sql(Dataquery):
    """An SQL query. The SDK has no class for queries of the PostgreSQL data source."""

    def __init__(self, sql: str, form: str = "table") -> None:
        self.sql, self.form, self.ref_id = sql, form, "A"

    def to_json(self) -> dict[str, object]:
        return {
            "datasource": POSTGRESQL,
            "editorMode": "code",
            "format": self.form,
            "rawQuery": True,
            "rawSql": self.sql,
            "refId": self.ref_id,
        }


def instant(queries: Mapping[str, str]) -> list[prometheus.Dataquery]:
    return [_query(ref, expression, legend, instant=True) for ref, legend, expression in _lettered(queries)]


def ranges(queries: Mapping[str, str]) -> list[prometheus.Dataquery]:
    return [_query(ref, expression, legend) for ref, legend, expression in _lettered(queries)]


def tables(queries: Sequence[str]) -> list[Dataquery]:
    form = prometheus.PromQueryFormat.TABLE
    return [
        _query(ref, expression, instant=True, form=form)
        for ref, expression in zip(REFS, queries, strict=False)
    ]


def _lettered(queries: Mapping[str, str]) -> Iterable[tuple[str, str, str]]:
    return ((ref, *query) for ref, query in zip(REFS, queries.items(), strict=False))


def _query(
    ref: str,
    expression: str,
    legend: str | None = None,
    *,
    instant: bool = False,
    form: prometheus.PromQueryFormat = prometheus.PromQueryFormat.TIME_SERIES,
) -> prometheus.Dataquery:
    return prometheus.Dataquery(
        datasource=PROMETHEUS,
        expr=expression,
        format_val=form,
        instant=instant,
        range_val=not instant,
        legend_format=legend,
        ref_id=ref,
    )
