"""Real wireguard-go tunnels between two network namespaces, read by Argus and by wg(8)."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from exporter import errors
from exporter.demo.tunnels import listens
from exporter.model import Device
from exporter.sources.gateway import NETNS_DIRECTORY
from exporter.sources.uapi import DIRECTORY, UapiSource
from tests.kit.servers.uapiserver import product_rows, wg_rows

PATIENCE = 30  # longest wait in seconds, far more than needed


def missing() -> str:
    """Why this host cannot run the tunnels; "" = it can."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    for tool in ("wireguard-go", "wg", "ip", "nsenter", "ping"):
        if shutil.which(tool) is None:
            return f"needs {tool}"
    if not Path("/dev/net/tun").exists():
        return "needs /dev/net/tun"
    return ""


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "never")


def run(*command: str, feed: str = "") -> str:
    done = subprocess.run(command, input=feed, check=True, capture_output=True, text=True, timeout=PATIENCE)
    return done.stdout.strip()


@dataclass(frozen=True)
class End:
    """One end of the tunnel: a namespace, its tunnel interface, its addresses and its key pair."""

    side: Literal["a", "b"]
    private_key: str = field(repr=False)
    public_key: str

    @property
    def namespace(self) -> str:
        return f"argus-{os.getpid()}-{self.side}"

    @property
    def interface(self) -> str:
        return f"arg{os.getpid()}{self.side}"

    @property
    def number(self) -> int:
        return 1 if self.side == "a" else 2

    @property
    def entered(self) -> list[str]:
        """The prefix of a command that runs in the namespace. Unlike `ip netns exec`, it mounts nothing."""
        return ["nsenter", f"--net={NETNS_DIRECTORY / self.namespace}"]

    def inside(self, *command: str) -> str:
        return run(*self.entered, *command)

    def set(self, *arguments: str, keys: str = "") -> None:
        """Runs `wg set`. `keys` go to /dev/stdin, as the file of a secret key."""
        run("wg", "set", self.interface, *arguments, feed=keys)


def make_end(side: Literal["a", "b"]) -> End:
    private = run("wg", "genkey")
    return End(side, private, run("wg", "pubkey", feed=private))


@contextmanager
def namespace(end: End) -> Iterator[None]:
    run("ip", "netns", "add", end.namespace)
    try:
        yield
    finally:
        run("ip", "netns", "del", end.namespace)


