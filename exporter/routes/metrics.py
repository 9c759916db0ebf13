"""`/metrics`: the page for Prometheus."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from exporter.accept import accepts_gzip
from exporter.web.messages.page import Page
from exporter.web.messages.reply import Reply
from exporter.web.messages.request import Request
from exporter.web.routing.route import Route

PATH = "/metrics"

Scrape = Callable[[str, bool], Awaitable[Page]]
"""The page for an `Accept` header, compressed or not."""


def metrics_route(scrape: Scrape, max_concurrent: int, seconds: float) -> Route:
    """The route; `seconds` is the time limit for making the page."""

    async def metrics(request: Request) -> Reply:
        gzip = accepts_gzip(request.header("Accept-Encoding"))
        page = await scrape(request.header("Accept"), gzip)
        return Reply(HTTPStatus.OK, page, {"Vary": "Accept, Accept-Encoding"})

    return Route(PATH, metrics, max_concurrent=max_concurrent, seconds=seconds)
