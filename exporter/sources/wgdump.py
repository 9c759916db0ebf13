"""The dump of one WireGuard device, message by message → `Device`.

Three ways lead through a message, and each says the same:

1. `Memo`: the message has the shape and, counters aside, the very bytes that it had last time. It is
   compared and its counters are picked out, all peers at once; a few that moved are decoded by the second
   way. This is what a gateway pays whose peers rarely change.
2. `Layout`: one peer whose attributes stand where the kernel has always put them. Each attribute header
   that the offsets assume is verified.
3. `walk`: any order, any alignment, attributes of kernels to come. The truth that the others are tested
   against.

The kernel sends the private key and each preshared key. They are overwritten in the receive buffer before
anything else of their peer is read; no statement here takes a copy.

Source of all numbers: include/uapi/linux/wireguard.h and drivers/net/wireguard/netlink.c of Linux.
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

# Attributes of a device, and of a peer.
IFINDEX, IFNAME, PRIVATE_KEY, PUBLIC_KEY, LISTEN_PORT, FWMARK, PEERS = 1, 2, 3, 4, 6, 7, 8
P_PUBLIC_KEY, P_PRESHARED_KEY, P_ENDPOINT, P_KEEPALIVE, P_HANDSHAKE = 1, 2, 4, 5, 6
P_RX_BYTES, P_TX_BYTES, P_ALLOWED_IPS, P_PROTOCOL_VERSION = 7, 8, 9, 10

U16, U32, U64 = (struct.Struct("=" + letter) for letter in "HIQ")
TIMESPEC = struct.Struct("=qq")  # seconds, nanoseconds; `wg show` drops the nanoseconds, and so do we
NO_KEY = bytes(32)
NLA_F_NESTED = 0x8000


@dataclass(frozen=True, slots=True)
class Layout:
    """Offsets from a peer's nest header, as one kernel build emits them, and the headers that prove it."""

    headers: struct.Struct
    expected: tuple[int, ...]
    values: struct.Struct  # public key, handshake seconds, keepalive, sent, received, protocol version
    sent: int
    received: int
    size: int  # endpoint and allowed IPs follow, if there are any

    def place(self, base: int) -> Place:
        """Where a peer whose nest begins at `base` has what a memo cuts out."""
        return base + PRESHARED_KEY_AT, base + HANDSHAKE_AT, base + self.sent, base + self.received


_KEY, _PSK, _TIME, _KEEPALIVE = header(36, 1), header(36, 2), header(20, 6), header(6, 5)
_SENT, _RECEIVED, _VERSION, _PAD = header(12, 8), header(12, 7), header(8, 10), header(4, 0)

PRESHARED_KEY_AT, HANDSHAKE_AT = 44, 80


def _layout(sent_pad: int, received_pad: int) -> Layout:
    """The layout with so many bytes of empty attribute (0 or 4) before the sent and the received bytes."""
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


# Architectures that may read a u64 at any address, x86-64 among them, use the first. The others put an
# empty attribute before a u64 that would not be
# aligned; which ones would not depends on where the peer starts.
LAYOUTS = (_layout(0, 0), _layout(4, 4), _layout(0, 4), _layout(4, 0))

Place = tuple[int, int, int, int]  # offsets of preshared key, handshake, sent and received bytes
Span = tuple[int, int]  # offsets of a peer's attributes
Columns = tuple[Sequence[int], Sequence[int], Sequence[int]]  # handshakes, sent, received
Static = tuple[tuple[bytes, ...], ...]


def _layout_of(buffer: bytearray, start: int, end: int) -> Layout | None:
    """The layout that a peer's attributes are proved to have."""
    base = start - ATTRIBUTE.size
    for layout in LAYOUTS:
        if base + layout.size <= end and layout.headers.unpack_from(buffer, base) == layout.expected:
            return layout
    return None


class Match(NamedTuple):
    """A message that is the one remembered, but for the configuration of a few peers."""

    columns: Columns
    static: Static  # to be remembered once those peers are decoded
    changed: list[int]  # peers to be decoded again


