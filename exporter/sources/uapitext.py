"""Decodes the reply of a userspace WireGuard process to `get=1` into a `Device`, without I/O.

The protocol (https://www.wireguard.com/xplatform/) consists of `key=value` lines: first those of the
interface, then those of each peer, which begin with `public_key`, then `errno=N` and a blank line. Two
implementations differ in their lines:

- wireguard-go (device/uapi.go) sends the private key, from which the public key is derived; a preshared key
of
  zeros if the peer has none; and the last handshake as wall-clock time, 0 = never.
- boringtun (boringtun/src/device/api.rs) sends `own_public_key` instead of the private key, and the last
  handshake as the time since it, without that line if there was no handshake. Some versions send the last
  handshake as wall-clock time, like wireguard-go.
"""

from __future__ import annotations

import os
import re
import socket
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field

from exporter.errors import DumpTruncated, Malformed, ReadFailed
from exporter.model import Device, Peer

HANDSHAKE_JITTER = 2  # seconds; less than REKEY_TIMEOUT (5 s), the least time between two handshakes
OLDEST_HANDSHAKE = 10 * 365 * 86_400  # seconds; a longer time since a handshake is a wall-clock time instead

_U16, _U32, _S64, _U64 = 2**16 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1
_NANOSECONDS = 10**9 - 1
_NO_KEY, _SOME_KEY = "0" * 64, "*" * 64  # no preshared key, and an erased secret key
_DEVICE_KEYS = frozenset({"private_key", "own_public_key", "listen_port", "fwmark"})
_PEER_KEYS = frozenset(
    {
        "public_key",
        "preshared_key",
        "protocol_version",
        "endpoint",
        "last_handshake_time_sec",
        "last_handshake_time_nsec",
        "tx_bytes",
        "rx_bytes",
        "persistent_keepalive_interval",
        "allowed_ip",
    }
)

_ERRNO = re.compile(rb"errno=(-?[0-9]{1,9})")
_SECRET = re.compile(rb"[0-9a-fA-F]{64}")
_PRIVATE_LINE = re.compile(rb"^private_key=[0-9a-fA-F]{64}$", re.MULTILINE)
_KEY = re.compile(r"[0-9a-fA-F]{64}")
_ENDPOINT = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)(?P<zone>%[!-$&-\\^-~]{1,15})?\]|(?P<v4>[0-9.]+)):(?P<port>[0-9]{1,5})"
)

Fields = dict[str, str]
RawConfig = tuple[str | tuple[str, ...] | None, ...]  # a peer's configuration, as the text of its lines


@dataclass(slots=True)
class Memory:
    """The previous reading of an interface. Peers that do not change are taken from it, as the same
    objects."""

    peers: dict[str, tuple[RawConfig, Peer]] = field(default_factory=dict)  # by the hexadecimal key
    handshakes: dict[str, int] = field(default_factory=dict)  # by the base64 key; boringtun only


def parse(reply: bytearray, name: str, now: float, memory: Memory | None = None) -> Device:
    """Decodes the reply of the interface `name`, received at `now` (UNIX seconds).

    Bytes after the blank line are ignored. Secret keys are erased before anything is decoded, and `reply` is
    zeroed at the end, also after an error. Peers are sorted by public key, because the implementations send
    them in random order. With the `memory` of the interface's previous reading, unchanged peers are the same
    objects, and boringtun's handshake times do not jitter. Only a reply without errors updates the memory.

    Raises `DumpTruncated` if the blank line is missing, `ReadFailed` if the process reports an error number,
    and `Malformed` if a line violates the protocol. Messages name line and key, never a value.
    """
    memory = memory or Memory()
    try:
        sections = _sections(reply, _errno_line(reply, name))
        start, stop = next(sections)
        derived_key = _derive_public_key(reply, stop)
        try:
            interface = _InterfaceFields.read(_erased_text(reply, start, stop), derived_key)
            table = _PeerTable(memory, now if interface.relative_handshakes else None)
            for start, stop in sections:
                table.add(_erased_text(reply, start, stop))
        except _BadLineError as bad:
            raise _malformed(reply, name, start, stop, bad) from None
    finally:
        wipe(reply)
    return table.device(name, interface)


