"""From a request to its page: one reading at a time, on one thread, shared by all who ask meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from isal import igzip
from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry
from prometheus_client import exposition as prometheus_text
from prometheus_client.openmetrics import exposition as openmetrics_text

from exporter.accept import prefers_openmetrics
from exporter.config import Config
from exporter.directory.watch import DirectoryWatch
from exporter.health import Health
from exporter.metrics import compat
from exporter.metrics.exporter import EXPORTER_FAMILIES, Serving, exporter_samples
from exporter.metrics.families import INTERFACE_FAMILIES, SOME_PEERS_FAMILIES, RecordedTotals
from exporter.metrics.native import NativePages, tables
from exporter.metrics.recording import RECORDING_FAMILIES, recording_samples
from exporter.metrics.sites import SITE_FAMILIES, site_samples
from exporter.metrics.text import LEVEL, OPENMETRICS, PROMETHEUS, encoded
from exporter.model import Snapshot
from exporter.observe import Observer
from exporter.recording import RecordingState
from exporter.sources.gateway import Gateway
from exporter.web.messages.page import Page

LOOK_BACK = 10.0  # seconds: two tries of a handshake, which WireGuard repeats every 5 (REKEY_TIMEOUT)


@dataclass(slots=True)
class Round:
    """One reading, and the pages made of it so far."""

    reading: Future[Snapshot]
    pages: dict[tuple[bool, bool], asyncio.Task[Page]] = field(default_factory=dict)


class Scraper:
    """Makes pages. `serving` tells what the rest of the daemon counts, `recording` how the recording goes,
    `totals` what is recorded."""

    def __init__(
        self,
        gateway: Gateway,
        config: Config,
        directory: DirectoryWatch,
        serving: Callable[[], Serving] = Serving,
        recording: RecordingState | None = None,
        totals: Callable[[], Mapping[str, RecordedTotals]] | None = None,
    ) -> None:
        self._gateway = gateway
        self._config = config
        self._directory = directory
        self._serving = serving
        self._recording = recording
        self._observer = Observer(LOOK_BACK)
        self._health = Health()
        self._native = NativePages(config.organisation, totals, lifetime=config.recording.lifetime_counters)
        self._process = CollectorRegistry()
        for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
            self._process.register(collector)
        self._worker = ThreadPoolExecutor(1, "scrape")
        self._round: Round | None = None
        self.last_duration: float | None = None  # seconds

    async def scrape(self, accept: str, gzip: bool) -> Page:
        """The page for an Accept header. Requests that come while a reading or its first page is under way
        get what it gives."""
        kind = self._config.metrics.schema == "native" and prefers_openmetrics(accept), gzip
        current = self._round
        if current is None:
            current = self._round = Round(self._worker.submit(self._read))
        page = current.pages.get(kind)
        if page is None:
            page = current.pages[kind] = asyncio.ensure_future(self._page(current, *kind))
        return await asyncio.shield(page)

    async def read(self) -> Snapshot:
        """A reading without a page, shared with the scrapes that come meanwhile."""
        current = self._round
        if current is None:
            current = self._round = Round(self._worker.submit(self._read))
        try:
            return await asyncio.shield(asyncio.wrap_future(current.reading))
        finally:
            if self._round is current and not current.pages:
                self._round = None

    def close(self) -> None:
        self._worker.shutdown(wait=True, cancel_futures=True)

    async def _page(self, current: Round, openmetrics: bool, gzip: bool) -> Page:
        started = time.monotonic()
        try:
            # Behind the reading on the same thread, so that its result is there and nobody waits for it.
            work = self._worker.submit(lambda: self._render(current.reading.result(), openmetrics, gzip))
            return await asyncio.wrap_future(work)
        finally:
            self.last_duration = time.monotonic() - started
            if self._round is current:
                self._round = None

    def _read(self) -> Snapshot:
        snapshot = self._gateway.read()
        self._observer.update(snapshot)
        self._health.update(snapshot)
        return snapshot

    def _render(self, snapshot: Snapshot, openmetrics: bool, gzip: bool) -> Page:
        schema = self._config.metrics.schema
        generation, directory = self._directory.generation, self._directory.current  # in this order
        extra = self._about_itself(snapshot, openmetrics)
        if schema == "native":
            gathered, samples = self._native.gather(snapshot, self._observer.devices, directory, generation)
            samples |= site_samples(directory)
            rest = [
                *tables(
                    samples,
                    (*INTERFACE_FAMILIES, *SOME_PEERS_FAMILIES, *SITE_FAMILIES),
                    openmetrics=openmetrics,
                ),
                *extra,
            ]
            kind = OPENMETRICS if openmetrics else PROMETHEUS
            if gzip:
                return Page(kind, "gzip", self._native.compressed(gathered, rest, openmetrics=openmetrics))
            return Page(kind, "", list(self._native.plain(gathered, rest, openmetrics=openmetrics)))
        chunks, kind = self._compatible(snapshot)
        whole = [*chunks, *map(encoded, extra)]
        return Page(kind, "gzip", [igzip.compress(b"".join(whole), LEVEL)]) if gzip else Page(kind, "", whole)

    def _compatible(self, snapshot: Snapshot) -> tuple[Iterator[bytes], str]:
        lookup = self._directory.current.get
        if self._config.metrics.schema == "mdlayher":
            return compat.mdlayher(snapshot, lookup), compat.MDLAYHER_CONTENT_TYPE
        options = self._config.metrics.mindflavor
        chunks = compat.mindflavor(
            snapshot,
            lookup,
            now=snapshot.taken_at,
            handshake_delay=options.handshake_delay,
            remote_ip=options.remote_ip,
        )
        return chunks, compat.MINDFLAVOR_CONTENT_TYPE

    def _about_itself(self, snapshot: Snapshot, openmetrics: bool) -> list[str]:
        """The exporter's own families and the process's."""
        samples = exporter_samples(snapshot, self._health, self._serving())
        own = tables(samples, EXPORTER_FAMILIES, openmetrics=openmetrics)
        if self._recording:
            own += tables(recording_samples(self._recording), RECORDING_FAMILIES, openmetrics=openmetrics)
        render = openmetrics_text.generate_latest if openmetrics else prometheus_text.generate_latest
        return [*own, render(self._process).decode().removesuffix("# EOF\n")]
