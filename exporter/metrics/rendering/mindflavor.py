"""Pages as MindFlavor/prometheus_wireguard_exporter writes them.

A blank line is between the families, and a family has its header even without series.
"""

from __future__ import annotations

from collections.abc import Iterator

from exporter.metrics.declarations.content import MindFlavorContent
from exporter.metrics.rendering.lines import chunks, pieces
from exporter.metrics.rendering.text import head, labels, tables

MINDFLAVOR_CONTENT_TYPE = "text/plain; version=0.0.4"


def render_mindflavor(content: MindFlavorContent, *, gzip: bool) -> list[bytes]:
    """The page in pieces; with `gzip`, as one gzip member."""
    return pieces(_page(content), gzip=gzip)


def _page(content: MindFlavorContent) -> Iterator[bytes]:
    blank = b""
    series = [labels(pairs) for pairs in content.labels]
    for family, column in content.columns.items():
        yield blank + head(family, openmetrics=False).encode()
        values = zip(series, column, strict=True)
        yield from chunks(family, (f"{name} {value}" for name, value in values if value is not None))
        blank = b"\n"
    yield tables(content.tables, openmetrics=False)
