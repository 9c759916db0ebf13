"""Generates the snapshots of a busy gateway, as a reading of WireGuard gives them."""

from __future__ import annotations

import base64
import random
from array import array
from dataclasses import replace

from exporter.model import Device, Link, Peer, Reading, Snapshot

START = 1_767_571_200  # 2026-01-05 00:00 UTC: the first snapshot of a day has a sample of every peer
INTERVAL = 30  # seconds
RENEWAL = 120 // INTERVAL  # snapshots between two handshakes of a live peer, which come every 120 s
ROAMING = 0.01  # share of the live peers that move between two snapshots


class BusyGateway:
    """A gateway with one interface. `busy` is the share of its peers that are live.

    The counters of live peers change with each snapshot: by the few bytes of a keepalive up to megabytes,
    depending on the peer. With each snapshot, one live peer in a hundred becomes quiet, and a quiet peer
    becomes live at a new endpoint; if all peers are live, one in a hundred changes its endpoint. The same
    `seed` gives the same snapshots.
    """

    def __init__(self, peers: int, busy: float, seed: int = 1) -> None:
        self._random = numbers = random.Random(seed)
        self._now = START - INTERVAL
        self._key = self._new_key()
        self._peers = [self._peer(number) for number in range(peers)]
        self._most = [round(10 ** numbers.uniform(2.5, 7.5)) for _ in range(peers)]  # bytes in an interval
        self._received = array("q", (numbers.randrange(10**9, 5 * 10**9) for _ in range(peers)))
        self._sent = array("q", (numbers.randrange(10**9, 5 * 10**9) for _ in range(peers)))
        self._handshakes = array("q", (START - numbers.randrange(3600, 86400) for _ in range(peers)))
        order = numbers.sample(range(peers), peers)
        self._live, self._quiet = order[: round(peers * busy)], order[round(peers * busy) :]
        for number in self._live:
            self._handshakes[number] = START - number % RENEWAL * INTERVAL

    def next(self) -> Snapshot:
        """The next snapshot: the first is taken at START, each further one an interval later."""
        self._now += INTERVAL
        for _ in range(round(len(self._live) * ROAMING)):
            self._move()
        renewing = self._now // INTERVAL % RENEWAL
        for number in self._live:
            most = self._most[number]
            self._received[number] += self._random.randrange(32, most)
            self._sent[number] += self._random.randrange(32, most)
            if number % RENEWAL == renewing:
                self._handshakes[number] = self._now
        device = Device(
            "wg0",
            "kernel",
            public_key=self._key,
            listen_port=51820,
            link=Link(up=True, index=7),
            peers=self._peers.copy(),
            last_handshake=self._handshakes.tolist(),
            receive_bytes=self._received.tolist(),
            transmit_bytes=self._sent.tolist(),
        )
        return Snapshot("bench", self._now, (device,), (Reading("netlink", "wg0", 0.0),))

    def _peer(self, number: int) -> Peer:
        low = f"{number >> 16}.{number >> 8 & 255}.{number & 255}"
        allowed_ips = f"10.{low}/32", f"fd00::{number >> 16:x}:{number & 0xFFFF:x}/128"
        return Peer(self._new_key(), allowed_ips, self._endpoint(), persistent_keepalive=25)

    def _new_key(self) -> str:
        return base64.b64encode(self._random.randbytes(32)).decode()

    def _endpoint(self) -> str:
        address = self._random.randrange(1 << 16)
        return f"198.18.{address >> 8}.{address & 255}:{self._random.randrange(1024, 65536)}"

    def _move(self) -> None:
        """Exchanges a live peer for a quiet one, if there is any, and gives it another endpoint."""
        place = self._random.randrange(len(self._live))
        if self._quiet:
            other = self._random.randrange(len(self._quiet))
            self._live[place], self._quiet[other] = self._quiet[other], self._live[place]
        number = self._live[place]
        self._peers[number] = replace(self._peers[number], endpoint=self._endpoint())
        self._handshakes[number] = self._now