def wipe(buffer: bytearray) -> None:
    """Overwrites a buffer that may hold keys with zeros, in place."""
    memoryview(buffer)[:] = bytes(len(buffer))


class _BadLineError(Exception):
    """A line violates the protocol. `key`: "" = the line has none. `nth`: which of the lines with this key,
    from 0."""

    def __init__(self, key: str, problem: str, nth: int = 0) -> None:
        super().__init__(key, problem)
        self.key = key
        self.problem = problem
        self.nth = nth


def _malformed(reply: bytearray, name: str, start: int, stop: int, bad: _BadLineError) -> Malformed:
    """Adds the line number; a missing line is reported at the first line of its section."""
    lines = _text(reply, start, stop).split("\n")[:-1]
    keys = [key if equals else "" for key, equals, _ in (line.partition("=") for line in lines)]
    found = [index for index, key in enumerate(keys) if key == bad.key]
    line = 1 + reply.count(b"\n", 0, start) + (found[bad.nth] if found else 0)
    what = f"{bad.key}: {bad.problem}" if bad.key else bad.problem
    return Malformed(f"{name}: line {line} of the UAPI reply: {what}")


def _errno_line(reply: bytearray, name: str) -> int:
    """The offset of the last line, `errno=0`."""
    blank = reply.find(b"\n\n")
    if blank < 0:
        raise DumpTruncated(f"{name}: the UAPI reply ended before its blank line")
    start = reply.rfind(b"\n", 0, blank) + 1
    match = _ERRNO.fullmatch(reply, start, blank)
    if not match:
        line = 1 + reply.count(b"\n", 0, start)
        raise Malformed(f"{name}: line {line} of the UAPI reply: errno: must be the last line, errno=NUMBER")
    number = abs(int(match[1]))  # wireguard-go negates the numbers of errno.h
    if number:
        raise ReadFailed(f"{name}: its userspace process answered errno {number} ({os.strerror(number)})")
    return start


def _sections(reply: bytearray, end: int) -> Iterator[tuple[int, int]]:
    """Start and stop of the interface's lines, then of the lines of each peer."""
    if reply.startswith(b"public_key=", 0, end):
        yield 0, 0
    start = 0
    while (newline := reply.find(b"\npublic_key=", start, end)) >= 0:
        yield start, newline + 1
        start = newline + 1
    yield start, end


def _derive_public_key(reply: bytearray, stop: int) -> str:
    """The public key, in base64, derived from the interface's private key; "" = there is no private key."""
    line = _PRIVATE_LINE.search(reply, 0, stop)
    if not line:
        return ""
    from cryptography.hazmat.primitives.asymmetric import x25519  # noqa: PLC0415 - slow, rarely needed

    start = line.end() - 64
    private = bytearray(32)
    try:
        for index in range(32):
            high, low = reply[start + 2 * index], reply[start + 2 * index + 1]
            private[index] = _nibble(high) << 4 | _nibble(low)
        public = x25519.X25519PrivateKey.from_private_bytes(private).public_key()
    finally:
        wipe(private)
    return b64encode(public.public_bytes_raw()).decode()


def _nibble(digit: int) -> int:
    """The value of an ASCII hexadecimal digit. Letters have bit 6 set, and their low bits are 1 for A."""
    return (digit & 15) + 9 * (digit >> 6)


def _erased_text(reply: bytearray, start: int, stop: int) -> str:
    """The text of a section, after its private and preshared keys were overwritten in the buffer.

    A key is replaced by stars, no key (zeros) stays, and an invalid key is replaced by question marks.
    """
    for name in (b"private_key=", b"preshared_key="):
        at = start
        while (at := reply.find(name, at, stop)) >= 0:
            at += len(name)
            newline = reply.find(b"\n", at, stop)
            if not _SECRET.fullmatch(reply, at, newline):
                reply[at:newline] = b"?" * (newline - at)
            elif reply.count(b"0", at, newline) < 64:
                reply[at:newline] = b"*" * 64
    return _text(reply, start, stop)


