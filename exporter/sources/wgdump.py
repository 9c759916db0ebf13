"""Decodes the dump of one WireGuard device, message by message, into a `Device`.

There are three decoders, from fast to general. They give the same result; tests compare the first two with
the third.

1. `RememberedMessage`: the message equals that of the previous dump, except for its counters. It is compared
as a
   whole, and the counters of all peers are extracted with one call. If a few peers have another
   configuration, only those are decoded again, by decoder 2. This is the usual case for peers that rarely
   change.
2. `Layout`: one peer whose attributes have the order and sizes that the kernel uses today. The header of each
   attribute at a fixed offset is verified.
3. `walk`: attributes of any order and alignment, and unknown attributes of future kernels.

The kernel sends the private key and every preshared key. They are overwritten in the receive buffer before
the other attributes of the device or peer are read, and are never copied.

Sources of the numbers: include/uapi/linux/wireguard.h and drivers/net/wireguard/netlink.c of Linux.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import compress, count, repeat
from operator import ne
from typing import NamedTuple

from exporter.errors import DumpTruncated, Malformed
from exporter.model import Device, Peer
from exporter.sources.addresses import allowed_ips, endpoint
from exporter.sources.attributes import ATTRIBUTE, fixed, header, text, walk

# Attributes of a device (first line) and of a peer.
IFINDEX, IFNAME, PRIVATE_KEY, PUBLIC_KEY, LISTEN_PORT, FWMARK, PEERS = 1, 2, 3, 4, 6, 7, 8
P_PUBLIC_KEY, P_PRESHARED_KEY, P_ENDPOINT, P_KEEPALIVE, P_HANDSHAKE = 1, 2, 4, 5, 6
P_RX_BYTES, P_TX_BYTES, P_ALLOWED_IPS, P_PROTOCOL_VERSION = 7, 8, 9, 10

U16, U32, U64 = (struct.Struct("=" + letter) for letter in "HIQ")
TIMESPEC = struct.Struct("=qq")  # seconds, nanoseconds; the nanoseconds are dropped, as in `wg show`
NO_KEY = bytes(32)
FIXED = frozenset(  # the attributes that a layout has before the optional ones
    (P_PUBLIC_KEY, P_PRESHARED_KEY, P_KEEPALIVE, P_HANDSHAKE, P_RX_BYTES, P_TX_BYTES, P_PROTOCOL_VERSION)
)
NLA_F_NESTED = 0x8000


@dataclass(frozen=True, slots=True)
class Layout:
    """Offsets of a peer's attributes from its nest header, and the headers that must be at these offsets."""

    headers: struct.Struct
    expected: tuple[int, ...]
    values: struct.Struct  # public key, handshake seconds, keepalive, sent, received, protocol version
    sent: int
    received: int
    size: int  # the endpoint and the allowed IPs follow, if the peer has them

    def offsets(self, base: int) -> Offsets:
        """The offsets of the values that change, for a peer whose nest begins at `base`."""
        return base + PRESHARED_KEY_AT, base + HANDSHAKE_AT, base + self.sent, base + self.received


_KEY, _PSK, _TIME, _KEEPALIVE = header(36, 1), header(36, 2), header(20, 6), header(6, 5)
_SENT, _RECEIVED, _VERSION, _PAD = header(12, 8), header(12, 7), header(8, 10), header(4, 0)

PRESHARED_KEY_AT, HANDSHAKE_AT = 44, 80


def _layout(sent_pad: int, received_pad: int) -> Layout:
    """The layout with a padding attribute of 0 or 4 bytes before the sent and the received bytes."""
    sent = 108 + sent_pad
    received = sent + 12 + received_pad
    expected = [_KEY, _PSK, _TIME, _KEEPALIVE]
    expected += [_PAD, _SENT] if sent_pad else [_SENT]
    expected += [_PAD, _RECEIVED] if received_pad else [_RECEIVED]
    words = f"{'I' if sent_pad else ''}I8x{'I' if received_pad else ''}I8xI"
    return Layout(
        headers=struct.Struct(f"=4xI32xI32xI16xI4x{words}"),
        expected=(*expected, _VERSION),
        values=struct.Struct(f"=8x32s40xq8x4xH2x{sent_pad + 4}xQ{received_pad + 4}xQ4xI"),
        sent=sent,
        received=received,
        size=received + 16,
    )


