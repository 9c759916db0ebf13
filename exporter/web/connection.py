"""One connection: aiohttp's, with a deadline for the request head and errors that tell nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from http import HTTPStatus
from typing import cast

from aiohttp import web

from exporter.web import reply
from exporter.web.stats import WebStats

# Any unsent byte pauses the writer, so an answer counts as sent when the kernel has all of it.
_HIGH, _LOW = 1, 0

_END = b"\r\n\r\n"  # of a head, and so of a request without a body


def abort(transport: asyncio.WriteTransport) -> None:
    """Ends a connection now; what is not sent yet never is. Does nothing where it has ended already."""
    # In Python 3.11.2, a TLS transport that was closed twice has no connection left, and its abort() fails.
    with contextlib.suppress(AttributeError):
        transport.abort()


class Connection(web.RequestHandler):
    """Speaks HTTP/1.1. `lost` is done when the connection is.

    aiohttp bounds how long a connection may be idle, and a client that sends a byte now and then
    is idle all the same. That bound has to outlast a scrape interval; a head has seconds.
    """

    __slots__ = ("_answering", "_deadline", "_head_seconds", "_log", "_stats", "_tail", "lost")

    def __init__(
        self,
        server: web.Server,
        loop: asyncio.AbstractEventLoop,
        stats: WebStats,
        log: logging.Logger,
        *,
        head_seconds: float,
        keepalive_seconds: float,
        head_bytes: int,
    ) -> None:
        """`head_bytes` bounds the request line and each header; there may be 64 of those."""
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=keepalive_seconds,
            logger=log,
            access_log=None,  # type: ignore[arg-type]  # None is what turns it off
            max_line_size=head_bytes,
            max_field_size=head_bytes,
            max_headers=64,
            lingering_time=0,
        )
        self.lost: asyncio.Future[None] = loop.create_future()
        self._stats = stats
        self._log = log
        self._head_seconds = head_seconds
        self._deadline: asyncio.TimerHandle | None = None
        self._answering = False
        self._tail = b""  # the last bytes that came

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast("asyncio.Transport", transport).set_write_buffer_limits(_HIGH, _LOW)
        self._expect_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._head_came()
        super().connection_lost(exc)
        if not self.lost.done():
            self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._tail = (self._tail + data[-len(_END) :])[-len(_END) :]
        if not self._answering:
            self._expect_head()
        super().data_received(data)

    def request_began(self) -> None:
        """To be called when a handler has the request."""
        self._answering = True
        self._head_came()

    def request_ended(self) -> None:
        """To be called when its answer is sent."""
        self._answering = False
        if self._tail != _END:  # the next head began behind this request
            self._expect_head()

    def abort(self) -> None:
        """Ends the connection now; what is not sent yet never is."""
        if self.transport is not None:
            abort(self.transport)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - quotes what the client sent
    ) -> web.StreamResponse:
        """The answer to what is no HTTP request, or when a handler failed."""
        if request.writer.output_size > 0:
            raise ConnectionAbortedError("the answer has begun, so no other can be sent")
        if status >= 500:
            self._log.error("a request from %s failed", request.remote, exc_info=exc)
        self._stats.requests[status] += 1
        answer = HTTPStatus(status)
        response = web.Response(status=status, text=f"{status} {answer.phrase}\n", headers=reply.ALWAYS)
        response.force_close()
        return response

    def _expect_head(self) -> None:
        if self._deadline is None:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(self._head_seconds, self._head_late)

    def _head_came(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _head_late(self) -> None:
        self._deadline = None
        self._stats.head_timeouts += 1
        self.abort()
