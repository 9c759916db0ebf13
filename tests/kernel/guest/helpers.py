"""Namespaces, interfaces, keys and tunnels for tests that run on a WireGuard kernel.

Every test uses its own network namespaces, and so leaves nothing behind on a host with real tunnels.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import os
import secrets
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from pyroute2 import netns

from exporter.sources.gateway import NETNS_DIRECTORY
from tests.kernel.session import REPORT_VARIABLE

DISPOSABLE = REPORT_VARIABLE in os.environ  # this kernel is only for tests: modules may be unloaded
T = TypeVar("T")


def run(*command: str, text: str | None = None) -> str:
    """Runs a command with `text` as input, and returns its output. Raises an error with its standard
    error."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True, slots=True)
class Namespace:
    """A named network namespace with its loopback up."""

    name: str

    @property
    def entered(self) -> list[str]:
        """The prefix of a command that runs in the namespace. Unlike `ip netns exec` it mounts nothing, which
        fails in a chroot."""
        return ["nsenter", f"--net={NETNS_DIRECTORY / self.name}"]

    def run(self, *command: str, text: str | None = None) -> str:
        """Runs a command in the namespace."""
        return run(*self.entered, *command, text=text)

    def call(self, work: Callable[[], T]) -> T:
        """Calls `work` on its own thread in the namespace, and returns its result or raises its error."""
        results: list[T] = []
        errors: list[BaseException] = []

        def enter() -> None:
            try:
                netns.setns(self.name, flags=0)
                results.append(work())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        for error in errors:
            raise error
        return results[0]

    def add(self, interface: str, conf: str = "", *, up: bool = False) -> int:
        """Creates a WireGuard interface, configures it with `wg setconf`, and returns its index."""
        self.run("ip", "link", "add", interface, "type", "wireguard")
        if conf:
            self.run("wg", "setconf", interface, "/proc/self/fd/0", text=conf)
        if up:
            self.run("ip", "link", "set", interface, "up")
        return self.index(interface)

    def index(self, interface: str) -> int:
        return int(self.run("ip", "-o", "link", "show", "dev", interface).partition(":")[0])

    def dump(self, interface: str) -> list[list[str]]:
        """`wg show INTERFACE dump`: the fields of each line, the interface's first."""
        output = self.run("wg", "show", interface, "dump")
        return [line.split("\t") for line in output.splitlines()]


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    """Creates a network namespace, and removes it with all its interfaces at the end."""
    made = Namespace(f"argus-test-{secrets.token_hex(4)}")
    run("ip", "netns", "add", made.name)
    try:
        made.run("ip", "link", "set", "lo", "up")
        yield made
    finally:
        run("ip", "netns", "delete", made.name)


@dataclass(frozen=True, slots=True)
class Keys:
    """A key pair in base64, for test tunnels only."""

    private: str
    public: str


def keys() -> Keys:
    private = X25519PrivateKey.generate()
    return Keys(_base64(private.private_bytes_raw()), _base64(private.public_key().public_bytes_raw()))


def random_key() -> str:
    """32 random bytes in base64: a preshared key, or a public key without a known private one."""
    return _base64(secrets.token_bytes(32))


def numbered_key(number: int) -> str:
    """A public key that contains its number, for tests that look for the peer again."""
    return _base64(number.to_bytes(8, "big") + bytes(range(24)))


def _base64(key: bytes) -> str:
    return base64.b64encode(key).decode()


def interface_conf(private: str = "", port: int = 0, fwmark: int = 0) -> str:
    """The `[Interface]` section of a `wg setconf` file."""
    fields = {"PrivateKey": private, "ListenPort": port, "FwMark": fwmark}
    return "[Interface]\n" + "".join(f"{name} = {value}\n" for name, value in fields.items() if value)


def peer_conf(
    public: str, allowed: Iterable[str] = (), endpoint: str = "", keepalive: int = 0, preshared: str = ""
) -> str:
    """A `[Peer]` section of a `wg setconf` file."""
    fields = {
        "PublicKey": public,
        "PresharedKey": preshared,
        "AllowedIPs": ", ".join(allowed),
        "Endpoint": endpoint,
        "PersistentKeepalive": keepalive,
    }
    return "[Peer]\n" + "".join(f"{name} = {value}\n" for name, value in fields.items() if value)


def addresses(number: int, count: int = 2) -> tuple[str, ...]:
    """`count` allowed IPs of the peer with this number, half of them IPv6."""
    base = number * count
    return tuple(
        f"{ipaddress.IPv6Address((0x20010DB8 << 96) + base + i)}/128"
        if i % 2
        else f"{ipaddress.IPv4Address(0x0A000000 + base + i)}/32"
        for i in range(count)
    )


def many_peers(count: int) -> str:
    """`[Peer]` sections of `count` numbered peers with two allowed IPs, an endpoint and a keepalive each."""
    return "".join(
        peer_conf(numbered_key(number), addresses(number), f"192.0.2.1:{1024 + number % 60000}", 25)
        for number in range(count)
    )


@dataclass(frozen=True, slots=True)
class End:
    """One end of a tunnel: the interface wg0 over the link veth."""

    space: Namespace
    keys: Keys
    inner: str  # the address in the tunnel


@contextlib.contextmanager
def tunnel(preshared: str = "") -> Iterator[Sequence[End]]:
    """Connects two namespaces by a veth pair and a tunnel, after its first handshake: (initiator,
    responder)."""
    with namespace() as left, namespace() as right:
        run(
            *("ip", "link", "add", "veth", "netns", left.name),
            *("type", "veth", "peer", "name", "veth", "netns", right.name),
        )
        ends = (End(left, keys(), "10.9.0.1"), End(right, keys(), "10.9.0.2"))
        for number, (end, other) in enumerate(zip(ends, reversed(ends), strict=True), 1):
            end.space.run("ip", "address", "add", f"192.0.2.{number}/24", "dev", "veth")
            end.space.run("ip", "link", "set", "veth", "up")
            endpoint = "192.0.2.2:51820" if number == 1 else ""
            peer = peer_conf(other.keys.public, [f"{other.inner}/32"], endpoint, preshared=preshared)
            end.space.add("wg0", interface_conf(end.keys.private, 51820) + peer, up=True)
            end.space.run("ip", "address", "add", f"{end.inner}/24", "dev", "wg0")
        left.run("ping", "-c", "3", "-i", "0.2", "-W", "10", ends[1].inner)
        yield ends