def _text(reply: bytearray, start: int, stop: int) -> str:
    return reply[start:stop].decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class _InterfaceFields:
    """The interface's own lines, decoded. `relative_handshakes`: handshakes are sent as the time since them,
    if that time is at most `OLDEST_HANDSHAKE`."""

    public_key: str
    listen_port: int
    fwmark: int
    relative_handshakes: bool

    @classmethod
    def read(cls, text: str, derived_key: str) -> _InterfaceFields:
        fields, _ = _fields(text, _PEER_KEYS, "belongs to a peer, but no public_key line precedes it")
        relative = "own_public_key" in fields
        secret = _is_secret_set(fields, "private_key")
        return cls(
            public_key=_public_key(fields, "own_public_key") if relative else derived_key if secret else "",
            listen_port=_number(fields, "listen_port", _U16, "0"),
            fwmark=_number(fields, "fwmark", _U32, "0"),
            relative_handshakes=relative,
        )


class _PeerTable:
    """The peers of one reply, in columns. An unchanged peer allocates no object that the garbage collector
    must visit; otherwise collections would take half of the time for 100,000 peers."""

    def __init__(self, memory: Memory, relative_to: float | None) -> None:
        self._memory = memory
        self._relative_to = relative_to  # UNIX seconds; None = all handshakes are in wall-clock time
        self._known: dict[str, tuple[RawConfig, Peer]] = {}
        self._places: dict[str, int] = {}  # base64 key → row
        self._handshakes: list[int] = []
        self._received: list[int] = []
        self._transmitted: list[int] = []

    def add(self, text: str) -> None:
        """Adds the lines of one peer."""
        fields, allowed_ips = _fields(
            text, _DEVICE_KEYS, "belongs to the interface, but follows a public_key line"
        )
        raw = (
            fields.get("preshared_key"),
            fields.get("protocol_version"),
            fields.get("endpoint"),
            fields.get("persistent_keepalive_interval"),
            allowed_ips,
        )
        known = self._memory.peers.get(fields["public_key"])
        if known is None or known[0] != raw:
            known = raw, _peer(fields, allowed_ips)
        key = known[1].public_key
        if key in self._places:
            raise _BadLineError(
                "public_key", "the reply has this peer twice, and it is unknown which counters are right"
            )
        self._places[key] = len(self._places)
        self._known[fields["public_key"]] = known
        self._handshakes.append(self._handshake(fields, key))
        self._received.append(_number(fields, "rx_bytes", _U64))
        self._transmitted.append(_number(fields, "tx_bytes", _U64))

    def _handshake(self, fields: Fields, public_key: str) -> int:
        """UNIX seconds, 0 = never."""
        if "last_handshake_time_sec" not in fields and "last_handshake_time_nsec" not in fields:
            return 0
        seconds = _number(fields, "last_handshake_time_sec", _S64)
        nanoseconds = _number(fields, "last_handshake_time_nsec", _NANOSECONDS)
        if self._relative_to is None or seconds > OLDEST_HANDSHAKE:
            return seconds
        at = max(1, int(self._relative_to - seconds - nanoseconds / 1e9))
        known = self._memory.handshakes.get(public_key)
        return known if known and abs(at - known) <= HANDSHAKE_JITTER else at

    def device(self, name: str, interface: _InterfaceFields) -> Device:
        """Builds the device, and stores this reply in the memory."""
        keys = sorted(self._places)
        order = [self._places[key] for key in keys]
        peers = [known[1] for known in self._known.values()]
        handshakes = [self._handshakes[row] for row in order]
        self._memory.peers = self._known
        if self._relative_to is not None:
            self._memory.handshakes = dict(zip(keys, handshakes, strict=True))
        return Device(
            name=name,
            kind="userspace",
            public_key=interface.public_key,
            listen_port=interface.listen_port,
            fwmark=interface.fwmark,
            peers=tuple([peers[row] for row in order]),
            last_handshake=tuple(handshakes),
            receive_bytes=tuple([self._received[row] for row in order]),
            transmit_bytes=tuple([self._transmitted[row] for row in order]),
        )


