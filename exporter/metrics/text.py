"""The text that Prometheus reads, in pieces that can be kept: escaping, headers, compressed chunks, the page.

A page is a run of chunks. A chunk that did not change since the last scrape is kept compressed, as a raw
deflate run that ends on a byte boundary; such runs join into one gzip member without being compressed
again, because the checksum of the whole follows from the checksums of the parts. (Joining gzip members
would be simpler, and several clients stop after the first member.)

Format: prometheus.io/docs/instrumenting/exposition_formats, and the OpenMetrics 1.0 specification.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from isal import isal_zlib

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

GZIP_HEADER = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])
EMPTY_FINAL_BLOCK = b"\x03\x00"
TRAILER = struct.Struct("<II")
LEVEL = 1  # of ISA-L: level 2 and 3 take longer and make a metrics page no smaller


def escape(value: str) -> str:
    """A label value; chained, because `str.translate` takes thirty times as long."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def encoded(text: str) -> bytes:
    """The bytes of a text. Linux allows any in a name: those that are no UTF-8 are escaped."""
    return text.encode("utf-8", "backslashreplace")


def labels(pairs: Mapping[str, str]) -> str:
    """`{a="1",b="2"}`, values escaped; nothing for no labels."""
    inside = ",".join(f'{name}="{escape(value)}"' for name, value in pairs.items())
    return f"{{{inside}}}" if inside else ""


def head(name: str, kind: str, help_text: str, *, openmetrics: bool) -> str:
    """The HELP and TYPE lines of a family. OpenMetrics names the family of a counter or an info without
    the suffix that its samples carry, and has no type for what 0.0.4 calls a gauge that is always 1."""
    if openmetrics:
        suffix = {"counter": "_total", "info": "_info"}.get(kind, "")
        name = name.removesuffix(suffix)
        help_text = escape(help_text)
    else:
        kind = "gauge" if kind == "info" else kind
        help_text = help_text.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {help_text}\n# TYPE {name} {kind}\n"


@dataclass(frozen=True, slots=True)
class Deflated:
    """A piece of text as a raw deflate run that ends on a byte boundary, not final."""

    data: bytes
    crc: int  # of the text
    size: int  # of the text, bytes


def deflate(text: bytes) -> Deflated:
    compressor = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, -zlib.MAX_WBITS)
    data = compressor.compress(text) + compressor.flush(isal_zlib.Z_FULL_FLUSH)
    return Deflated(data, isal_zlib.crc32(text), len(text))


def inflate(piece: Deflated) -> bytes:
    """The text again."""
    return isal_zlib.decompressobj(-zlib.MAX_WBITS).decompress(piece.data)


@dataclass(frozen=True, slots=True)
class Joined:
    """A run of deflated pieces, with the checksum of the whole."""

    parts: list[Deflated]
    crc: int
    size: int


def join(pieces: Iterable[tuple[Deflated, bytes | None]], before: Joined | None = None) -> Joined:
    """Pieces as one, each with its text where that is at hand: a checksum that runs on over the text costs
    a tenth of combining two. `before` is what they made last time: if no piece changed, it is the answer."""
    known = list(pieces)
    parts = [part for part, _ in known]
    if before and before.parts == parts:
        return before
    crc = size = 0
    for part, text in known:
        crc = combine(crc, part.crc, part.size) if text is None else isal_zlib.crc32(text, crc)
        size += part.size
    return Joined(parts, crc, size)


def joined(text: bytes) -> Joined:
    """A text on its own."""
    piece = deflate(text)
    return Joined([piece], piece.crc, piece.size)


def gzip(runs: Iterable[Joined]) -> list[bytes]:
    """One gzip member of all runs, as the pieces to write."""
    pieces, crc, size = [GZIP_HEADER], 0, 0
    for run in runs:
        pieces += [part.data for part in run.parts]
        crc = combine(crc, run.crc, run.size)
        size += run.size
    pieces.append(EMPTY_FINAL_BLOCK + TRAILER.pack(crc, size & 0xFFFFFFFF))
    return pieces


# A CRC-32 is the remainder of a polynomial over GF(2), bits reversed, modulo POLYNOMIAL. Appending n bytes
# to a text multiplies it by x^(8n), so crc(a + b) = crc(a) · x^(8·len b) + crc(b), where + is exclusive or.
POLYNOMIAL = 0xEDB88320
ONE = 1 << 31


def combine(first: int, second: int, second_size: int) -> int:
    """The CRC-32 of two texts joined, from their CRCs and the size of the second."""
    if not first:
        return second
    return _multiply(_power(second_size), first) ^ second


def _multiply(a: int, b: int) -> int:
    product = 0
    while a:
        if a & ONE:
            product ^= b
        a = a << 1 & 0xFFFFFFFF
        b = b >> 1 ^ POLYNOMIAL if b & 1 else b >> 1
    return product


@lru_cache(maxsize=4096)
def _power(size: int) -> int:
    """x^(8·size) modulo the polynomial, by squaring."""
    result, square = ONE, ONE >> 8
    while size:
        if size & 1:
            result = _multiply(square, result)
        square = _multiply(square, square)
        size >>= 1
    return result
