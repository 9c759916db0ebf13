"""Replayed dumps where the daemon reads the kernel's: over Unix sockets that keep message boundaries.

One process, the kernel's stand-in, holds the dump and answers netlink requests with it. `python -m
bench.replayed SOCKET serve …` is `argus-wg serve` reading there; all else in it is as always.
"""

from __future__ import annotations

import multiprocessing
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

from exporter import cli
from exporter.model import Link, Snapshot
from exporter.sources import gateway
from exporter.sources.links import NamedLink
from exporter.sources.netlink import KIND, KernelSource
from exporter.sources.nlsocket import NetlinkSocket
from tests.kit.replay import FAMILY, INTERVAL, Replay

ADVANCE = b"advance"
INDEX = 7
LIMIT = 120.0  # seconds that any one step may take


def connect(path: str) -> socket.socket:
    """A socket to the kernel's stand-in, which hands out one end of a pair: like the kernel, the other end
    has no address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.settimeout(LIMIT)
        door.connect(path)
        _, descriptors, _, _ = socket.recv_fds(door, 1, 1, socket.MSG_CMSG_CLOEXEC)
    return socket.socket(fileno=descriptors[0])


def install(path: str) -> None:
    """From now on, this process's `Gateway` finds one WireGuard link, and reads it from the stand-in."""

    def opener(timeout: float) -> NetlinkSocket:
        return NetlinkSocket(0, timeout, connect(path))

    class Replayed(KernelSource):
        def __init__(self, timeout: float, retries: int, kind: str = KIND) -> None:
            super().__init__(timeout, retries, kind, opener=opener, family=lambda: FAMILY)

    read, readings = gateway.Gateway.read, count(1)

    def read_later(self: gateway.Gateway) -> Snapshot:
        """A reading as if a scrape interval had passed since the last: ages change with each."""
        snapshot = read(self)
        return replace(snapshot, taken_at=snapshot.taken_at + next(readings) * INTERVAL)

    gateway.Gateway.read = read_later  # type: ignore[method-assign]
    vars(gateway).update(KernelSource=Replayed, links=one_link)


def one_link(timeout: float, retries: int = 4) -> tuple[list[NamedLink], int]:  # noqa: ARG001 - as links()
    """What the kernel would list."""
    return [NamedLink(INDEX, "wg0", KIND, Link(up=True))], 0


@contextmanager
def replaying(peers: int, busy: float) -> Iterator[tuple[str, Callable[[], None]]]:
    """(where the stand-in listens, a function that lets one scrape interval pass in it)."""
    with tempfile.TemporaryDirectory(prefix="argus-replay-") as folder:
        path = str(Path(folder) / "netlink")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(path)
            listener.listen()
            arguments = (listener, peers, busy)
            process = multiprocessing.get_context("fork").Process(
                target=_stand_in, args=arguments, daemon=True
            )
            process.start()
        try:
            _advance(path)  # answered once the dump is made
            yield path, partial(_advance, path)
        finally:
            process.terminate()
            process.join()


def _advance(path: str) -> None:
    with connect(path) as sock:
        sock.settimeout(LIMIT)
        sock.send(ADVANCE)
        if sock.recv(16) != ADVANCE:
            raise RuntimeError("the replayed dump did not advance")


def _stand_in(listener: socket.socket, peers: int, busy: float) -> None:
    """Serve one connection after another, until terminated. It works only while it is asked."""
    replay = Replay(peers, busy)
    while True:
        door, _ = listener.accept()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, suppress(ConnectionError):
            with door, theirs:
                socket.send_fds(door, [b"."], [theirs.fileno()])
            _serve(replay, ours)


def _serve(replay: Replay, sock: socket.socket) -> None:
    asked = sock.recv(1024)
    if asked == ADVANCE:
        replay.advance()
        sock.send(ADVANCE)
    elif asked:
        replay.answer(sock, asked)


if __name__ == "__main__":
    install(sys.argv[1])
    sys.exit(cli.main(sys.argv[2:]))
