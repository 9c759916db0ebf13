"""Pages for scrapes: read the gateway, gather, render. Simultaneous requests share one reading."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from exporter.accept import prefers_openmetrics
from exporter.config import Config
from exporter.directory.watch import DirectoryWatch
from exporter.health import Health
from exporter.metrics.gathering.inputs import Inputs, RecordedTotals, Serving
from exporter.metrics.gathering.mdlayher import gather_mdlayher
from exporter.metrics.gathering.mindflavor import gather_mindflavor
from exporter.metrics.gathering.native import NativeGatherer
from exporter.metrics.rendering.mdlayher import MDLAYHER_CONTENT_TYPE, render_mdlayher
from exporter.metrics.rendering.mindflavor import MINDFLAVOR_CONTENT_TYPE, render_mindflavor
from exporter.metrics.rendering.native import NativeRenderer
from exporter.metrics.rendering.text import OPENMETRICS, PROMETHEUS
from exporter.model import Snapshot
from exporter.observe import Observer
from exporter.recording import RecordingState
from exporter.sources.gateway import Gateway
from exporter.web.messages.page import Page

LOOK_BACK = 10.0  # seconds: two attempts at a handshake, which WireGuard repeats every 5 s (REKEY_TIMEOUT)


@dataclass(slots=True)
class Round:
    """One reading, and the pages made of it so far."""

    reading: Future[Snapshot]
    pages: dict[tuple[bool, bool], asyncio.Task[Page]] = field(default_factory=dict)  # by (OpenMetrics, gzip)


class Scraper:
    """Reads the gateway and makes pages, one at a time, on one thread.

    `serving` returns the state of the daemon. `recording` is the state of the recording, and `totals`
    returns the recorded totals by interface; both None = recording is off.
    """

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
        self._totals = totals
        self._observer = Observer(LOOK_BACK)
        self._health = Health()
        self._gatherer = NativeGatherer(config.organisation, lifetime=config.recording.lifetime_counters)
        self._renderer = NativeRenderer()
        self._worker = ThreadPoolExecutor(1, "scrape")
        self._round: Round | None = None
        self.last_duration: float | None = None  # seconds

    async def scrape(self, accept: str, gzip: bool) -> Page:
        """The page for a client. Requests during a reading, or while its first page is made, share it.

        Raises every exception of reading and rendering. Each is a defect: a failed reading raises none.
        """
        kind = self._config.metrics.schema == "native" and prefers_openmetrics(accept), gzip
        current = self._round
        if current is None:
            current = self._round = Round(self._worker.submit(self._read))
        page = current.pages.get(kind)
        if page is None:
            page = current.pages[kind] = asyncio.ensure_future(self._page(current, *kind))
        return await asyncio.shield(page)

    async def read(self) -> Snapshot:
        """A reading without a page. Scrapes during the reading share it."""
        current = self._round
        if current is None:
            current = self._round = Round(self._worker.submit(self._read))
        try:
            return await asyncio.shield(asyncio.wrap_future(current.reading))
        finally:
            if self._round is current and not current.pages:
                self._round = None

    def close(self) -> None:
        """Waits for the reading that is under way, and ends the thread."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    async def _page(self, current: Round, openmetrics: bool, gzip: bool) -> Page:
        started = time.monotonic()
        try:
            # Queued behind the reading on the same thread, so that its result is there without waiting.
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
        inputs = self._inputs(snapshot)
        metrics = self._config.metrics
        if metrics.schema == "native":
            kind = OPENMETRICS if openmetrics else PROMETHEUS
            native = self._gatherer.gather(inputs)
            pieces = self._renderer.render(native, openmetrics=openmetrics, gzip=gzip)
        elif metrics.schema == "mindflavor":
            kind = MINDFLAVOR_CONTENT_TYPE
            switches = metrics.mindflavor
            content = gather_mindflavor(
                inputs, handshake_delay=switches.handshake_delay, remote_ip=switches.remote_ip
            )
            pieces = render_mindflavor(content, gzip=gzip)
        else:
            kind = MDLAYHER_CONTENT_TYPE
            pieces = render_mdlayher(gather_mdlayher(inputs), gzip=gzip)
        return Page(kind, "gzip" if gzip else "", pieces)

    def _inputs(self, snapshot: Snapshot) -> Inputs:
        generation = self._directory.generation  # read first: the directory may be newer, but never older
        return Inputs(
            snapshot,
            self._observer.devices,
            self._health,
            self._directory.current,
            generation,
            self._serving(),
            self._recording,
            self._totals() if self._totals else None,
        )
