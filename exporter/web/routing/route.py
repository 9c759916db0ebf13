"""A route of a server: a path, and the function that answers its requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from exporter.web.messages.reply import Reply
from exporter.web.messages.request import Request
from exporter.web.messages.stream import Stream

Handler = Callable[[Request], Awaitable[Reply | Stream]]


@dataclass(frozen=True, slots=True)
class Route:
    """A path and the function that answers requests for it.

    `path` is compared with the decoded path of a request. With `*` as its last character it matches every
    path that begins with the characters before. An exact path has precedence over these, and a longer one
    over a shorter one. Several routes may have the same path with different methods.

    The handler may raise `RefusedError` to refuse a request. When it raises anything else, or takes longer
    than `seconds`, the answer is 500.
    """

    path: str
    handler: Handler
    methods: tuple[str, ...] = ("GET",)  # GET includes HEAD
    max_body: int = 0  # bytes; 0 = a request must not have a body
    max_concurrent: int | None = None  # requests until their answers are sent; None = any number
    seconds: float = 30.0  # for the handler alone: until it returns a reply or a stream
