"""Accept and Accept-Encoding: what a client gets for each header."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.accept import accepts_gzip, prefers_openmetrics, weights

OPEN = "application/openmetrics-text"
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3_TEXT = (
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.4"
)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),  # a browser
        (OPEN, True),
        (f"{OPEN}; version=1.0.0; charset=utf-8", True),
        (OPEN.upper(), True),
        (PROMETHEUS_2, True),
        (PROMETHEUS_3, True),
        (PROMETHEUS_3_TEXT, False),
        (f"{OPEN};q=0", False),
        (f"{OPEN};q=0,*/*", False),
        (f"text/plain,{OPEN};q=0.9", False),
        (f"text/plain;q=0.9,{OPEN}", True),
        (f"text/plain;q=0.5,{OPEN};q=0.5", True),
        (f"{OPEN};q=0.2,text/plain;version=0.0.4;q=0.1,text/plain;q=0.3", False),
        (f"{OPEN};q=nonsense", False),
        (f"{OPEN};q=nan", False),
        (f"{OPEN};q=", False),
        (";;;,,,=;q", False),
        (f"x{OPEN}", False),
    ],
)
def test_which_format_a_client_gets(accept: str, wanted: bool) -> None:
    """A client gets OpenMetrics if it names it with at least the weight of plain text, else plain text."""
    assert prefers_openmetrics(accept) is wanted


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("gzip ; Q = 0.1", True),
        ("gzip;q=abc", False),
        ("gzip;q=nan", False),
        ("gzip;q=inf", True),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("identity", False),
        ("identity;q=1, gzip;q=0.5", False),
        ("identity;q=0.5, gzip", True),
        ("br, deflate", False),
        ("gzipped", False),
        (",,;;q", False),
    ],
)
def test_gzip_is_chosen_as_rfc_9110_says(header: str, expected: bool) -> None:
    """Weights, wildcards and refusals decide, and an element that cannot be read counts as a refusal."""
    assert accepts_gzip(header) is expected


def test_a_repeated_element_has_its_highest_weight() -> None:
    """Of one media type with different parameters, the highest weight counts, never below 0 or above 1."""
    assert weights("a;v=1;q=0.2, A ; v=2; q = 0.7, b;q=-1, c;q=9, d;q=1e999, e;q=nan") == {
        "a": 0.7,
        "b": 0.0,
        "c": 1.0,
        "d": 1.0,
        "e": 0.0,
    }


@given(st.text(max_size=60))
def test_no_header_is_an_error(header: str) -> None:
    """Every header has an answer, and every weight is between 0 and 1."""
    assert accepts_gzip(header) in (True, False)
    assert prefers_openmetrics(header) in (True, False)
    assert all(0 <= weight <= 1 for weight in weights(header).values())
