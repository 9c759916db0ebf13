"""Answers, and how one is sent: in pieces, with a deadline, without a word about the software behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from http import HTTPStatus

from aiohttp import web

from exporter import __version__
from exporter.web.page import Page, batches

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"

# Sent with every answer. aiohttp would put its version and Python's into Server.
ALWAYS = {"Server": "argus-wg", "Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer before it is sent. `close`: the connection ends with it."""

    status: HTTPStatus
    page: Page
    headers: Mapping[str, str] = field(default_factory=dict)
    close: bool = False


def text(status: HTTPStatus, lines: Sequence[str], *, close: bool = False, **headers: str) -> Reply:
    """A plain answer, one line each; in the names of headers, `_` stands for `-`."""
    body = "".join(f"{line}\n" for line in lines).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, Page(TEXT, "", (body,)), named, close)


def refusal(status: HTTPStatus, reason: str, *, close: bool = False, **headers: str) -> Reply:
    """The status in words, and what the client can do about it."""
    return text(status, [f"{status.value} {status.phrase}: {reason}"], close=close, **headers)


def landing() -> Reply:
    """The page at `/`: what this is and where to go."""
    links = (
        ("/metrics", "metrics, for Prometheus"),
        ("/-/ready", "whether the first reading is done"),
        ("/-/healthy", "whether this server answers"),
    )
    items = "".join(f'<li><a href="{path}">{path}</a>: {escape(what)}</li>' for path, what in links)
    body = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Argus WireGuard</title></head>'
        f"<body><h1>Argus WireGuard {escape(__version__)}</h1><ul>{items}</ul></body></html>\n"
    )
    return Reply(
        HTTPStatus.OK, Page(HTML, "", (body.encode(),)), {"Content-Security-Policy": "default-src 'none'"}
    )


async def send(
    request: web.BaseRequest, reply: Reply, headers: Mapping[str, str], seconds: float
) -> web.StreamResponse:
    """Sends a reply, its head alone for HEAD. Raises `TimeoutError` after `seconds`, the answer half sent."""
    page = reply.page
    encoding = {"Content-Encoding": page.encoding} if page.encoding else {}
    fields = {**ALWAYS, "Content-Type": page.content_type, **encoding, **reply.headers, **headers}
    response = web.StreamResponse(status=reply.status, headers=fields)
    response.content_length = page.length
    if reply.close:
        response.force_close()
    async with asyncio.timeout(seconds):
        await response.prepare(request)
        if request.method != "HEAD":
            for piece in batches(page.chunks):
                await response.write(piece)
                await asyncio.sleep(0)  # to whom else waits, and to hear that the client has left
        await response.write_eof()
    return response
