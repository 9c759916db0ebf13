"""Sends answers, with a deadline. Their headers name neither aiohttp nor Python."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web

from exporter.web.messages.page import batches
from exporter.web.messages.reply import Reply

# Headers of every answer. Without the first, aiohttp would send its version and Python's.
ALWAYS = {"Server": "argus-wg", "Cache-Control": "no-store"}


class SlowReaderError(Exception):
    """The client did not receive the answer in time."""


async def send(
    request: web.BaseRequest, reply: Reply, headers: Mapping[str, str], seconds: float
) -> web.StreamResponse:
    """Sends a reply; for HEAD, without its body. `seconds` is the time limit for the whole reply.

    Raises `SlowReaderError`, with the reply sent in part, and `ConnectionError` when the client leaves.
    """
    page = reply.page
    encoding = {"Content-Encoding": page.encoding} if page.encoding else {}
    response = begun(reply.status, page.content_type, {**encoding, **reply.headers, **headers})
    response.content_length = page.length
    if reply.close:
        response.force_close()
    try:
        async with asyncio.timeout(seconds):
            await response.prepare(request)
            if request.method != "HEAD":
                for piece in batches(page.chunks):
                    await response.write(piece)
                    await asyncio.sleep(0)  # other tasks run, and the end of the connection is noticed
            await response.write_eof()
    except TimeoutError:
        raise SlowReaderError from None
    return response


def begun(status: HTTPStatus, content_type: str, headers: Mapping[str, str]) -> web.StreamResponse:
    """An answer before its first byte is sent."""
    return web.StreamResponse(status=status, headers={**ALWAYS, "Content-Type": content_type, **headers})
