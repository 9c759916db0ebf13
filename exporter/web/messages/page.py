"""The body of an answer, as pieces that are never joined into one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

WRITE = 256 * 1024  # bytes handed to the transport at once: few system calls, little copied


@dataclass(frozen=True, slots=True)
class Page:
    """A body in its pieces. `encoding` is the content coding of all pieces together."""

    content_type: str
    encoding: Literal["", "gzip"]
    chunks: Sequence[bytes]

    @property
    def length(self) -> int:
        """Bytes of the whole body."""
        return sum(map(len, self.chunks))


def batches(chunks: Sequence[bytes], size: int = WRITE) -> Iterator[bytes | memoryview]:
    """The same bytes in pieces of at most `size`: small chunks are joined, large ones cut without a copy."""
    held: list[bytes] = []
    held_bytes = 0
    for chunk in chunks:
        if held_bytes and held_bytes + len(chunk) > size:
            yield b"".join(held)
            held, held_bytes = [], 0
        if len(chunk) < size:
            held.append(chunk)
            held_bytes += len(chunk)
        else:
            view = memoryview(chunk)
            yield from (view[start : start + size] for start in range(0, len(chunk), size))
    if held_bytes:
        yield b"".join(held)
