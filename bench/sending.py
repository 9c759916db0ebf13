"""A page that is ready, sent by the daemon's HTTP server: what a scrape costs beside making the page."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.client import Client
from exporter.routes.metrics import metrics_route
from exporter.web.messages.page import Page
from exporter.web.server import HttpServer


@contextmanager
def sending(page: Callable[[], Page]) -> Iterator[Client]:
    """A client of a server that sends, for each request, the page that the function gives."""
    loop = asyncio.new_event_loop()

    async def scrape(_accept: str, _gzip: bool) -> Page:
        return page()

    server = HttpServer([("127.0.0.1", 0)], [metrics_route(scrape, 16, 30.0)])
    loop.run_until_complete(server.start())
    thread = threading.Thread(target=loop.run_forever, name="sending")
    thread.start()
    try:
        yield Client(server.addresses[0][1])
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(0), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
