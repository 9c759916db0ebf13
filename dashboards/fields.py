"""How values are displayed: units, colours, texts and table columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from grafana_foundation_sdk.models.common import TableColorTextCellOptions
from grafana_foundation_sdk.models.dashboard import (
    DashboardFieldConfigSourceOverrides as Override,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardLink,
    DynamicConfigValue,
    FieldColor,
    FieldColorModeId,
    MatcherConfig,
    Threshold,
    ThresholdsConfig,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)

from dashboards.promql import STATES

UNIT_OF_TEXT = "string"
STATE_COLOURS = {
    "active": "green",
    "idle": "blue",
    "never": "text",
    "stale": "red",
    "one-way": "orange",
    "clock-skew": "purple",
    "unobserved": "dark-red",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A table column. `field`: a label, the value of a query ("Value #A"), or a column of an SQL result."""

    field: str
    title: str
    unit: str = UNIT_OF_TEXT
    limits: ThresholdsConfig | None = None  # for the colour of the text
    link: DashboardLink | None = None
    mapping: ValueMap | None = None


def limits(first: str = "green", **above: float) -> ThresholdsConfig:
    """Colours by value: `first`, then each of `above` from its value up: `limits(orange=0.5, red=0.8)`."""
    steps = [Threshold(None, first), *(Threshold(value, colour) for colour, value in above.items())]
    return ThresholdsConfig(ThresholdsMode.ABSOLUTE, steps)


PLAIN = limits("text")


def words(texts: Mapping[int, tuple[str, str]]) -> ValueMap:
    """Map integer values to a text and a colour."""
    return ValueMap(
        {
            str(value): ValueMappingResult(text, colour, index=at)
            for at, (value, (text, colour)) in enumerate(texts.items())
        }
    )


STATE_WORDS = words({number: (state, STATE_COLOURS[state]) for number, state in enumerate(STATES)})
YES_OR_NO = words({1: ("yes", "green"), 0: ("no", "red")})


def in_table(column: Column) -> Override:
    properties: dict[str, object] = {"displayName": column.title, "unit": column.unit}
    if column.limits:
        properties["thresholds"] = column.limits
    if column.mapping:
        properties["mappings"] = [column.mapping]
    if column.limits or column.mapping:
        properties["custom.cellOptions"] = TableColorTextCellOptions()
    if column.link:
        properties["links"] = [column.link]
    return named(column.field, **properties)


def fixed(colour: str) -> FieldColor:
    return FieldColor(FieldColorModeId.FIXED, colour)


def named(name: str, **properties: object) -> Override:
    return _override("byName", name, properties)


def matching(pattern: str, **properties: object) -> Override:
    return _override("byRegexp", f"/{pattern}/", properties)


def _override(matcher: str, operand: str, properties: Mapping[str, object]) -> Override:
    values = [DynamicConfigValue(name, value) for name, value in properties.items()]
    return Override(matcher=MatcherConfig(matcher, operand), properties=values)
