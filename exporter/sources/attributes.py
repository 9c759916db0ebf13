"""Decodes the length-type-value attributes of netlink messages (include/uapi/linux/netlink.h)."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator

from exporter.errors import Malformed

ATTRIBUTE = struct.Struct("=HH")
TYPE_MASK = 0x3FFF  # without the flags NLA_F_NESTED and NLA_F_NET_BYTEORDER

Buffer = bytes | bytearray


def header(length: int, kind: int) -> int:
    """An attribute's header as one number, for comparisons."""
    return int.from_bytes(ATTRIBUTE.pack(length, kind), sys.byteorder)


def walk(buffer: Buffer, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Each attribute between two offsets as (type, start, end of its payload), in the order sent."""
    while at < end:
        if at + 4 > end:
            raise Malformed("an attribute header is cut off")
        length, kind = ATTRIBUTE.unpack_from(buffer, at)
        if length < 4 or at + length > end:
            raise Malformed(f"an attribute claims {length} bytes, but {end - at} are left")
        yield kind & TYPE_MASK, at + 4, at + length
        at += length + 3 & ~3


def fixed(buffer: Buffer, layout: struct.Struct, start: int, end: int) -> tuple[int, ...]:
    """The values of an attribute of fixed size."""
    if end - start != layout.size:
        raise Malformed(f"an attribute has {end - start} bytes; it must have {layout.size}")
    return layout.unpack_from(buffer, start)


def text(buffer: Buffer, start: int, end: int) -> str:
    """A NUL-terminated name. Linux allows any bytes except `/`, white space and NUL in an interface name."""
    return bytes(buffer[start:end]).split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
