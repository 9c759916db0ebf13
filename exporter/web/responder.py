"""Answers requests: admission, route, body, handler, answer; in this order."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import cast

from aiohttp import web

from exporter.web.admission import Admission
from exporter.web.configuration.watch import Current
from exporter.web.connections.connection import Connection
from exporter.web.limits.connectionlimits import ConnectionLimits
from exporter.web.messages import body
from exporter.web.messages.reply import RefusedError, Reply
from exporter.web.messages.request import received
from exporter.web.messages.send import SlowReaderError, send
from exporter.web.messages.stream import Stream
from exporter.web.messages.streaming import ClientLeftError, Streams
from exporter.web.routing.endpoint import Endpoint
from exporter.web.routing.route import Route
from exporter.web.routing.table import RouteTable
from exporter.web.stats import WebStats


class Responder:
    """Answers each request of a connection. `current` gives the web configuration in force."""

    def __init__(
        self,
        routes: Sequence[Route],
        current: Callable[[], Current],
        limits: ConnectionLimits,
        stats: WebStats,
        log: logging.Logger,
    ) -> None:
        self.table = RouteTable(routes, log)
        self._current = current
        self._limits = limits
        self._stats = stats
        self._admission = Admission(stats)
        self._streams = Streams(limits.write_seconds)
        self._answering = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    async def finish(self, grace: float) -> None:
        """Ends the streams, and waits up to `grace` seconds until every request is answered."""
        self._streams.end()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._quiet.wait()

    def close(self) -> None:
        """To be called when no request will come any more."""
        self._admission.close()

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """aiohttp calls this for every request that it could parse."""
        connection = cast("Connection", request.protocol)
        connection.request_began(request)
        self._answering += 1
        self._quiet.clear()
        try:
            return await self._respond(request, connection, self._current())
        except SlowReaderError:
            self._stats.write_timeouts += 1
            connection.abort()
            raise ConnectionAbortedError("the client reads too slowly") from None
        finally:
            connection.request_ended()
            self._answering -= 1
            if not self._answering:
                self._quiet.set()

    async def _respond(
        self, request: web.BaseRequest, connection: Connection, current: Current
    ) -> web.StreamResponse:
        try:
            user = await self._admission.admit(request.headers.get("Authorization", ""), current.config)
            connection.admitted = True
            endpoint = self.table.find(request.method, request.path)
            sent = await body.read(request, endpoint.route.max_body, self._limits.body_seconds)
            with endpoint:  # until the answer is sent: `max_concurrent` bounds the answers in memory
                answer = await endpoint.handle(received(request, sent, user))
                if isinstance(answer, Stream):
                    return await self._send_stream(request, connection, current, endpoint, answer)
                return await self._send(request, current, answer)
        except RefusedError as refused:
            return await self._send(request, current, refused.reply)

    async def _send(self, request: web.BaseRequest, current: Current, answer: Reply) -> web.StreamResponse:
        unread = request.can_read_body
        close = answer.close or unread or _is_outdated(request, current)
        self._stats.requests[answer.status] += 1
        final = dataclasses.replace(answer, close=close)
        response = await send(request, final, current.config.headers, self._limits.write_seconds)
        if unread:
            await body.discard(request)
        return response

    async def _send_stream(
        self,
        request: web.BaseRequest,
        connection: Connection,
        current: Current,
        endpoint: Endpoint,
        stream: Stream,
    ) -> web.StreamResponse:
        self._stats.requests[HTTPStatus.OK] += 1
        try:
            response = await self._streams.send(
                request,
                stream,
                current.config.headers,
                lost=connection.lost,
                allowed=lambda: self._current() is current,  # a removed user's stream ends
                close=_is_outdated(request, current),
            )
        except (SlowReaderError, ClientLeftError):
            endpoint.succeeded()
            raise
        except Exception as error:
            endpoint.failed(error)
            connection.abort()  # a complete answer would hide that pieces are missing
            raise ConnectionAbortedError("the stream failed") from None
        endpoint.succeeded()
        return response


def _is_outdated(request: web.BaseRequest, current: Current) -> bool:
    """Whether the connection was made under another TLS configuration than the one in force."""
    context = current.tls.context if current.tls else None
    return request.get_extra_info("sslcontext") is not context
