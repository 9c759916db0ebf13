"""Pages as mdlayher/wireguard_exporter writes them: a family without series has no header."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from exporter.metrics.declarations.content import MdlayherContent
from exporter.metrics.rendering.lines import chunks, pieces
from exporter.metrics.rendering.text import PROMETHEUS, SPECIAL, escape, head, labels, tables

MDLAYHER_CONTENT_TYPE = PROMETHEUS


def render_mdlayher(content: MdlayherContent, *, gzip: bool) -> list[bytes]:
    """The page in pieces; with `gzip`, as one gzip member."""
    return pieces(_page(content), gzip=gzip)


def _page(content: MdlayherContent) -> Iterator[bytes]:
    for group in content.groups:
        series = _series(group.labels)
        for family, column in group.columns.items() if series else ():
            yield head(family, openmetrics=False).encode()
            values = zip(series, column, strict=True)
            yield from chunks(family, (f"{name} {go_float(value)}" for name, value in values))
    yield tables(content.tables, openmetrics=False)


def _series(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """The labels of each series, as text. Writing their names once is several times as fast."""
    template = labels(dict.fromkeys(columns, "%s"))
    return [template % row for row in zip(*map(_escaped, columns.values()), strict=True)]


def _escaped(column: Sequence[str]) -> Sequence[str]:
    together = "".join(column)
    if any(special in together for special in SPECIAL):
        return [escape(value) for value in column]
    return column


def go_float(value: int) -> str:
    """A count as Go prints a float64 in its shortest form (`strconv.FormatFloat(v, 'g', -1, 64)`).

    >>> go_float(999_999), go_float(1_000_000), go_float(1_588_274_629)
    ('999999', '1e+06', '1.588274629e+09')

    From an exponent of 6 digits it writes one digit before the point (golang.org/src/strconv/ftoa.go), and
    beyond 2^53 the nearest float64 is shown, as with every number that Prometheus stores.
    """
    if value < 10**6:
        return str(value)
    if value >= 10**16:  # from here on, Python writes the exponent as Go does
        return repr(float(value))
    digits = str(value if value < 2**53 else int(float(value)))
    fraction = digits[1:].rstrip("0")
    return f"{digits[0]}{'.' if fraction else ''}{fraction}e+{len(digits) - 1:02}"