def _fields(text: str, foreign: frozenset[str], misplaced: str) -> tuple[Fields, tuple[str, ...]]:
    """The lines of a section by key, and the values of its allowed_ip lines. No other known key may
    repeat."""
    if not text:
        return {}, ()
    pairs = [line.split("=", 1) for line in text[:-1].split("\n")]
    try:
        fields = dict(pairs)
    except ValueError:
        raise _BadLineError("", "must be KEY=VALUE") from None
    allowed_ips = tuple([value for key, value in pairs if key == "allowed_ip"])
    if not foreign.isdisjoint(fields):
        raise _BadLineError(next(key for key in fields if key in foreign), misplaced)
    if len(pairs) > len(fields) + max(0, len(allowed_ips) - 1):
        _refuse_repetition([key for key, _ in pairs])
    return fields, allowed_ips


def _refuse_repetition(keys: list[str]) -> None:
    """Raises an error for a known key that repeats, as its second value would hide the first. Unknown keys
    may repeat."""
    for key in (_DEVICE_KEYS | _PEER_KEYS) - {"allowed_ip"}:
        if keys.count(key) > 1:
            raise _BadLineError(key, "occurs twice", nth=1)


def _peer(fields: Fields, allowed_ips: tuple[str, ...]) -> Peer:
    return Peer(
        public_key=_public_key(fields, "public_key"),
        allowed_ips=tuple([_network(text, nth) for nth, text in enumerate(allowed_ips)]),
        endpoint=_endpoint(fields["endpoint"]) if "endpoint" in fields else "",
        persistent_keepalive=_number(fields, "persistent_keepalive_interval", _U16, "0"),
        has_preshared_key=_is_secret_set(fields, "preshared_key"),
        protocol_version=_number(fields, "protocol_version", _U32, "1"),
    )


def _number(fields: Fields, key: str, largest: int, default: str | None = None) -> int:
    text = fields.get(key, default)
    if text is None:
        raise _BadLineError(key, "is missing")
    if text.isdigit() and text.isascii() and len(text) <= 20 and (number := int(text)) <= largest:
        return number
    raise _BadLineError(key, f"must be a whole number from 0 to {largest}")


def _public_key(fields: Fields, key: str) -> str:
    if not _KEY.fullmatch(fields[key]):
        raise _BadLineError(key, "must be 64 hexadecimal digits")
    return b64encode(bytes.fromhex(fields[key])).decode()


def _is_secret_set(fields: Fields, key: str) -> bool:
    mark = fields.get(key, _NO_KEY)
    if mark not in (_NO_KEY, _SOME_KEY):
        raise _BadLineError(key, "must be 64 hexadecimal digits")
    return mark == _SOME_KEY


def _network(text: str, nth: int) -> str:
    """An allowed IP in the format of wg(8): the address by inet_ntop, with its host bits."""
    address, _, length = text.partition("/")
    try:
        canonical, bits = _address(address)
    except ValueError:
        raise _BadLineError("allowed_ip", "must be ADDRESS/LENGTH", nth) from None
    if not (length.isdigit() and length.isascii() and len(length) <= 3 and int(length) <= bits):
        raise _BadLineError("allowed_ip", f"must have a prefix length from 0 to {bits}", nth)
    return f"{canonical}/{int(length)}"


def _endpoint(text: str) -> str:
    """An endpoint in the format of wg(8): numeric, IPv6 in brackets with its zone."""
    match = _ENDPOINT.fullmatch(text)
    try:
        if match and int(match["port"]) <= _U16:
            address, bits = _address(match["v6"] or match["v4"])
            if (bits == 128) == (match["v6"] is not None):
                port = int(match["port"])
                return f"[{address}{match['zone'] or ''}]:{port}" if bits == 128 else f"{address}:{port}"
    except ValueError:
        pass
    raise _BadLineError("endpoint", "must be ADDRESS:PORT, with an IPv6 address in brackets")


def _address(text: str) -> tuple[str, int]:
    """An address in canonical form, and its number of bits. Raises ValueError if it is not an address."""
    family, bits = (socket.AF_INET6, 128) if ":" in text else (socket.AF_INET, 32)
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, text)), bits
    except OSError:
        raise ValueError("not an address") from None
