"""A request as a handler gets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Request:
    """A request that passed the limits and the login, with its body read.

    `path` and `query` are decoded. Header names are in lower case; the values of a header that is sent
    several times are joined by ", ". `method` is also GET for HEAD: the server omits the body of the
    answer. `user` is the user name of the login; "" = the web configuration has no users.
    """

    method: str
    path: str
    query: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    user: str = ""

    def header(self, name: str) -> str:
        """The value of a header; "" = the request does not have it."""
        return self.headers.get(name.lower(), "")


def received(request: web.BaseRequest, body: bytes, user: str) -> Request:
    """The request that aiohttp parsed, with its body."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        lower = name.lower()
        headers[lower] = f"{headers[lower]}, {value}" if lower in headers else value
    query: dict[str, tuple[str, ...]] = {}
    for name, value in request.query.items():
        query[name] = (*query.get(name, ()), value)
    method = "GET" if request.method == "HEAD" else request.method
    return Request(method, request.path, query, headers, body, user)
