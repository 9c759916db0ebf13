"""Pages in the native schema. Pieces that did not change since the last page are not rendered again."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.metrics.declarations.content import NativeContent
from exporter.metrics.rendering.blocks import InterfaceText
from exporter.metrics.rendering.deflate import gzipped, joined
from exporter.metrics.rendering.text import head, tables

END = b"# EOF\n"  # of a page in OpenMetrics


class NativeRenderer:
    """Renders pages, one at a time, on one thread. Keeps the text of peers between them."""

    def __init__(self) -> None:
        self._texts: dict[str, InterfaceText] = {}  # by interface

    def render(self, content: NativeContent, *, openmetrics: bool, gzip: bool) -> list[bytes]:
        """The page in pieces; with `gzip`, those of one gzip member."""
        self._texts = {
            peers.interface: self._texts.get(peers.interface) or InterfaceText(peers.interface)
            for peers in content.interfaces
        }
        for peers in content.interfaces:
            self._texts[peers.interface].update(peers)
        return self._compressed(content, openmetrics) if gzip else list(self._plain(content, openmetrics))

    def _plain(self, content: NativeContent, openmetrics: bool) -> Iterator[bytes]:
        yield tables(content.tables, openmetrics=openmetrics)
        for family in content.peer_families:
            title = head(family, openmetrics=openmetrics).encode()
            for peers in content.interfaces:
                for lines in self._texts[peers.interface].lines(family, peers):
                    if lines:
                        yield title + lines
                        title = b""
        if openmetrics:
            yield END

    def _compressed(self, content: NativeContent, openmetrics: bool) -> list[bytes]:
        runs = [joined(tables(content.tables, openmetrics=openmetrics))]
        for family in content.peer_families:
            found = [self._texts[peers.interface].joined(family, peers) for peers in content.interfaces]
            found = [run for run in found if run.size]
            if found:
                runs += [joined(head(family, openmetrics=openmetrics).encode()), *found]
        if openmetrics:
            runs.append(joined(END))
        return gzipped(runs)