# Architectures with unaligned access to a u64, such as x86-64, use the first layout. The others put a padding
# attribute before a u64 that would not be aligned, which depends on the offset of the peer.
LAYOUTS = (_layout(0, 0), _layout(4, 4), _layout(0, 4), _layout(4, 0))

Offsets = tuple[int, int, int, int]  # of preshared key, handshake, sent and received bytes
Span = tuple[int, int]  # start and end of a peer's attributes
Columns = tuple[Sequence[int], Sequence[int], Sequence[int]]  # handshakes, sent, received
Static = tuple[tuple[bytes, ...], ...]


def _layout_of(buffer: bytearray, start: int, end: int) -> Layout | None:
    """The layout of a peer's attributes, verified by their headers; None = none of the known layouts."""
    base = start - ATTRIBUTE.size
    for layout in LAYOUTS:
        if base + layout.size <= end and layout.headers.unpack_from(buffer, base) == layout.expected:
            return layout
    return None


class Match(NamedTuple):
    """The result of comparing a message with the remembered one."""

    columns: Columns
    static: Static  # to be remembered after `changed` are decoded
    changed: list[int]  # peers whose configuration may have changed: decode them again


class RememberedMessage:
    """A message of the previous dump, without its counters and keys."""

    def __init__(
        self,
        buffer: bytearray,
        start: int,
        end: int,
        offsets: list[Offsets],
        absent: list[bool],
        spans: list[Span],
    ) -> None:
        form, at = ["="], start
        for secret, handshake, sent, received in offsets:
            form.append(f"{secret - at}s32x{handshake - secret - 32}sq8x")
            form.append(f"{sent - handshake - 16}sQ{received - sent - 8}sQ")
            at = received + 8
        form.append(f"{end - at}s")
        self._layout = struct.Struct("".join(form))
        self._start = start
        self._offsets = offsets
        self.spans = spans
        borders = [start + ATTRIBUTE.size, *(last for _, last in spans)]
        starts = [first - ATTRIBUTE.size for first, _ in spans]
        self._in_a_row = borders == [
            *starts,
            end,
        ]  # the peers follow each other without other attributes between them
        self._firsts = [each[0] for each in offsets]  # of the preshared keys
        self._ends = [first + 32 for first in self._firsts]
        self._absent = absent
        keys = zip(self._firsts, self._ends, absent, strict=True)
        self._wipe = [(first, last) for first, last, gone in keys if not gone]
        self._static = self._parts(buffer)[0]

    def _parts(self, buffer: bytearray) -> tuple[tuple[tuple[bytes, ...], ...], Columns]:
        """The bytes that must be equal, and the counters. The layout has seven fields for each peer, and a
        last one for the rest."""
        fields = self._layout.unpack_from(buffer, self._start)
        static = (fields[0::7], fields[1::7], fields[3::7], fields[5::7])
        return static, (fields[2::7], fields[4::7], fields[6::7])

    def match(self, buffer: bytearray, start: int, end: int) -> Match | None:
        """Compares a message; None = it is another message. Does not change the buffer: call `wipe` after
        it."""
        if (start, end - start) != (self._start, self._layout.size) or not _is_peers_alone(
            buffer, start, end
        ):
            return None
        static, columns = self._parts(buffer)
        changed = [] if static == self._static else self._changed(buffer, static)
        if changed is None:
            return None
        if list(map(buffer.startswith, repeat(NO_KEY), self._firsts, self._ends)) != self._absent:
            return None
        return Match(columns, static, changed)

    def update(self, static: Static) -> None:
        self._static = static

    def wipe(self, buffer: bytearray) -> None:
        """Overwrites the preshared keys in the buffer."""
        for first, last in self._wipe:
            buffer[first:last] = NO_KEY

    def _changed(self, buffer: bytearray, static: Static) -> list[int] | None:
        """The peers next to bytes that changed: another endpoint, or other allowed IPs of the same size. None
        = more than a quarter of the peers, or a peer whose values have other offsets."""
        if not self._in_a_row or static[1:] != self._static[1:]:
            return None
        gaps = list(compress(count(), map(ne, static[0], self._static[0])))
        if len(gaps) > len(self._offsets) // 4:
            return None
        adjacent = {peer for gap in gaps for peer in (gap - 1, gap) if 0 <= peer < len(self._offsets)}
        changed = sorted(adjacent)
        for index in changed:
            first, last = self.spans[index]
            base = first - ATTRIBUTE.size
            layout = _layout_of(buffer, first, last)
            if ATTRIBUTE.unpack_from(buffer, base)[0] != last - base or layout is None:
                return None
            if layout.offsets(base) != self._offsets[index]:
                return None
        return changed


