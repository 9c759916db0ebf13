"""Readings while interfaces and peers change: each is correct or an error, and never has a wrong value."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.errors import DumpInterrupted, InterfaceVanished
from exporter.model import Device, Peer
from exporter.sources.netlink import NETLINK_GENERIC, KernelSource
from exporter.sources.nlsocket import NetlinkSocket
from tests.kernel.guest.helpers import Namespace, addresses, many_peers, namespace, numbered_key, peer_conf
from tests.kernel.guest.wgtext import dump_by_wg, dump_of

STEADY = range(300)  # peers that do not change
CHANGING = range(1000, 1040)  # peers that come, change and go
LIMIT = 120  # seconds; a bound for an endless loop, far above what is needed


def state(number: int, variant: int) -> Peer:
    """One of the two configurations of a changing peer, with different addresses and keepalives.

    200 addresses are few enough for `wg set` to send them in one message, which the kernel applies as a
    whole, and enough for the kernel to split many of these peers when they are dumped.
    """
    own = addresses(10_000 + 2 * number + variant, 200)
    return Peer(numbered_key(number), own, persistent_keepalive=10 + variant)


def set_command(peer: Peer) -> str:
    fields = f"persistent-keepalive {peer.persistent_keepalive} allowed-ips {','.join(peer.allowed_ips)}"
    return f"wg set wg0 peer {peer.public_key} {fields}"


@contextlib.contextmanager
def changes(space: Namespace, script: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that adds, changes and removes the changing peers, in bursts: between two bursts a
    reading can succeed."""
    moves = [
        f"wg set wg0 peer {numbered_key(number)} remove" if move == 2 else set_command(state(number, move))
        for number, move in itertools.product(CHANGING, range(3))
    ]
    random.Random(1).shuffle(moves)
    moves[::5] = [f"{move}; sleep 0.2" for move in moves[::5]]
    script.write_text("set -e\nwhile :; do\n" + "\n".join(moves) + "\ndone\n")
    command = [*space.entered, "sh", str(script)]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_peers_that_change_while_they_are_read(tmp_path: Path) -> None:
    """In each reading that is not interrupted every peer is complete and has one of its configurations, no
    peer occurs twice, no unchanged peer is missing, and no counter has changed."""
    steady = {numbered_key(number): Peer(numbered_key(number), addresses(number)) for number in STEADY}
    legal = {numbered_key(number): [state(number, variant) for variant in (0, 1)] for number in CHANGING} | {
        key: [peer] for key, peer in steady.items()
    }
    source = KernelSource(timeout=30)
    readings: list[Device] = []
    interrupted = 0
    with namespace() as space:
        index = space.add("wg0", "".join(peer_conf(key, peer.allowed_ips) for key, peer in steady.items()))
        with changes(space, tmp_path / "changes") as process:
            deadline = time.monotonic() + LIMIT
            while (len(readings) < 50 or interrupted < 10) and time.monotonic() < deadline:
                try:
                    device, retries = space.call(lambda: source.read(index))
                except DumpInterrupted:
                    interrupted += 1
                    continue
                interrupted += retries
                readings.append(device)
            assert process.poll() is None, "the process that changes peers has ended"
        assert dump_of(space.call(lambda: source.read(index)[0])) == dump_by_wg(space, "wg0")
    assert interrupted, "no change met a reading: nothing was tried"
    assert len({len(device.peers) for device in readings}) > 1, "no reading saw a change"
    for device in readings:
        keys = [peer.public_key for peer in device.peers]
        assert len(keys) == len(set(keys))
        assert steady.keys() <= set(keys)
        assert not [peer for peer in device.peers if peer not in legal[peer.public_key]]
        counters = (device.last_handshake, device.receive_bytes, device.transmit_bytes)
        assert all(list(column) == [0] * len(keys) for column in counters)


class Pausing(NetlinkSocket):
    """Calls a function between the first message of a dump and the others."""

    happens = staticmethod(lambda: None)

    def dump(self, kind: int, payload: bytes) -> Iterator[tuple[int, int]]:
        for number, place in enumerate(super().dump(kind, payload)):
            yield place
            if number == 0:
                self.happens()


def test_an_interface_deleted_in_the_middle_of_a_dump(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading during the removal is complete or gives `vanished`; the next one gives `vanished`."""
    with namespace() as space, contextlib.ExitStack() as deleting:
        index = space.add("wg0", many_peers(500))
        expected = dump_by_wg(space, "wg0")

        def delete() -> None:
            """The command ends only after the dump, so the test waits until the link is not listed any
            more."""
            command = [*space.entered, "ip", "link", "delete", "wg0"]
            deleting.enter_context(subprocess.Popen(command))
            while "wg0" in space.run("ip", "link"):
                time.sleep(0.01)

        monkeypatch.setattr(Pausing, "happens", staticmethod(delete))
        source = KernelSource(opener=lambda timeout: Pausing(NETLINK_GENERIC, timeout))
        with contextlib.suppress(InterfaceVanished):
            assert dump_of(space.call(lambda: source.read(index)[0])) == expected
        deleting.close()
        with pytest.raises(InterfaceVanished):
            space.call(lambda: source.read(index))
