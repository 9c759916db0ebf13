"""A frame as bytes: checksummed, compressed, column by column.

    magic, CRC-32 of everything after it               4s I   numbers in this host's byte order
    total length, run, sequence, epoch, instant,       Q 16s Q Q q
    length of the body                                 Q
    body, compressed: lines of JSON, an empty line, columns of 64-bit numbers
    the public keys of added peers, 32 bytes each, not compressed, because they are random

A column is written as eight planes: the lowest byte of each number first, the highest byte of each number
last. Bytes that are nearly constant are then next to each other. Measured with 2,000 of 10,000 peers changed:
20.2 kB in 0.5 ms, against 26.9 kB in 0.6 ms without planes. Level 1 of zlib takes five times as long as
level 1 of isal for the same size.
"""

from __future__ import annotations

import json
import struct
import zlib
from array import array
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain
from operator import attrgetter, sub
from typing import Any
from uuid import UUID

from isal import isal_zlib

from exporter.store.errors import FrameCorrupt
from exporter.store.snapshot.frame import DeviceFrame, Frame, Gap, PeerConfig

_MAGIC = b"AWF1"  # a new format gets a new number
_SEAL = struct.Struct("=4sI")
_IDENTITY = struct.Struct("=Q16sQQqQ")
_START = _SEAL.size + _IDENTITY.size

_LEVEL = 1
_CHUNK = 4096  # configurations per line, so that no call of json blocks other threads for long
_KEY = 32  # bytes of a public key
_SIGNED, _UNSIGNED = "q", "Q"


def encode(frame: Frame) -> bytes:
    """The bytes of a frame, whose instant is in whole milliseconds and whose counters are below 2**64.

    Raises ValueError for an added key that is not the base64 of 32 bytes. Long steps release the interpreter
    lock or are done in short pieces.
    """
    about = {
        "gateway": frame.gateway,
        "organisation": frame.organisation,
        "clearance": frame.clearance,
        "gone": frame.removed,  # this name is part of the format
        "unread": frame.unread,
        "lost": [(gap.started_at, gap.ended_at, gap.reason, gap.snapshots) for gap in frame.gaps],
        "devices": [_about(device) for device in frame.devices],
    }
    configs = chain.from_iterable(map(_config_lines, frame.devices))
    columns = chain.from_iterable(map(_columns, frame.devices))
    text = (json.dumps(line, separators=(",", ":")).encode() for line in chain((about,), configs))
    body = isal_zlib.compress(b"\n".join((*text, b"", b"".join(columns))), _LEVEL)
    keys = [key for device in frame.devices for key in map(_packed, device.added)]
    length = _START + len(body) + _KEY * len(keys)
    instant = round(frame.taken_at * 1000)
    identity = _IDENTITY.pack(length, frame.run.bytes, frame.sequence, frame.epoch, instant, len(body))
    sealed = b"".join((identity, body, *keys))
    return _SEAL.pack(_MAGIC, zlib.crc32(sealed)) + sealed


def decode(data: bytes) -> Frame:
    """The encoded frame, with lists as sequences. Raises FrameCorrupt for bytes that are no encoded frame."""
    run, sequence, epoch, instant, end = _identity(data)
    try:
        body = zlib.decompress(memoryview(data)[_START:end])
        text, _, columns = body.partition(b"\n\n")
        lines = map(json.loads, text.split(b"\n"))
        about = next(lines)
        devices = _Devices(lines, columns, data[end:])
        return Frame(
            run,
            sequence,
            epoch,
            instant,
            about["gateway"],
            about["organisation"],
            about["clearance"],
            [devices.next(values, counts) for values, counts in about["devices"]],
            about["gone"],
            [(label, reason) for label, reason in about["unread"]],
            [Gap(*values) for values in about["lost"]],
        )
    except (ValueError, LookupError, TypeError, StopIteration, zlib.error) as error:
        raise FrameCorrupt(f"frame {sequence} of {run} has contents that this version cannot read") from error


def _identity(data: bytes) -> tuple[UUID, int, int, float, int]:
    """(run, sequence, epoch, instant, end of the body). Raises FrameCorrupt."""
    if len(data) < _START or not data.startswith(_MAGIC):
        raise FrameCorrupt("this is no frame, or a frame in the format of another version")
    crc = _SEAL.unpack_from(data)[1]
    length, run, sequence, epoch, instant, body = _IDENTITY.unpack_from(data, _SEAL.size)
    if length != len(data) or crc != zlib.crc32(memoryview(data)[_SEAL.size :]):
        raise FrameCorrupt("the bytes of a frame are damaged")
    return UUID(bytes=run), sequence, epoch, instant / 1000, _START + body


