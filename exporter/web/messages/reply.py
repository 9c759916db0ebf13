"""Answers of a known length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from exporter.web.messages.page import Page

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
RETRY_AFTER = "5"  # seconds; for answers that turn a client away because the server is busy


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is complete before it is sent. `close`: the connection is closed after it."""

    status: HTTPStatus
    page: Page
    headers: Mapping[str, str] = field(default_factory=dict)
    close: bool = False


class RefusedError(Exception):
    """A request is refused. `reply` is the answer: the status in words, and the reason."""

    def __init__(self, status: HTTPStatus, reason: str, *, close: bool = False, **headers: str) -> None:
        """In the names of `headers`, `_` stands for `-`."""
        super().__init__(reason)
        self.reply = text(status, [f"{status.value} {status.phrase}: {reason}"], close=close, **headers)


def text(status: HTTPStatus, lines: Sequence[str], *, close: bool = False, **headers: str) -> Reply:
    """A plain text; in the names of `headers`, `_` stands for `-`."""
    body = "".join(f"{line}\n" for line in lines).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, Page(TEXT, "", (body,)), named, close)