@dataclass(slots=True)
class Message:
    """The peers of one message. `continued`: the rest of the last peer of the previous message."""

    size: int
    continued: Peer | None
    peers: list[Peer]
    remembered: RememberedMessage | None = None


class Decoder:
    """Decodes the dumps of one device. Unchanged peers are the same objects in each dump."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[object, Peer]] = {}
        self._messages: list[Message] = []
        self._merged: dict[int, Peer] = {}
        self.begin()

    def begin(self) -> None:
        """Starts a new dump, and forgets an incomplete one."""
        self._index = 0
        self._device: Device | None = None
        self._peers: list[Peer] = []
        self._handshakes: list[int] = []
        self._sent: list[int] = []
        self._received: list[int] = []

    def feed(self, buffer: bytearray, start: int, end: int) -> None:
        """Decodes one message. `buffer[start:end]` are its attributes, without the generic netlink header."""
        before = self._messages[self._index] if self._index < len(self._messages) else None
        if before and before.remembered and (match := before.remembered.match(buffer, start, end)):
            for peer in match.changed:
                before.peers[peer] = self._peer(buffer, *before.remembered.spans[peer])[0]
            before.remembered.update(match.static)
            before.remembered.wipe(buffer)
            self._append(before, match.columns)
        else:
            message, columns = self._decode(buffer, start, end, before)
            self._append(message, columns)
            self._messages[self._index : self._index + 1] = [message]
        self._index += 1

    def finish(self) -> Device:
        """The device. Call this after the last message."""
        if self._device is None:
            raise DumpTruncated("the dump ended before the attributes of its device")
        del self._messages[self._index :]
        if len(self._known) > 2 * len(self._peers) + 64:
            self._known.clear()  # mostly removed peers; the others are added again by the next dump
        return replace(
            self._device,
            peers=self._peers,
            last_handshake=self._handshakes,
            transmit_bytes=self._sent,
            receive_bytes=self._received,
        )

    def _append(self, message: Message, columns: Columns) -> None:
        if message.continued:
            self._continue(message.continued)
        self._peers += message.peers
        self._handshakes += columns[0]
        self._sent += columns[1]
        self._received += columns[2]

    def _continue(self, rest: Peer) -> None:
        """Adds the allowed IPs that did not fit into the previous message to its last peer."""
        if not self._peers or self._peers[-1].public_key != rest.public_key:
            raise Malformed("allowed IPs continue a peer that is not the previous one")
        whole = replace(self._peers[-1], allowed_ips=self._peers[-1].allowed_ips + rest.allowed_ips)
        before = self._merged.get(self._index)
        self._merged[self._index] = self._peers[-1] = before if before == whole else whole

    def _decode(
        self, buffer: bytearray, start: int, end: int, before: Message | None
    ) -> tuple[Message, Columns]:
        """Decodes a message that differs from the remembered one, peer by peer."""
        message = Message(end - start, None, [])
        offsets: list[Offsets] = []
        spans: list[Span] = []
        absent: list[bool] = []
        columns: tuple[list[int], list[int], list[int]] = ([], [], [])
        device = self._device or Device("", "kernel")
        for kind, first, last in walk(buffer, start, end):
            if kind == PRIVATE_KEY:
                buffer[first:last] = bytes(last - first)
            elif kind == PEERS:
                for _, peer_first, peer_last in walk(buffer, first, last):
                    peer, values, own_offsets = self._peer(buffer, peer_first, peer_last)
                    if values is None:
                        self._split(message, peer)
                        continue
                    message.peers.append(peer)
                    absent.append(not peer.has_preshared_key)
                    offsets.append(own_offsets)
                    spans.append((peer_first, peer_last))
                    for column, value in zip(columns, values, strict=True):
                        column.append(value)
            else:
                device = _with_attribute(device, kind, buffer, first, last)
        self._device = device if device.name else self._device
        if _is_peers_alone(buffer, start, end) and self._is_stable(message, before, offsets):
            message.remembered = RememberedMessage(buffer, start, end, offsets, absent, spans)
        return message, columns

    def _is_stable(self, message: Message, before: Message | None, offsets: list[Offsets]) -> bool:
        """Whether to remember the message: the previous dump had nearly the same one."""
        return (
            before is not None
            and before.size == message.size
            and _alike(before.peers, message.peers)
            and all(0 < secret < handshake < sent < received for secret, handshake, sent, received in offsets)
        )

    def _split(self, message: Message, rest: Peer) -> None:
        if message.peers:  # the kernel does not do this today, but the protocol permits it
            last = message.peers[-1]
            if last.public_key != rest.public_key:
                raise Malformed("allowed IPs continue a peer that is not the previous one")
            message.peers[-1] = replace(last, allowed_ips=last.allowed_ips + rest.allowed_ips)
        elif message.continued:
            raise Malformed("a message continues two peers")
        else:
            message.continued = rest

    def _peer(
        self, buffer: bytearray, start: int, end: int
    ) -> tuple[Peer, tuple[int, int, int] | None, Offsets]:
        """Decodes a peer: the peer, its counters, their offsets. Without counters it is the rest of a split
        peer."""
        base = start - ATTRIBUTE.size
        layout = _layout_of(buffer, start, end)
        if layout is None:
            return self._walk_peer(buffer, start, end)
        secret = base + PRESHARED_KEY_AT
        shared = not buffer.startswith(NO_KEY, secret, secret + 32)
        if shared:
            buffer[secret : secret + 32] = NO_KEY
        key, handshake, keepalive, sent, received, version = layout.values.unpack_from(buffer, base)
        static = (keepalive, shared, version, bytes(buffer[base + layout.size : end]))
        known = self._known.get(key)
        if known and known[0] == static:
            peer = known[1]
        else:
            tail = list(walk(buffer, base + layout.size, end))
            if not FIXED.isdisjoint(kind for kind, _, _ in tail) or _has_duplicates(tail):
                return self._walk_peer(buffer, start, end)
            peer = _make_peer(key, keepalive, shared, version, buffer, tail)
            self._known[key] = (static, peer)
        return peer, (handshake, sent, received), layout.offsets(base)

    def _walk_peer(
        self, buffer: bytearray, start: int, end: int
    ) -> tuple[Peer, tuple[int, int, int] | None, Offsets]:
        """Decodes a peer whose attributes have any order."""
        attributes = list(walk(buffer, start, end))
        shared = False
        for kind, first, last in attributes:  # keys first: the rest may raise
            if kind == P_PRESHARED_KEY:
                shared = buffer.count(0, first, last) != last - first
                buffer[first:last] = bytes(last - first)
        if _has_duplicates(attributes):
            raise Malformed("a peer has an attribute twice")
        found = {kind: (first, last) for kind, first, last in attributes}
        if P_PRESHARED_KEY in found:
            first, last = found[P_PRESHARED_KEY]
            if last - first != len(NO_KEY):
                raise Malformed(f"a preshared key has {last - first} bytes; it must have {len(NO_KEY)}")
        if P_PUBLIC_KEY not in found:
            raise Malformed("a peer has no public key")
        first, last = found[P_PUBLIC_KEY]
        if last - first != 32:
            raise Malformed(f"a public key has {last - first} bytes; it must have 32")
        key = bytes(buffer[first:last])

        def number(kind: int, layout: struct.Struct) -> int:
            return fixed(buffer, layout, *found[kind])[0] if kind in found else 0

        keepalive, version = number(P_KEEPALIVE, U16), number(P_PROTOCOL_VERSION, U32)
        tail = ((kind, *span) for kind, span in found.items())
        peer = _make_peer(key, keepalive, shared, version, buffer, tail)
        if not found.keys() - {0, P_PUBLIC_KEY, P_ALLOWED_IPS}:
            return peer, None, (0, 0, 0, 0)
        known = self._known.get(key)
        if known and known[1] == peer:
            peer = known[1]
        self._known[key] = (None, peer)
        values = (number(P_HANDSHAKE, TIMESPEC), number(P_TX_BYTES, U64), number(P_RX_BYTES, U64))
        kinds = (P_PRESHARED_KEY, P_HANDSHAKE, P_TX_BYTES, P_RX_BYTES)
        secret, handshake, sent, received = (found.get(kind, (0, 0))[0] for kind in kinds)
        return peer, values, (secret, handshake, sent, received)


def _has_duplicates(attributes: Sequence[tuple[int, int, int]]) -> bool:
    """Whether a type occurs twice; padding (type 0) may."""
    kinds = [kind for kind, _, _ in attributes if kind]
    return len(set(kinds)) < len(kinds)


def _is_peers_alone(buffer: bytearray, start: int, end: int) -> bool:
    """Whether a message has only peers. A message with attributes of the device may contain the private key,
    and is never remembered."""
    return end - start >= 4 and ATTRIBUTE.unpack_from(buffer, start) in (
        (end - start, PEERS),
        (end - start, PEERS | NLA_F_NESTED),
    )


def _alike(before: list[Peer], now: list[Peer]) -> bool:
    """Whether both have the same peers, and at least three quarters of them the same configuration."""
    changed = [(old, new) for old, new in zip(before, now, strict=False) if old is not new and old != new]
    same = all(old.public_key == new.public_key for old, new in changed)
    return len(before) == len(now) and same and len(changed) <= len(now) // 4


def _with_attribute(device: Device, kind: int, buffer: bytearray, start: int, end: int) -> Device:
    """The device with one more of its attributes; unknown attributes are ignored."""
    if kind == IFINDEX:
        fixed(buffer, U32, start, end)
    elif kind == IFNAME:
        return replace(device, name=text(buffer, start, end))
    elif kind == LISTEN_PORT:
        return replace(device, listen_port=fixed(buffer, U16, start, end)[0])
    elif kind == FWMARK:
        return replace(device, fwmark=fixed(buffer, U32, start, end)[0])
    elif kind == PUBLIC_KEY:
        if end - start != 32:
            raise Malformed(f"a public key has {end - start} bytes; it must have 32")
        return replace(device, public_key=b64encode(buffer[start:end]).decode("ascii"))
    return device


def _make_peer(
    key: bytes,
    keepalive: int,
    shared: bool,
    version: int,
    buffer: bytearray,
    tail: Iterable[tuple[int, int, int]],
) -> Peer:
    """A peer from its fixed values and the offsets of its optional attributes."""
    where = ""
    prefixes: tuple[str, ...] = ()
    for kind, first, last in tail:
        if kind == P_ENDPOINT:
            where = endpoint(buffer, first, last)
        elif kind == P_ALLOWED_IPS:
            prefixes = allowed_ips(buffer, first, last)
    return Peer(b64encode(key).decode("ascii"), prefixes, where, keepalive, shared, version)
