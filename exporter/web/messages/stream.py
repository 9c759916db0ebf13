"""Answers that are sent piece by piece, such as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer with status 200 that is sent piece by piece, each as soon as `pieces` yields it.

    A stream may last for hours. It ends when `pieces` ends, the client leaves, the server stops or the web
    configuration changes; `pieces` is then cancelled or closed. Send a piece at least every minute (in
    server-sent events, a comment), or a client whose host vanished is not noticed.
    """

    content_type: str
    pieces: AsyncGenerator[bytes, None]
    headers: Mapping[str, str] = field(default_factory=dict)
