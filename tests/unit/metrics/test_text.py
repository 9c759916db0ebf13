"""Text and its compression, against zlib and against the two parsers of prometheus-client."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from exporter.metrics.families import Family, Samples, number
from exporter.metrics.text import combine, deflate, encoded, escape, gzip, head, inflate, join, joined, labels
from tests.kit.gateways import MOST, TEXTS, unzip

PIECES = st.lists(st.binary(max_size=300) | st.sampled_from((b"", b"\0" * 7, b"a" * 70_000)), max_size=6)
READERS: dict[bool, Callable[[str], Iterable[Metric]]] = {False: read_prometheus, True: read_openmetrics}
FORMATS = pytest.mark.parametrize("openmetrics", [False, True], ids=["prometheus", "openmetrics"])


def read(text: str, *, openmetrics: bool) -> Metric:
    """The only family of a text."""
    (family,) = READERS[openmetrics](text + "# EOF\n" * openmetrics)
    return family


@given(st.lists(PIECES, max_size=4))
def test_gzip_is_one_member_with_the_text(runs: list[list[bytes]]) -> None:
    """Pieces compressed apart are one gzip member of the whole text, which any client reads to its end."""
    joins = [join((deflate(text), None) for text in run) for run in runs]
    assert unzip(gzip(joins)) == b"".join(text for run in runs for text in run)


@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=6))
def test_join_needs_no_text(pieces: list[tuple[bytes, bool]]) -> None:
    """The checksum and size of a run are the whole text's, whichever of its texts are at hand."""
    run = join((deflate(text), text if at_hand else None) for text, at_hand in pieces)
    whole = b"".join(text for text, _ in pieces)
    assert (run.crc, run.size) == (zlib.crc32(whole), len(whole))


def test_join_says_the_same_of_the_same() -> None:
    """A run of which no piece changed is the one it was; one that changed is not."""
    first, second, third = (deflate(text) for text in (b"first", b"second", b"third"))
    before = join([(first, None), (second, None)])
    assert join([(first, None), (second, None)], before) is before
    assert join([(first, None), (third, None)], before).crc == zlib.crc32(b"firstthird")
    assert join([(first, None)], before).crc == zlib.crc32(b"first")


@given(st.binary())
def test_joined_is_a_run_of_one(text: bytes) -> None:
    """A text on its own is a run that says its checksum and size."""
    run = joined(text)
    assert (run.crc, run.size) == (zlib.crc32(text), len(text))
    assert unzip(gzip([run])) == text


@given(st.binary())
def test_inflate_undoes_deflate(text: bytes) -> None:
    """A compressed piece gives its text again."""
    assert inflate(deflate(text)) == text


@given(st.binary(), st.binary())
def test_combine_is_the_checksum_of_both(first: bytes, second: bytes) -> None:
    """The CRC of two texts follows from theirs and the length of the second."""
    assert combine(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), *[st.integers(0, 2**45)] * 2)
def test_combine_takes_any_length(first: int, second: int, short: int, more: int) -> None:
    """Lengths add up, also those of texts too long to be made here: appending twice is appending both."""
    twice = combine(combine(first, 0, short), second, more)
    assert twice == combine(first, second, short + more)


@FORMATS
@given(values=st.dictionaries(st.sampled_from(("a", "interface", "public_key", "_b")), TEXTS))
def test_label_values_come_back(openmetrics: bool, values: dict[str, str]) -> None:
    """Quotes, backslashes, newlines, percent signs and any other text in a label are read as written."""
    line = f"x{labels(values)} 1\n"
    assert line.count("\n") == 1
    assert read("# TYPE x gauge\n" + line, openmetrics=openmetrics).samples[0].labels == values


def test_escapes() -> None:
    """The three characters that the format escapes, a backslash first; nothing else changes."""
    assert escape('a\\n"b"\n%ü\t\r') == 'a\\\\n\\"b\\"\\n%ü\t\r'
    assert labels({}) == ""
    assert labels({"b": '"', "a": ""}) == '{b="\\"",a=""}'


@FORMATS
@given(text=TEXTS.map(str.strip).filter(bool))
def test_help_comes_back(openmetrics: bool, text: str) -> None:
    """A HELP text is one line and is read as written, whatever it holds."""
    lines = head("x", "gauge", text, openmetrics=openmetrics)
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
def test_head_names_the_family_as_the_format_does(kind: str, openmetrics: bool, lines: str) -> None:
    """OpenMetrics leaves the suffix to the samples and knows infos; 0.0.4 names the samples and does not."""
    name = {"counter": "x_total", "info": "x_info"}.get(kind, "x_gauge")
    assert head(name, kind, "Help.", openmetrics=openmetrics) == lines


@given(st.integers(0, MOST))
def test_integers_are_written_in_full(value: int) -> None:
    """No integer is shortened to an exponent: a counter that loses digits looks like one that was reset."""
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
def test_family_text(kind: str, openmetrics: bool, found: list[tuple[str, int]]) -> None:
    """A family's text says its type, help and samples, in both formats."""
    name = {"counter": "x_total", "info": "x_info"}.get(kind, "x")
    samples: Samples = [({"l": text}, 1 if kind == "info" else value) for text, value in found]
    family = read(Family(name, kind, "Help.").text(samples, openmetrics=openmetrics), openmetrics=openmetrics)
    assert family.documentation == "Help."
    assert family.type == ("gauge" if kind == "info" and not openmetrics else kind)
    assert [(one.labels, one.value) for one in family.samples] == samples
    assert {one.name for one in family.samples} == {name}


@FORMATS
def test_family_without_samples(openmetrics: bool) -> None:
    """A family without samples is no line at all."""
    assert Family("x", "gauge", "Help.").text([], openmetrics=openmetrics) == ""


def test_a_name_that_is_no_utf8_harms_no_page() -> None:
    """A socket or a namespace may have any name; the page shows the odd bytes and is sent all the same."""
    odd = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert encoded(labels({"interface": odd})) == rb'{interface="caf\udce9"}'