class Memo:
    """One message as it was last time, counters and keys cut out."""

    def __init__(
        self,
        buffer: bytearray,
        start: int,
        end: int,
        places: list[Place],
        absent: list[bool],
        spans: list[Span],
    ) -> None:
        form, at = ["="], start
        for secret, handshake, sent, received in places:
            form.append(f"{secret - at}s32x{handshake - secret - 32}sq8x")
            form.append(f"{sent - handshake - 16}sQ{received - sent - 8}sQ")
            at = received + 8
        form.append(f"{end - at}s")
        self._layout = struct.Struct("".join(form))
        self._start = start
        self._places = places
        self.spans = spans
        borders = [start + ATTRIBUTE.size, *(last for _, last in spans)]
        starts = [first - ATTRIBUTE.size for first, _ in spans]
        self._in_a_row = borders == [*starts, end]  # nothing but whole peers
        self._firsts = [place[0] for place in places]  # of the preshared keys
        self._ends = [first + 32 for first in self._firsts]
        self._absent = absent
        keys = zip(self._firsts, self._ends, absent, strict=True)
        self._wipe = [(first, last) for first, last, gone in keys if not gone]
        self._static = self._parts(buffer)[0]

    def _parts(self, buffer: bytearray) -> tuple[tuple[tuple[bytes, ...], ...], Columns]:
        """(everything that must be as it was, the counters); seven fields a peer, and the rest."""
        fields = self._layout.unpack_from(buffer, self._start)
        static = (fields[0::7], fields[1::7], fields[3::7], fields[5::7])
        return static, (fields[2::7], fields[4::7], fields[6::7])

    def match(self, buffer: bytearray, start: int, end: int) -> Match | None:
        """What is new, if the message is the one remembered. The buffer is as it was; see `wipe`."""
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

    def remember(self, static: Static) -> None:
        self._static = static

    def wipe(self, buffer: bytearray) -> None:
        """No preshared key stays in the buffer."""
        for first, last in self._wipe:
            buffer[first:last] = NO_KEY

    def _changed(self, buffer: bytearray, static: Static) -> list[int] | None:
        """The peers beside bytes that changed, where those are few, and each still begins, ends and has its
        counters where it had: an endpoint moved, or allowed IPs of the same size."""
        if not self._in_a_row or static[1:] != self._static[1:]:
            return None
        gaps = list(compress(count(), map(ne, static[0], self._static[0])))
        if len(gaps) > len(self._places) // 4:
            return None
        beside = {peer for gap in gaps for peer in (gap - 1, gap) if 0 <= peer < len(self._places)}
        changed = sorted(beside)
        for index in changed:
            first, last = self.spans[index]
            base = first - ATTRIBUTE.size
            layout = _layout_of(buffer, first, last)
            if ATTRIBUTE.unpack_from(buffer, base)[0] != last - base or layout is None:
                return None
            if layout.place(base) != self._places[index]:
                return None
        return changed


@dataclass(slots=True)
class Message:
    """What one message held. `continued` is the rest of the peer that the message before ended with."""

    size: int
    continued: Peer | None
    peers: list[Peer]
    memo: Memo | None = None