@contextmanager
def wireguard_go(end: End, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Runs wireguard-go in the namespace; its socket is in the directory of the host."""
    command = [*end.entered, "wireguard-go", "--foreground", end.interface]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        wait_for_socket(end, process, log)
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)
        (DIRECTORY / f"{end.interface}.sock").unlink(missing_ok=True)


def wait_for_socket(end: End, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not listens(DIRECTORY / f"{end.interface}.sock"):
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"wireguard-go did not come up:\n{log.read_text()}")
        time.sleep(0.05)


@dataclass(frozen=True)
class Tunnel:
    a: End
    b: End
    process_a: subprocess.Popen[bytes]


@pytest.fixture
def tunnel(tmp_path: Path) -> Iterator[Tunnel]:
    """Connects two namespaces by a veth pair, and runs a wireguard-go in each, with a preshared key."""
    a, b = make_end("a"), make_end("b")
    with ExitStack() as stack:
        stack.enter_context(namespace(a))
        stack.enter_context(namespace(b))
        run(
            *("ip", "link", "add", "veth0", "netns", a.namespace, "type", "veth"),
            *("peer", "name", "veth0", "netns", b.namespace),
        )
        processes = [stack.enter_context(wireguard_go(end, tmp_path / f"{end.side}.log")) for end in (a, b)]
        for end in (a, b):
            for device, address in (("veth0", "192.0.2.{}/24"), (end.interface, "10.9.0.{}/24")):
                end.inside("ip", "addr", "add", address.format(end.number), "dev", device)
                end.inside("ip", "link", "set", device, "up")
            end.set("listen-port", str(51820 + end.number), "private-key", "/dev/stdin", keys=end.private_key)
        preshared = run("wg", "genpsk")
        for end, other in ((b, a), (a, b)):
            end.set(
                *("peer", other.public_key, "preshared-key", "/dev/stdin"),
                *("endpoint", f"192.0.2.{other.number}:{51820 + other.number}"),
                *("allowed-ips", f"10.9.0.{other.number}/32,fd00:9::{other.number}/128"),
                keys=preshared,
            )
        yield Tunnel(a, b, processes[0])


def ping(end: End, address: str) -> None:
    """Sends pings until one is answered; the first packets wait for the handshake."""
    end.inside("ping", "-c", "1", "-w", str(PATIENCE), address)


def read_between_dumps(source: UapiSource, name: str) -> Device:
    """A reading between two equal outputs of `wg show dump`, so that all three must be equal."""
    for _ in range(20):
        before = wg_rows(name)
        device = source.read(name)
        if before == wg_rows(name):
            assert product_rows(device) == before
            return device
    pytest.fail("the counters never stood still for three readings")


def test_real_tunnel_is_read_as_wg_shows_it(tunnel: Tunnel) -> None:
    """After a handshake and traffic both ends are read exactly, also after changes."""
    source = UapiSource(DIRECTORY, PATIENCE)
    a, b = tunnel.a, tunnel.b
    assert {a.interface, b.interface} <= set(source.list())

    before = read_between_dumps(source, a.interface)
    assert (before.public_key, before.last_handshake) == (a.public_key, (0,))
    started = int(time.time())
    ping(a, "10.9.0.2")
    ended = int(time.time())

    for end, other in ((a, b), (b, a)):
        device = read_between_dumps(source, end.interface)
        assert device.public_key == end.public_key
        assert device.listen_port == 51820 + end.number
        assert [peer.public_key for peer in device.peers] == [other.public_key]
        assert device.peers[0].has_preshared_key
        assert started <= device.last_handshake[0] <= ended
        assert device.receive_bytes[0] > 0
        assert device.transmit_bytes[0] > 0

    first = read_between_dumps(source, a.interface)
    ping(a, "10.9.0.2")
    second = read_between_dumps(source, a.interface)
    assert second.peers[0] is first.peers[0]
    assert second.receive_bytes[0] > first.receive_bytes[0]


def test_configuration_is_read_as_wg_shows_it(tunnel: Tunnel) -> None:
    """Marks, keepalives, IPv6 endpoints and hundreds of peers in random order are read exactly."""
    a = tunnel.a
    a.set("fwmark", "0x2a", "peer", tunnel.b.public_key, "persistent-keepalive", "25")
    peers = [
        base64.b64encode(bytes([7, number // 256, number % 256]) + bytes(29)).decode()
        for number in range(300)
    ]
    a.set("peer", peers[0], "endpoint", "[2001:db8::5]:51820", "allowed-ips", "::/0,0.0.0.0/0")
    for start in range(0, len(peers), 100):
        several = [
            argument
            for number in range(start, start + 100)
            for argument in ("peer", peers[number], "allowed-ips", f"10.7.{number // 256}.{number % 256}/32")
        ]
        a.set(*several)
    source = UapiSource(DIRECTORY, PATIENCE)
    device = read_between_dumps(source, a.interface)
    assert device.fwmark == 0x2A
    assert {peer.public_key for peer in device.peers} == {tunnel.b.public_key, *peers}

    a.set("peer", peers[5], "remove")
    after = read_between_dumps(source, a.interface)
    assert peers[5] not in {peer.public_key for peer in after.peers}
    kept = [peer for peer in device.peers if peer.public_key != peers[5]]
    assert all(was is now for was, now in zip(kept, after.peers, strict=True))


def test_killed_process_leaves_a_stale_socket(tunnel: Tunnel) -> None:
    """The socket of a killed wireguard-go is stale and is not removed; the other interface is still read."""
    source = UapiSource(DIRECTORY, PATIENCE)
    tunnel.process_a.kill()
    tunnel.process_a.wait(PATIENCE)
    with pytest.raises(errors.SocketStale, match=tunnel.a.interface):
        source.read(tunnel.a.interface)
    assert (DIRECTORY / f"{tunnel.a.interface}.sock").is_socket()
    assert tunnel.a.interface in source.list()
    assert source.read(tunnel.b.interface).public_key == tunnel.b.public_key
