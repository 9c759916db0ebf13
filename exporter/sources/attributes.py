"""The length-type-value attributes of which netlink messages are made (include/uapi/linux/netlink.h)."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator

from exporter.errors import Malformed

ATTRIBUTE = struct.Struct("=HH")
TYPE_MASK = 0x3FFF  # the two high bits say "nested" and "network byte order"

Buffer = bytes | bytearray


def header(length: int, kind: int) -> int:
    """An attribute's header as one number, to compare with."""
    return int.from_bytes(ATTRIBUTE.pack(length, kind), sys.byteorder)


def walk(buffer: Buffer, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Each attribute between two offsets as (type, start, end of its payload), in the order sent."""
    while at < end:
        if at + 4 > end:
            raise Malformed("an attribute header is cut off")
        length, kind = ATTRIBUTE.unpack_from(buffer, at)
        if length < 4 or at + length > end:
            raise Malformed(f"an attribute says {length} bytes where {end - at} are left")
        yield kind & TYPE_MASK, at + 4, at + length
        at += length + 3 & ~3


def fixed(buffer: Buffer, layout: struct.Struct, start: int, end: int) -> tuple[int, ...]:
    """The payload of an attribute of fixed size."""
    if end - start != layout.size:
        raise Malformed(f"an attribute holds {end - start} bytes instead of {layout.size}")
    return layout.unpack_from(buffer, start)


def text(buffer: Buffer, start: int, end: int) -> str:
    """A NUL-terminated name. Linux allows any bytes in an interface name but `/`, white space and NUL."""
    return bytes(buffer[start:end]).split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
