"""Calls the handler of a route, counts its requests, and logs its failures."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from types import TracebackType

from exporter.web.messages.reply import RETRY_AFTER, RefusedError, Reply
from exporter.web.messages.request import Request
from exporter.web.messages.stream import Stream
from exporter.web.routing.route import Route


class Endpoint:
    """Calls the handler of a route, counts its requests under way, and logs the start and the end of a
    failure.

    As a context manager: a request from before its handler is called until its answer is sent. Entering
    raises `RefusedError` when the route has as many requests as it may have.
    """

    def __init__(self, route: Route, log: logging.Logger) -> None:
        self.route = route
        self.active = 0
        self._log = log
        self._failing = False

    def __enter__(self) -> None:
        limit = self.route.max_concurrent
        if limit is not None and self.active >= limit:
            reason = f"{limit} requests for {self.route.path} are already under way"
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, reason, Retry_After=RETRY_AFTER)
        self.active += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.active -= 1

    async def handle(self, request: Request) -> Reply | Stream:
        """The handler's answer; a reply with status 500 when the handler fails or takes too long."""
        try:
            async with asyncio.timeout(self.route.seconds):
                answer = await self.route.handler(request)
        except RefusedError as refused:
            answer = refused.reply
        except Exception as error:
            self.failed(error)
            return RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, "the exporter's log has the reason").reply
        if isinstance(answer, Reply):
            self.succeeded()
        return answer

    def failed(self, error: Exception) -> None:
        """Logs the error, unless the previous request failed as well."""
        if not self._failing:
            self._failing = True
            self._log.error("requests for %s fail", self.route.path, exc_info=error)

    def succeeded(self) -> None:
        """Logs that the failure is over, if there was one."""
        if self._failing:
            self._failing = False
            self._log.info("requests for %s succeed again", self.route.path)
