"""What the pages of the other exporters' schemas have in common: lines in chunks, and gzip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from isal import igzip

from exporter.metrics.declarations.family import Family
from exporter.metrics.rendering.deflate import LEVEL

LINES_PER_CHUNK = 512  # so that other threads run while the page of a large gateway is rendered


def chunks(family: Family, series: Iterable[str]) -> Iterator[bytes]:
    """The lines of a family, from series without its name, in chunks.

    Half a surrogate pair, which JSON can spell and UTF-8 cannot, becomes a question mark.
    """
    left = iter(series)
    while chunk := list(islice(left, LINES_PER_CHUNK)):
        yield (family.name + f"\n{family.name}".join(chunk) + "\n").encode("utf-8", "replace")


def pieces(page: Iterable[bytes], *, gzip: bool) -> list[bytes]:
    """The page in pieces; with `gzip`, as one gzip member."""
    return [igzip.compress(b"".join(page), LEVEL)] if gzip else list(page)
