"""The text format, read by the two parsers of prometheus-client."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from exporter.metrics.declarations.content import Samples
from exporter.metrics.declarations.family import Family, Kind
from exporter.metrics.rendering.text import encoded, escape, head, labels, number, table, tables
from tests.kit.gateways import MOST, TEXTS

READERS: dict[bool, Callable[[str], Iterable[Metric]]] = {False: read_prometheus, True: read_openmetrics}
FORMATS = pytest.mark.parametrize("openmetrics", [False, True], ids=["prometheus", "openmetrics"])


def read(text: str, *, openmetrics: bool) -> Metric:
    """The only family of a text."""
    (family,) = READERS[openmetrics](text + "# EOF\n" * openmetrics)
    return family


@FORMATS
@given(values=st.dictionaries(st.sampled_from(("a", "interface", "public_key", "_b")), TEXTS))
def test_label_values_come_back(openmetrics: bool, values: dict[str, str]) -> None:
    """A parser reads quotes, backslashes, newlines and any other text in a label as written."""
    line = f"x{labels(values)} 1\n"
    assert line.count("\n") == 1
    assert read("# TYPE x gauge\n" + line, openmetrics=openmetrics).samples[0].labels == values


def test_escapes() -> None:
    """Backslash, newline and quote are escaped; nothing else changes."""
    assert escape('a\\n"b"\n%ü\t\r') == 'a\\\\n\\"b\\"\\n%ü\t\r'
    assert labels({}) == ""
    assert labels({"b": '"', "a": ""}) == '{b="\\"",a=""}'


@FORMATS
@given(text=TEXTS.map(str.strip).filter(bool))
def test_help_comes_back(openmetrics: bool, text: str) -> None:
    """Any HELP text is one line, and a parser reads it as written."""
    lines = head(Family("x", "gauge", text), openmetrics=openmetrics)
    assert lines.count("\n") == 2
    assert read(lines + "x 1\n", openmetrics=openmetrics).documentation == text


@pytest.mark.parametrize(
    ("kind", "openmetrics", "lines"),
    [
        ("counter", False, "# HELP x_total Help.\n# TYPE x_total counter\n"),
        ("counter", True, "# HELP x Help.\n# TYPE x counter\n"),
        ("info", False, "# HELP x_info Help.\n# TYPE x_info gauge\n"),
        ("info", True, "# HELP x Help.\n# TYPE x info\n"),
        ("gauge", False, "# HELP x_gauge Help.\n# TYPE x_gauge gauge\n"),
        ("gauge", True, "# HELP x_gauge Help.\n# TYPE x_gauge gauge\n"),
    ],
)
def test_head_names_the_family_as_the_format_does(kind: Kind, openmetrics: bool, lines: str) -> None:
    """OpenMetrics has no suffix and knows infos. 0.0.4 has the samples' name, and an info is a gauge."""
    name = {"counter": "x_total", "info": "x_info"}.get(kind, "x_gauge")
    assert head(Family(name, kind, "Help."), openmetrics=openmetrics) == lines


@given(st.integers(0, MOST))
def test_integers_are_written_in_full(value: int) -> None:
    """No integer gets an exponent, because a counter that loses digits looks like one that was reset."""
    assert number(value) == str(value)


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (1e20, "100000000000000000000"), (0.000123, "0.000123"), (-1.5, "-1.5")]
)
def test_other_numbers(value: float, text: str) -> None:
    """Whole floats are written as integers, others as their shortest exact form."""
    assert number(value) == text


@FORMATS
@pytest.mark.parametrize("kind", ["counter", "gauge", "info"])
@given(found=st.lists(st.tuples(TEXTS, st.integers(0, MOST)), unique_by=lambda pair: pair[0], min_size=1))
def test_family_text(kind: Kind, openmetrics: bool, found: list[tuple[str, int]]) -> None:
    """The text of a family has its type, help and samples, in both formats."""
    name = {"counter": "x_total", "info": "x_info"}.get(kind, "x")
    samples: Samples = [({"l": text}, 1 if kind == "info" else value) for text, value in found]
    family = read(
        table(Family(name, kind, "Help."), samples, openmetrics=openmetrics), openmetrics=openmetrics
    )
    assert family.documentation == "Help."
    assert family.type == ("gauge" if kind == "info" and not openmetrics else kind)
    assert [(one.labels, one.value) for one in family.samples] == samples
    assert {one.name for one in family.samples} == {name}


@FORMATS
def test_family_without_samples(openmetrics: bool) -> None:
    """A family without samples has no line."""
    assert table(Family("x", "gauge", "Help."), [], openmetrics=openmetrics) == ""


def test_names_that_are_not_utf8() -> None:
    """Bytes that are not UTF-8, as in the name of a socket or a namespace, are escaped."""
    odd = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert encoded(labels({"interface": odd})) == rb'{interface="caf\udce9"}'


def test_tables_are_in_their_order() -> None:
    """Families are in the order of the mapping, without those that have no samples."""
    first, second, empty = (Family(name, "gauge", "Help.") for name in ("b", "a", "c"))
    found = tables({first: [({}, 1)], empty: [], second: [({"l": "x"}, 0.5)]}, openmetrics=False)
    head_of = "# HELP {0} Help.\n# TYPE {0} gauge\n{0}".format
    assert found.decode() == f'{head_of("b")} 1\n{head_of("a")}{{l="x"}} 0.5\n'
