"""The body of a request: read whole, in bounded memory and time, or refused."""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus

from aiohttp import web

from exporter.web.messages.reply import RefusedError

DISCARD_SECONDS = 1.0
DISCARD_BYTES = 1 << 20


async def read(request: web.BaseRequest, max_bytes: int, seconds: float) -> bytes:
    """The body, of at most `max_bytes`, which arrives within `seconds`; b"" = the request has none.

    Raises `RefusedError` for any other body, and `ConnectionError` when the client leaves.
    """
    if not request.body_exists:
        return b""
    if max_bytes == 0:
        raise RefusedError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "a request must not have a body here", close=True
        )
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise RefusedError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "a body must be sent without Content-Encoding",
            close=True,
            Accept_Encoding="identity",
        )
    if (request.content_length or 0) > max_bytes:
        raise _too_large(max_bytes)
    await _ask_for_it(request)
    try:
        async with asyncio.timeout(seconds):
            return await _whole(request, max_bytes)
    except TimeoutError:
        reason = f"the body did not arrive within {seconds:g} seconds"
        raise RefusedError(HTTPStatus.REQUEST_TIMEOUT, reason, close=True) from None


async def discard(request: web.BaseRequest) -> None:
    """Reads the body of a refused request, for a second and up to 1 MiB.

    Many clients read the answer only after they sent the whole body. If the connection is closed earlier,
    they get a connection reset and not the answer.
    """
    if request.headers.get("Expect"):
        return  # the client sends its body only after `100 Continue`
    discarded = 0
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(DISCARD_SECONDS):
            while discarded < DISCARD_BYTES and (piece := await request.content.readany()):
                discarded += len(piece)


async def _whole(request: web.BaseRequest, max_bytes: int) -> bytes:
    body = bytearray()
    try:
        while piece := await request.content.readany():
            body += piece
            if len(body) > max_bytes:
                raise _too_large(max_bytes)
    except web.RequestPayloadError:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the body is malformed", close=True) from None
    return bytes(body)


async def _ask_for_it(request: web.BaseRequest) -> None:
    """Sends `100 Continue` if the client waits for it, as curl does with a large body (RFC 9110, 10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # aiohttp would count these bytes as part of the answer


def _too_large(max_bytes: int) -> RefusedError:
    reason = f"the body is larger than {max_bytes} bytes"
    return RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason, close=True)
