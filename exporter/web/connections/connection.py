"""One connection: aiohttp's protocol, with a deadline for the head of a request, and short error answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from http import HTTPStatus
from typing import cast

from aiohttp import StreamReader, web

from exporter.web.limits.connectionlimits import ConnectionLimits
from exporter.web.messages.send import ALWAYS
from exporter.web.stats import WebStats

MAX_HEADERS = 64

# Any unsent byte pauses the writer, so an answer counts as sent when the kernel has all of it.
_HIGH, _LOW = 1, 0

_END = b"\r\n\r\n"  # of a head, and so of a request without a body


def abort(transport: asyncio.WriteTransport) -> None:
    """Closes a connection at once, and drops unsent data. Does nothing if the connection is closed."""
    # In Python 3.11.2, a TLS transport that was closed twice has no connection left, and its abort() fails.
    with contextlib.suppress(AttributeError):
        transport.abort()


class Connection(web.RequestHandler):
    """Speaks HTTP/1.1. `lost` is done when the connection is closed by either side. `admitted`: a request on
    this connection passed the rate limit and the login.

    Two time limits end a connection on which nothing useful happens. `keepalive_seconds`, which aiohttp
    keeps, ends one without a next request; it is longer than a scrape interval, so that Prometheus can keep
    its connection. `head_seconds`, which this class keeps, runs from the first byte of a request to the end
    of its head. A head is sent at once, so this limit is short: otherwise a client that sends a byte now
    and then would hold its connection for `keepalive_seconds`.
    """

    __slots__ = (
        "_ahead",
        "_answering",
        "_body",
        "_close_later",
        "_deadline",
        "_head_seconds",
        "_log",
        "_stats",
        "_tail",
        "admitted",
        "lost",
    )

    def __init__(
        self,
        server: web.Server,
        loop: asyncio.AbstractEventLoop,
        limits: ConnectionLimits,
        stats: WebStats,
        log: logging.Logger,
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=limits.keepalive_seconds,
            logger=log,
            access_log=None,  # type: ignore[arg-type]  # None is what turns it off
            max_line_size=limits.head_bytes,
            max_field_size=limits.head_bytes,
            max_headers=MAX_HEADERS,
            lingering_time=0,
            auto_decompress=False,  # a small body could become a large one
        )
        self.lost: asyncio.Future[None] = loop.create_future()
        self.admitted = False
        self._stats = stats
        self._log = log
        self._head_seconds = limits.head_seconds
        self._deadline: asyncio.TimerHandle | None = None
        self._answering = False
        self._body: StreamReader | None = None  # of the request that is answered; None = it has none
        self._tail = b""  # the last bytes that arrived
        self._ahead = False  # bytes arrived behind the body of the request that is answered
        self._close_later = False

    @property
    def evictable(self) -> bool:
        """Whether no request was ever admitted and none is being answered."""
        return not self.admitted and not self._answering

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
        elif data and self._body is not None and self._body.is_eof():
            self._ahead = True
        super().data_received(data)

    def close(self) -> None:
        """Closes the connection after the answer to the present request, or at once without a request."""
        if self._answering and self._body is not None and not self._body.is_eof():
            self._close_later = True  # after super().close(), aiohttp would drop the rest of the body
        else:
            super().close()

    def request_began(self, request: web.BaseRequest) -> None:
        """To be called when the head of a request has arrived."""
        self._answering = True
        self._body = request.content if request.body_exists else None
        self._ahead = False
        self._head_came()

    def request_ended(self) -> None:
        """To be called when the answer is sent."""
        self._answering = False
        next_head_began = self._tail != _END if self._body is None else self._ahead
        self._body = None
        if self._close_later:
            super().close()
        elif next_head_began:
            self._expect_head()

    def abort(self) -> None:
        """Closes the connection at once, and drops unsent data."""
        if self.transport is not None:
            abort(self.transport)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - quotes what the client sent
    ) -> web.StreamResponse:
        """The answer to bytes that are not HTTP, and to a request that this server failed to answer."""
        if isinstance(exc, ConnectionError) or request.writer.output_size > 0:
            raise ConnectionAbortedError("the client left, or has a part of another answer")
        if status >= 500:
            self._log.error("a request from %s failed", request.remote, exc_info=exc)
        self._stats.requests[status] += 1
        answer = HTTPStatus(status)
        response = web.Response(status=status, text=f"{status} {answer.phrase}\n", headers=ALWAYS)
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