class Decoder:
    """Decodes one device, dump after dump; unchanged peers are the same objects each time."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[object, Peer]] = {}
        self._messages: list[Message] = []
        self._merged: dict[int, Peer] = {}
        self.begin()

    def begin(self) -> None:
        """A new dump: what an abandoned one left is forgotten."""
        self._index = 0
        self._device: Device | None = None
        self._peers: list[Peer] = []
        self._handshakes: list[int] = []
        self._sent: list[int] = []
        self._received: list[int] = []

    def feed(self, buffer: bytearray, start: int, end: int) -> None:
        """One message: `buffer[start:end]` holds its attributes, behind the generic netlink header."""
        before = self._messages[self._index] if self._index < len(self._messages) else None
        if before and before.memo and (match := before.memo.match(buffer, start, end)):
            for peer in match.changed:
                before.peers[peer] = self._peer(buffer, *before.memo.spans[peer])[0]
            before.memo.remember(match.static)
            before.memo.wipe(buffer)
            self._append(before, match.columns)
        else:
            message, columns = self._decode(buffer, start, end, before)
            self._append(message, columns)
            self._messages[self._index : self._index + 1] = [message]
        self._index += 1

    def finish(self) -> Device:
        """The device, after the last message."""
        if self._device is None:
            raise DumpTruncated("the dump ended before it said which device it is of")
        del self._messages[self._index :]
        if len(self._known) > 2 * len(self._peers) + 64:
            self._known.clear()  # mostly peers that were removed; those that remain are met again
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
        """A peer with more allowed IPs than one message holds: they go to the peer that came before."""
        if not self._peers or self._peers[-1].public_key != rest.public_key:
            raise Malformed("allowed IPs arrived for a peer that was not being described")
        whole = replace(self._peers[-1], allowed_ips=self._peers[-1].allowed_ips + rest.allowed_ips)
        before = self._merged.get(self._index)
        self._merged[self._index] = self._peers[-1] = before if before == whole else whole

    def _decode(
        self, buffer: bytearray, start: int, end: int, before: Message | None
    ) -> tuple[Message, Columns]:
        """A message that is not remembered."""
        message = Message(end - start, None, [])
        places: list[Place] = []
        spans: list[Span] = []
        absent: list[bool] = []
        columns: tuple[list[int], list[int], list[int]] = ([], [], [])
        device = self._device or Device("", "kernel")
        for kind, first, last in walk(buffer, start, end):
            if kind == PRIVATE_KEY:
                buffer[first:last] = bytes(last - first)
            elif kind == PEERS:
                for _, peer_first, peer_last in walk(buffer, first, last):
                    peer, values, place = self._peer(buffer, peer_first, peer_last)
                    if values is None:
                        self._split(message, peer)
                        continue
                    message.peers.append(peer)
                    absent.append(not peer.has_preshared_key)
                    places.append(place)
                    spans.append((peer_first, peer_last))
                    for column, value in zip(columns, values, strict=True):
                        column.append(value)
            else:
                device = _described(device, kind, buffer, first, last)
        self._device = device if device.name else self._device
        if _is_peers_alone(buffer, start, end) and self._settled(message, before, places):
            message.memo = Memo(buffer, start, end, places, absent, spans)
        return message, columns

    def _settled(self, message: Message, before: Message | None, places: list[Place]) -> bool:
        """Is the message worth remembering? It came nearly the same twice."""
        return (
            before is not None
            and before.size == message.size
            and _alike(before.peers, message.peers)
            and all(secret < handshake < sent < received for secret, handshake, sent, received in places)
        )

    def _split(self, message: Message, rest: Peer) -> None:
        if message.peers:  # the kernel splits only where a message ends, but nothing forbids another order
            last = message.peers[-1]
            if last.public_key != rest.public_key:
                raise Malformed("allowed IPs arrived for a peer that was not being described")
            message.peers[-1] = replace(last, allowed_ips=last.allowed_ips + rest.allowed_ips)
        elif message.continued:
            raise Malformed("two unfinished peers in one message")
        else:
            message.continued = rest

    def _peer(
        self, buffer: bytearray, start: int, end: int
    ) -> tuple[Peer, tuple[int, int, int] | None, Place]:
        """(the peer, its counters, where they stand). No counters: the rest of a split peer."""
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
            tail = walk(buffer, base + layout.size, end)
            peer = _make_peer(key, keepalive, shared, version, buffer, tail)
            self._known[key] = (static, peer)
        return peer, (handshake, sent, received), layout.place(base)

    def _walk_peer(
        self, buffer: bytearray, start: int, end: int
    ) -> tuple[Peer, tuple[int, int, int] | None, Place]:
        """A peer whose attributes may have any order."""
        found = {kind: (first, last) for kind, first, last in walk(buffer, start, end)}
        shared = False
        if P_PRESHARED_KEY in found:
            first, last = found[P_PRESHARED_KEY]
            shared = buffer.count(0, first, last) != last - first
            buffer[first:last] = bytes(last - first)
        if P_PUBLIC_KEY not in found:
            raise Malformed("a peer without its public key")
        first, last = found[P_PUBLIC_KEY]
        if last - first != 32:
            raise Malformed(f"a public key of {last - first} bytes")
        key = bytes(buffer[first:last])

        def number(kind: int, layout: struct.Struct) -> int:
            return fixed(buffer, layout, *found[kind])[0] if kind in found else 0

        keepalive, version = number(P_KEEPALIVE, U16), number(P_PROTOCOL_VERSION, U32)
        tail = ((kind, *place) for kind, place in found.items())
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


def _is_peers_alone(buffer: bytearray, start: int, end: int) -> bool:
    """Whether a message holds peers and nothing else. One that describes the device may hold its private key,
    and of such a message nothing is taken before that is wiped."""
    return end - start >= 4 and ATTRIBUTE.unpack_from(buffer, start) in (
        (end - start, PEERS),
        (end - start, PEERS | NLA_F_NESTED),
    )


def _alike(before: list[Peer], now: list[Peer]) -> bool:
    """The same peers, most of them configured as they were?"""
    changed = [(old, new) for old, new in zip(before, now, strict=False) if old is not new and old != new]
    same = all(old.public_key == new.public_key for old, new in changed)
    return len(before) == len(now) and same and len(changed) <= len(now) // 4


def _described(device: Device, kind: int, buffer: bytearray, start: int, end: int) -> Device:
    """The device with one more of its own attributes; those not known are passed over."""
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
            raise Malformed(f"a public key of {end - start} bytes")
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
    """A peer from its fixed values and the places of the attributes that may be missing."""
    where = ""
    prefixes: tuple[str, ...] = ()
    for kind, first, last in tail:
        if kind == P_ENDPOINT:
            where = endpoint(buffer, first, last)
        elif kind == P_ALLOWED_IPS:
            prefixes = allowed_ips(buffer, first, last)
    return Peer(b64encode(key).decode("ascii"), prefixes, where, keepalive, shared, version)
