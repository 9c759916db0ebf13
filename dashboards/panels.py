"""The kinds of panels: each has a title, a question as its description, queries and a unit.

Widths (`span`) are in 24ths of the screen. On a phone each panel has the full width and the same height.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common, geomap, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models.dashboard import (
    DashboardFieldConfigSourceOverrides as Override,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardLink,
    DataTransformerConfig,
    FieldConfig,
    FieldConfigSource,
    GridPos,
    Panel,
    ThresholdsConfig,
    ValueMap,
)

from dashboards.fields import PLAIN, UNIT_OF_TEXT, Column, fixed, in_table, matching, named
from dashboards.queries import POSTGRESQL, PROMETHEUS, REFS, Sql, instant, ranges, tables

_TEXT = common.BigValueTextMode
_BELOW = common.VizLegendOptions(
    common.LegendDisplayMode.LIST, common.LegendPlacement.BOTTOM, show_legend=True, calcs=[]
)


def stat_panel(
    title: str,
    question: str,
    queries: Mapping[str, str],
    unit: str = "short",
    *,
    thresholds: ThresholdsConfig = PLAIN,
    colours: Mapping[str, str] | None = None,
    mapping: ValueMap | None = None,
    only_names: bool = False,
    span: int = 6,
    height: int = 4,
) -> Panel:
    """One large number for each query. `queries`, `colours`: by legend; `only_names`: show the legend and not
    the number."""
    options = stat.Options(
        graph_mode=common.BigValueGraphMode.NONE,
        color_mode=common.BigValueColorMode.VALUE,
        text_mode=_TEXT.NAME if only_names else _TEXT.AUTO if len(queries) == 1 else _TEXT.VALUE_AND_NAME,
        reduce_options=common.ReduceDataOptions(calcs=["lastNotNull"]),
    )
    defaults = FieldConfig(unit=unit, thresholds=thresholds, mappings=[mapping] if mapping else None)
    overrides = [named(name, color=fixed(colour)) for name, colour in (colours or {}).items()]
    return _panel("stat", title, question, instant(queries), options, defaults, overrides, span, height)


def graph(
    title: str,
    question: str,
    queries: Mapping[str, str] | Sql,
    unit: str,
    *,
    mirrored: str = "",
    dashed: str = "",
    bars: bool = False,
    thresholds: ThresholdsConfig | None = None,
    link: DashboardLink | None = None,
    since: str | None = None,
    span: int = 12,
    height: int = 8,
) -> Panel:
    """Lines over time. `queries`: by legend; `mirrored`, `dashed`: patterns of legends to draw below zero, or
    dashed; `since`: a time range for this panel only."""
    custom = timeseries.FieldConfig(
        draw_style=common.GraphDrawStyle.BARS if bars else common.GraphDrawStyle.LINE,
        fill_opacity=80 if bars else 10,
        show_points=common.VisibilityMode.AUTO,
        thresholds_style=common.GraphThresholdsStyleConfig(common.GraphThresholdsStyleMode.LINE)
        if thresholds
        else None,
    )
    options = timeseries.Options(
        legend=_BELOW,
        tooltip=common.VizTooltipOptions(common.TooltipDisplayMode.MULTI, common.SortOrder.DESCENDING),
    )
    defaults = FieldConfig(unit=unit, thresholds=thresholds, custom=custom)
    defaults.links = [link] if link else None
    overrides = []
    if mirrored:
        overrides.append(matching(mirrored, **{"custom.transform": common.GraphTransform.NEGATIVE_Y}))
    if dashed:
        overrides.append(matching(dashed, **{"custom.lineStyle": common.LineStyle("dash", [10, 10])}))
    targets = [queries] if isinstance(queries, Sql) else ranges(queries)
    panel = _panel("timeseries", title, question, targets, options, defaults, overrides, span, height)
    panel.time_from = since
    return panel


def table_panel(
    title: str,
    question: str,
    queries: Sequence[str] | Sql,
    columns: Sequence[Column],
    *,
    empty: str,
    sort: str = "",
    span: int = 24,
    height: int = 9,
) -> Panel:
    """A table of several queries joined by their labels, or of an SQL result. `sort`: the title of the column
    to sort by, largest first; `empty`: the text shown when there are no rows."""
    targets: list[Dataquery] = [queries] if isinstance(queries, Sql) else tables(queries)
    options = table.Options(
        cell_height=common.TableCellHeight.SM,
        sort_by=[common.TableSortByFieldState(sort, True)] if sort else None,
    )
    order = {column.field: at for at, column in enumerate(columns)}
    panel = _panel(
        "table",
        title,
        question,
        targets,
        options,
        FieldConfig(unit=UNIT_OF_TEXT, custom=table.FieldConfig(filterable=True), no_value=empty),
        list(map(in_table, columns)),
        span,
        height,
    )
    panel.transformations = [
        DataTransformerConfig("merge", options={}),
        DataTransformerConfig("filterFieldsByName", options={"include": {"names": list(order)}}),
        DataTransformerConfig("organize", options={"indexByName": order}),
    ]
    return panel


def matrix(
    title: str,
    question: str,
    query: str,
    *,
    row: str,
    column: str,
    unit: str,
    thresholds: ThresholdsConfig = PLAIN,
    mapping: ValueMap | None = None,
    span: int = 24,
    height: int = 10,
) -> Panel:
    """A table with a row for each value of the label `row` and a column for each of the label `column`."""
    defaults = FieldConfig(
        unit=unit,
        thresholds=thresholds,
        mappings=[mapping] if mapping else None,
        custom=table.FieldConfig(cell_options=common.TableColoredBackgroundCellOptions()),
    )
    options = table.Options(cell_height=common.TableCellHeight.MD)
    heads = named(f"{row}\\{column}", **{"custom.cellOptions": common.TableAutoCellOptions()})
    panel = _panel("table", title, question, tables([query]), options, defaults, [heads], span, height)
    panel.transformations = [
        DataTransformerConfig(
            "groupingToMatrix",
            options={"rowField": row, "columnField": column, "valueField": "Value", "emptyValue": "null"},
        )
    ]
    return panel


def timeline(
    title: str,
    question: str,
    query: str,
    legend: str,
    mapping: ValueMap,
    *,
    link: DashboardLink | None = None,
    span: int = 24,
    height: int = 10,
) -> Panel:
    """A horizontal band for each series, coloured by value."""
    options = statetimeline.Options(
        show_value=common.VisibilityMode.NEVER,
        legend=_BELOW,
    )
    defaults = FieldConfig(unit="short", mappings=[mapping], custom=statetimeline.FieldConfig())
    defaults.links = [link] if link else None
    return _panel(
        "state-timeline", title, question, ranges({legend: query}), options, defaults, [], span, height
    )


def map_panel(
    title: str,
    question: str,
    queries: Mapping[str, str],
    *,
    colour: str,
    thresholds: ThresholdsConfig,
    span: int = 12,
    height: int = 12,
) -> Panel:
    """A map of sites. `queries`: by name, all with the label `site`; two of them must be named latitude and
    longitude. `colour`: the name of the query that decides the colour of a site."""
    marker = {
        "showLegend": False,
        "style": {
            "color": {"field": colour},
            "opacity": 0.8,
            "size": {"fixed": 12},
            "symbol": {"fixed": "img/icons/marker/circle.svg", "mode": "fixed"},
            "text": {"field": "site", "mode": "field"},
            "textConfig": {"fontSize": 14, "offsetY": -18, "textAlign": "center", "textBaseline": "middle"},
        },
    }
    places = common.MapLayerOptions("markers", "Sites", marker, tooltip=True)
    places.location = common.FrameGeometrySource(
        common.FrameGeometrySourceMode.COORDS, latitude="latitude", longitude="longitude"
    )
    options = geomap.Options(
        view=geomap.MapViewConfig("fit", padding=20),
        controls=geomap.ControlsOptions(show_zoom=True, show_attribution=True),
        basemap=common.MapLayerOptions("default", "Background"),
        layers=[places],
        tooltip=geomap.TooltipOptions(geomap.TooltipMode.DETAILS),
    )
    panel = _panel(
        "geomap",
        title,
        question,
        tables(list(queries.values())),
        options,
        FieldConfig(unit="short", thresholds=thresholds),
        [],
        span,
        height,
    )
    names = {f"Value #{ref}": name for ref, name in zip(REFS, queries, strict=False)}
    panel.transformations = [
        DataTransformerConfig("merge", options={}),
        DataTransformerConfig("organize", options={"excludeByName": {"Time": True}, "renameByName": names}),
    ]
    return panel


def _panel(
    kind: str,
    title: str,
    question: str,
    targets: Sequence[Dataquery],
    options: object,
    defaults: FieldConfig,
    overrides: Sequence[Override],
    span: int,
    height: int,
) -> Panel:
    source = POSTGRESQL if isinstance(targets[0], Sql) else PROMETHEUS
    return Panel(
        type_val=kind,
        title=title,
        description=question,
        datasource=source,
        targets=list(targets),
        options=options,
        field_config=FieldConfigSource(defaults, list(overrides)),
        grid_pos=GridPos(h=height, w=span),
    )
