"""The text format that Prometheus reads: labels, numbers, headers, families.

prometheus.io/docs/instrumenting/exposition_formats, and the OpenMetrics 1.0 specification.
"""

from __future__ import annotations

from collections.abc import Mapping

from exporter.metrics.declarations.content import Samples, Tables
from exporter.metrics.declarations.family import Family

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

SPECIAL = '\\\n"'  # characters that are escaped in a label value


def escape(value: str) -> str:
    """An escaped label value. `str.translate` would take thirty times as long."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def encoded(text: str) -> bytes:
    """The text as UTF-8. Names on Linux can have any bytes; those that are not UTF-8 are escaped."""
    return text.encode("utf-8", "backslashreplace")


def labels(pairs: Mapping[str, str]) -> str:
    """Labels as text, such as `{a="1",b="2"}`; empty without labels."""
    inside = ",".join([f'{name}="{escape(value)}"' for name, value in pairs.items()])
    return f"{{{inside}}}" if inside else ""


def number(value: float) -> str:
    """A number as text. Integers are written in full, because a counter that loses digits looks reset."""
    return repr(int(value)) if value == int(value) else repr(float(value))


def head(family: Family, *, openmetrics: bool) -> str:
    """The HELP and TYPE lines of a family.

    OpenMetrics names the family of a counter or an info without the suffix of its samples. 0.0.4 has no
    type `info`; there it is a gauge.
    """
    name, kind = family.name, family.kind
    if openmetrics:
        name = name.removesuffix({"counter": "_total", "info": "_info"}.get(kind, ""))
        help_text = escape(family.help)
    else:
        kind = "gauge" if kind == "info" else kind
        help_text = family.help.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {help_text}\n# TYPE {name} {kind}\n"


def table(family: Family, samples: Samples, *, openmetrics: bool) -> str:
    """A whole family; empty without samples."""
    if not samples:
        return ""
    lines = [f"{family.name}{labels(pairs)} {number(value)}\n" for pairs, value in samples]
    return head(family, openmetrics=openmetrics) + "".join(lines)


def tables(found: Tables, *, openmetrics: bool) -> bytes:
    """The families with few samples, one after the other."""
    return encoded("".join([table(family, found[family], openmetrics=openmetrics) for family in found]))