_ABOUT = "label", "kind", "public_key", "listen_port", "fwmark", "instance", "peers"


def _about(device: DeviceFrame) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """The fields of an interface in the head, and the lengths of its groups of columns."""
    groups = device.added, device.removed, device.configured, device.changed, device.reset
    return attrgetter(*_ABOUT)(device), tuple(map(len, groups))


_CONFIG = (
    "endpoint",
    "allowed_ips",
    "persistent_keepalive",
    "has_preshared_key",
    "organisation",
    "clearance",
    "name",
    "site",
    "owner",
)


def _config_lines(device: DeviceFrame) -> Iterator[list[list[Any]]]:
    """Configurations, one chunk per line, as one list per field."""
    for start in range(0, len(device.configured), _CHUNK):
        chunk = [config for _, config in device.configured[start : start + _CHUNK]]
        yield [list(map(attrgetter(name), chunk)) for name in _CONFIG]


def _columns(device: DeviceFrame) -> Iterator[bytes]:
    yield _slots(device.removed)
    yield _slots([slot for slot, _ in device.configured])
    yield _slots(device.changed)
    yield _planes(_SIGNED, device.last_handshake)
    yield _planes(_UNSIGNED, device.receive)
    yield _planes(_UNSIGNED, device.transmit)
    yield _slots(device.reset)
    yield _planes(_UNSIGNED, device.carried_receive)
    yield _planes(_UNSIGNED, device.carried_transmit)


def _slots(slots: Sequence[int]) -> bytes:
    """Slots as differences to the previous slot, which are small and often equal."""
    return _planes(_SIGNED, map(sub, slots, chain((0,), slots)))


def _planes(kind: str, values: Iterable[int]) -> bytes:
    raw = array(kind, values).tobytes()
    return b"".join(raw[place::8] for place in range(8))


def _packed(key: str) -> bytes:
    packed = a2b_base64(key)
    if len(packed) != _KEY:
        raise ValueError("a public key is the base64 of 32 bytes")
    return packed


class _Devices:
    """Decodes the interfaces of a frame, one after the other."""

    def __init__(self, configs: Iterator[list[list[Any]]], columns: bytes, keys: bytes) -> None:
        self._configs = configs
        self._columns = columns
        self._column = 0
        self._keys = keys
        self._key = 0

    def next(self, about: Sequence[Any], counts: Sequence[int]) -> DeviceFrame:
        added, removed, configured, changed, reset = counts
        return DeviceFrame(
            **dict(zip(_ABOUT, about, strict=True)),
            added=self._added(added),
            removed=self._slots(removed),
            configured=list(zip(self._slots(configured), self._configured(configured), strict=True)),
            changed=self._slots(changed),
            last_handshake=self._numbers(_SIGNED, changed),
            receive=self._numbers(_UNSIGNED, changed),
            transmit=self._numbers(_UNSIGNED, changed),
            reset=self._slots(reset),
            carried_receive=self._numbers(_UNSIGNED, reset),
            carried_transmit=self._numbers(_UNSIGNED, reset),
        )

    def _added(self, count: int) -> list[str]:
        start, self._key = self._key, self._key + count * _KEY
        places = range(start, self._key, _KEY)
        return [b2a_base64(self._keys[at : at + _KEY], newline=False).decode() for at in places]

    def _configured(self, count: int) -> list[PeerConfig]:
        configs: list[PeerConfig] = []
        while len(configs) < count:
            endpoints, allowed_ips, *others = next(self._configs)
            configs += map(PeerConfig, endpoints, map(tuple, allowed_ips), *others)
        return configs

    def _slots(self, count: int) -> list[int]:
        return list(accumulate(self._numbers(_SIGNED, count)))

    def _numbers(self, kind: str, count: int) -> list[int]:
        start, self._column = self._column, self._column + 8 * count
        raw = bytearray(8 * count)
        for place in range(8):
            raw[place::8] = self._columns[start + place * count : start + (place + 1) * count]
        return array(kind, bytes(raw)).tolist()
