"""Compressed pieces of a page, which can be kept and joined.

A piece that did not change since the last scrape is kept compressed, as raw deflate data that ends on a byte
boundary. Such pieces are joined into one gzip member without being compressed again, because the checksum of
the whole can be computed from the checksums of the parts. (Joining gzip members would be simpler, but several
clients stop after the first member.)
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from isal import isal_zlib

GZIP_HEADER = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])
EMPTY_FINAL_BLOCK = b"\x03\x00"
TRAILER = struct.Struct("<II")
LEVEL = 1  # of ISA-L: levels 2 and 3 take longer, and the page does not get smaller


@dataclass(frozen=True, slots=True)
class Deflated:
    """A compressed piece of text: raw deflate data that ends on a byte boundary and is not final."""

    data: bytes
    crc: int  # of the text
    size: int  # of the text, bytes


def deflate(text: bytes) -> Deflated:
    """The text, compressed."""
    compressor = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, -zlib.MAX_WBITS)
    data = compressor.compress(text) + compressor.flush(isal_zlib.Z_FULL_FLUSH)
    return Deflated(data, isal_zlib.crc32(text), len(text))


def inflate(piece: Deflated) -> bytes:
    """The text of a compressed piece."""
    return isal_zlib.decompressobj(-zlib.MAX_WBITS).decompress(piece.data)


@dataclass(frozen=True, slots=True)
class Joined:
    """Several compressed pieces, with the checksum and size of their whole text."""

    parts: list[Deflated]
    crc: int
    size: int


def join(pieces: Iterable[tuple[Deflated, bytes | None]], before: Joined | None = None) -> Joined:
    """The pieces as one. `before`: their previous result, which is returned if no piece has changed.

    Each piece comes with its text or None. With the text, its part of the checksum takes a tenth of the time.
    """
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
    """One text, compressed."""
    piece = deflate(text)
    return Joined([piece], piece.crc, piece.size)


def gzipped(runs: Iterable[Joined]) -> list[bytes]:
    """One gzip member of all runs, in pieces."""
    pieces, crc, size = [GZIP_HEADER], 0, 0
    for run in runs:
        pieces += [part.data for part in run.parts]
        crc = combine(crc, run.crc, run.size)
        size += run.size
    pieces.append(EMPTY_FINAL_BLOCK + TRAILER.pack(crc, size & 0xFFFFFFFF))
    return pieces


# A CRC-32 is the remainder of a polynomial over GF(2), bits reversed, modulo POLYNOMIAL. Appending n bytes
# multiplies the polynomial by x^(8n). So crc(a + b) = crc(a) · x^(8·len b) + crc(b), where + is exclusive or.
POLYNOMIAL = 0xEDB88320
ONE = 1 << 31


def combine(first: int, second: int, second_size: int) -> int:
    """The CRC-32 of two joined texts, from their CRCs and the size of the second in bytes."""
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
