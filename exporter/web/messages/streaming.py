"""Sends streams, until the stream ends, the client leaves, or the client is no longer allowed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from http import HTTPStatus

from aiohttp import web

from exporter.web.messages.page import batches
from exporter.web.messages.send import SlowReaderError, begun
from exporter.web.messages.stream import Stream


class ClientLeftError(ConnectionError):
    """The connection ended before the stream did."""


class Streams:
    """The streams under way. `end()` ends them, and each later one after its head."""

    def __init__(self, seconds: float) -> None:
        """`seconds` is the time limit for sending the head of a stream, and for sending each piece."""
        self._seconds = seconds
        self._pumps: set[asyncio.Task[None]] = set()
        self._ended = False

    def end(self) -> None:
        """Ends every stream: its generator is cancelled, and its client gets the end of the answer."""
        self._ended = True
        for pump in self._pumps:
            pump.cancel()

    async def send(
        self,
        request: web.BaseRequest,
        stream: Stream,
        headers: Mapping[str, str],
        *,
        lost: asyncio.Future[None],
        allowed: Callable[[], bool],
        close: bool,
    ) -> web.StreamResponse:
        """Sends a stream; for HEAD, its head alone.

        `lost` is done when the connection is lost. `allowed` is called before each piece; when it returns
        False, the stream ends. Raises `SlowReaderError`, `ClientLeftError`, and every error of the generator.
        """
        response = begun(HTTPStatus.OK, stream.content_type, {**stream.headers, **headers})
        if close:
            response.force_close()
        async with self._deadline():
            await response.prepare(request)
        if request.method != "HEAD" and not self._ended:
            await self._run(self._pump(request, response, stream.pieces, allowed), lost)
        async with self._deadline():
            await response.write_eof()
        return response

    async def _run(self, pumping: Coroutine[None, None, None], lost: asyncio.Future[None]) -> None:
        """Waits for the end of a stream, which `end()` and the loss of the connection bring about."""
        pump = asyncio.create_task(pumping)

        def cancel(_: asyncio.Future[None]) -> None:
            pump.cancel()

        self._pumps.add(pump)
        lost.add_done_callback(cancel)
        try:
            await asyncio.wait((pump,))
        finally:
            lost.remove_done_callback(cancel)
            self._pumps.discard(pump)
            pump.cancel()  # where this task is cancelled
        if not pump.cancelled():
            pump.result()

    async def _pump(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        pieces: AsyncGenerator[bytes, None],
        allowed: Callable[[], bool],
    ) -> None:
        async with contextlib.aclosing(pieces):
            async for piece in pieces:
                if not allowed():
                    return
                async with self._deadline():
                    for batch in batches(
                        (piece,)
                    ):  # with TLS, a write waits only until the previous ones are sent
                        await response.write(batch)
                        await request.writer.drain()

    @contextlib.asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._seconds):
                yield
        except TimeoutError:
            raise SlowReaderError from None
        except ConnectionError as error:
            raise ClientLeftError from error
