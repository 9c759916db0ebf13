"""Replays the netlink dumps of a busy gateway.

WireGuard's counters change only with real traffic, and one machine cannot have the traffic of 100,000 peers.
So the bytes of a dump are made once, and `advance` writes the changes of one scrape interval into them.
"""

from __future__ import annotations

import random
import socket
import struct
import time

from exporter.sources import wgdump as wg
from tests.kit.servers.netlinkdump import PeerFacts, attribute, device_attributes, nested, peer_attributes

NLMSG_DONE, NLM_F_MULTI = 3, 2
HEADER = struct.Struct("=IHHIIBxxx")  # netlink: length, type, flags, sequence, port; generic netlink: command
SEQUENCE_AT = 8
SEQUENCE = struct.Struct("=I")
DONE = struct.Struct("=IHHIIi")
FAMILY = 0x1C

# Size of a datagram of a dump: 32 KiB minus the kernel's struct skb_shared_info.
DATAGRAM = 32 * 1024 - 320

INTERVAL = 15  # seconds between two readings
RENEWAL = 120 // INTERVAL  # readings between two handshakes of a busy peer, which come every 120 s

KEY, IPV4, IPV6 = b"\xee" * 32, "10.0.0.1", "fd00::1"
TEMPLATE = nested(
    peer_attributes(
        PeerFacts(
            key=KEY,
            keepalive=25,
            handshake=(1, 0),
            endpoint=("192.0.2.1", 51820),
            allowed_ips=(f"{IPV4}/32", f"{IPV6}/128"),
        )
    )
)
KEY_AT = TEMPLATE.index(KEY)
IPV4_AT = TEMPLATE.index(socket.inet_pton(socket.AF_INET, IPV4))
IPV6_AT = TEMPLATE.index(socket.inet_pton(socket.AF_INET6, IPV6))
LAYOUT = wg.LAYOUTS[0]
ENDPOINT_AT = LAYOUT.size + 4 + 2  # after the attribute's header and the address family

COUNTERS = struct.Struct("=QIQ")  # sent; the header of the next attribute; received
(RECEIVED_HEADER,) = struct.unpack("=I", attribute(wg.P_RX_BYTES, bytes(8))[:4])
HANDSHAKE = struct.Struct("=qq")
ENDPOINT = struct.Struct("!HI")  # port, IPv4 address


class Replay:
    """The dump of one device. `busy`: share of the peers whose counters change with each reading.

    Busy peers renew their handshakes as WireGuard does. `roaming`: share of the busy peers that change their
    endpoint with each reading. The other peers had their last handshake hours ago. Counters have ten digits.
    `now` is the clock of the replay, in UNIX seconds; each `advance` moves it by one scrape interval.
    """

    def __init__(self, peers: int, busy: float = 1.0, roaming: float = 0.01, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._reading = 0
        self._roaming = roaming
        self.now = int(time.time())
        self.datagrams: list[bytearray] = []
        self._places: list[tuple[bytearray, int]] = []  # each peer's datagram, and the offset of its nest
        self._make(peers)
        numbers = self._random
        self._starts = [
            (numbers.randrange(10**9, 5 * 10**9), numbers.randrange(1, 10**6)) for _ in range(peers)
        ]
        self.busy = sorted(numbers.sample(range(peers), round(peers * busy)))
        for number, (datagram, at) in enumerate(self._places):
            HANDSHAKE.pack_into(datagram, at + wg.HANDSHAKE_AT, self.now - numbers.randrange(3600, 86400), 0)
            self._count(number)
        for number in self.busy:
            datagram, at = self._places[number]
            HANDSHAKE.pack_into(datagram, at + wg.HANDSHAKE_AT, self.now - number % RENEWAL * INTERVAL, 0)

    def _make(self, peers: int) -> None:
        head = device_attributes("wg0", bytes([7] * 32), bytes([9] * 32), 51820)
        each = (DATAGRAM - HEADER.size - len(head) - 4) // len(TEMPLATE)
        for first in range(0, peers, each):
            numbers = range(first, min(first + each, peers))
            front = head if first == 0 else b""
            nests = attribute(wg.PEERS | 0x8000, b"".join([self._peer(number) for number in numbers]))
            size = HEADER.size + len(front) + len(nests)
            datagram = bytearray(HEADER.pack(size, FAMILY, NLM_F_MULTI, 0, 0, 0) + front + nests)
            self.datagrams.append(datagram)
            at = HEADER.size + len(front) + 4
            self._places += [(datagram, at + index * len(TEMPLATE)) for index in range(len(numbers))]

    def _peer(self, number: int) -> bytes:
        nest = bytearray(TEMPLATE)
        nest[KEY_AT : KEY_AT + 32] = self._random.randbytes(32)
        nest[IPV4_AT : IPV4_AT + 4] = struct.pack("!I", 0x0A000000 + number)
        nest[IPV6_AT + 8 : IPV6_AT + 16] = struct.pack("!Q", number + 1)
        ENDPOINT.pack_into(nest, ENDPOINT_AT, 51820, 0xC6120000 + number)
        return bytes(nest)

    def advance(self) -> None:
        """Moves on by one scrape interval."""
        self._reading += 1
        self.now += INTERVAL
        for number in self.busy:
            self._count(number)
            if (number + self._reading) % RENEWAL == 0:
                datagram, at = self._places[number]
                HANDSHAKE.pack_into(datagram, at + wg.HANDSHAKE_AT, self.now, 0)
        for number in self._random.sample(self.busy, round(len(self.busy) * self._roaming)):
            datagram, at = self._places[number]
            port, address = self._random.randrange(1024, 65536), 0xC6130000 + self._random.randrange(65536)
            ENDPOINT.pack_into(datagram, at + ENDPOINT_AT, port, address)

    def _count(self, number: int) -> None:
        datagram, at = self._places[number]
        start, step = self._starts[number]
        sent = start + step * self._reading
        COUNTERS.pack_into(datagram, at + LAYOUT.sent, sent, RECEIVED_HEADER, 2 * sent)

    def answer(self, sock: socket.socket, request: bytes) -> None:
        """Sends the dump for a netlink request. The socket must keep message boundaries."""
        (sequence,) = SEQUENCE.unpack_from(request, SEQUENCE_AT)
        for datagram in self.datagrams:
            SEQUENCE.pack_into(datagram, SEQUENCE_AT, sequence)
            sock.send(datagram)
        sock.send(DONE.pack(DONE.size, NLMSG_DONE, NLM_F_MULTI, sequence, 0, 0))
