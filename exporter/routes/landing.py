"""`/`: what this server is, and links to its pages."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from http import HTTPStatus

from exporter import __version__
from exporter.web.messages.page import Page
from exporter.web.messages.reply import HTML, Reply
from exporter.web.messages.request import Request
from exporter.web.routing.route import Route


def landing_route(links: Iterable[tuple[str, str]]) -> Route:
    """A page with these links: (path, description) each."""
    items = "".join(
        f'<li><a href="{escape(path)}">{escape(path)}</a>: {escape(text)}</li>' for path, text in links
    )
    body = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Argus WireGuard</title></head>'
        f"<body><h1>Argus WireGuard {escape(__version__)}</h1><ul>{items}</ul></body></html>\n"
    )
    page = Page(HTML, "", (body.encode(),))

    async def landing(_: Request) -> Reply:
        return Reply(HTTPStatus.OK, page, {"Content-Security-Policy": "default-src 'none'"})

    return Route("/", landing)
