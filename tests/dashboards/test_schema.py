"""Dashboards against Grafana's schema, as the models of its SDK define it: names, types and choices.

The models are generated from the schema but accept wrong values. These tests compare all values with the type
annotations of the models, and check that reading a file with the SDK loses nothing.
"""

from __future__ import annotations

import json
import sys
import typing
from collections.abc import Iterator
from types import UnionType
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard, GridPos, Panel, VariableHide, VariableModel

from dashboards import generated
from tests.dashboards.grafana import DASHBOARDS, panels

COLUMNS = 24  # the width of the screen
BUILT = {str(one.uid): one for one in generated.dashboards()}


def problems(value: Any, hint: Any, path: str) -> Iterator[str]:
    """All parts of a value that do not have the annotated type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, UnionType):
        found = [list(problems(value, one, path)) for one in arguments]
        if all(found):
            yield from max(found, key=lambda one: len(one[0].partition(": ")[0]))  # the deepest mismatch
    elif origin is typing.Literal:
        if value not in arguments:
            yield f"{path}: {value!r} is not one of {arguments}"
    elif origin in (list, dict) and isinstance(value, origin):
        for at, one in value.items() if origin is dict else enumerate(value):
            yield from problems(one, arguments[-1], f"{path}.{at}")
    elif hint is float and type(value) is int:
        pass
    elif isinstance(hint, type) and (
        not isinstance(value, hint) or (hint is int and isinstance(value, bool))
    ):
        yield f"{path}: {value!r} is not {hint.__name__}"
    elif type(value).__module__.startswith("grafana_foundation_sdk.models") and hasattr(value, "to_json"):
        yield from attributes(value, path)


def attributes(model: Any, path: str) -> Iterator[str]:
    hints = typing.get_type_hints(type(model), vars(sys.modules[type(model).__module__]))
    for name, value in vars(model).items():
        yield from problems(value, hints[name], f"{path}.{name}")


@pytest.mark.parametrize("name", BUILT)
def test_values_have_the_types_of_the_schema(name: str) -> None:
    """Each value of a dashboard, including the options of plugins, has the type of the schema."""
    assert list(problems(BUILT[name], Dashboard, name)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        Dashboard(title=7),  # type: ignore[arg-type]
        Dashboard(panels=[Panel(grid_pos=GridPos(h="9"))]),  # type: ignore[arg-type]
        Dashboard(panels=[Panel(repeat_direction="x")]),  # type: ignore[arg-type]
        Dashboard(panels=[Panel(options=GridPos(w=1.5))]),  # type: ignore[arg-type]
        Dashboard(panels=[VariableModel()]),  # type: ignore[list-item]
        Dashboard(graph_tooltip=VariableHide.DONT_HIDE),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_value_is_reported(wrong: Dashboard) -> None:
    """A value of a wrong type is reported, also in the options of plugins."""
    assert list(problems(wrong, Dashboard, ""))


@pytest.mark.parametrize("name", DASHBOARDS)
def test_reading_loses_nothing(name: str) -> None:
    """The SDK reads and writes each file without change, so it has no key outside the schema."""
    again = json.loads(json.dumps(Dashboard.from_json(DASHBOARDS[name]), cls=JSONEncoder))
    assert again == DASHBOARDS[name]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_fit_the_screen(name: str) -> None:
    """Panels have unique numbers, fit into the columns and do not overlap."""
    dashboard = DASHBOARDS[name]
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len({*numbers}) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS
        squares = {
            (place["x"] + across, place["y"] + down)
            for across in range(place["w"])
            for down in range(place["h"])
        }
        assert not squares & taken
        taken |= squares


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_fit_a_wall_and_a_phone(name: str) -> None:
    """Panels are wide enough to read from a distance, and fit the height of a phone (a unit is 38 pixels)."""
    for panel in panels(DASHBOARDS[name]):
        assert panel["gridPos"]["w"] >= (4 if panel["type"] == "stat" else 8), panel["title"]
        assert 4 <= panel["gridPos"]["h"] <= 14, panel["title"]
