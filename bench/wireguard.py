"""A WireGuard interface with many peers, in a network namespace that ends with the process that is in it."""

from __future__ import annotations

import base64
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator

INTERFACE = "wg0"
ALONE = ("unshare", "--net")  # runs a command in a network namespace of its own


def missing() -> str:
    """Why no WireGuard interface can be made here; "" = it can."""
    for tool in ("unshare", "ip", "wg"):
        if not shutil.which(tool):
            return f"the command {tool} is not installed"
    if os.geteuid() != 0:
        return "making one needs root"
    attempt = [*ALONE, "ip", "link", "add", "argus-probe", "type", "wireguard"]
    tried = subprocess.run(attempt, capture_output=True, text=True, check=False)
    return f"`ip link add` says “{tried.stderr.strip()}”" if tried.returncode else ""


def make(peers: int) -> None:
    """The interface, in this process's network namespace, which nobody else should be in.

    It stays down: a link that is up would send 100,000 handshakes to nowhere.
    """
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", INTERFACE, "type", "wireguard")
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.writelines(configuration(peers))
        file.flush()
        _run("wg", "setconf", INTERFACE, file.name)


def configuration(peers: int) -> Iterator[str]:
    """What `wg setconf` reads: 2 allowed IPs, an endpoint and a keepalive for each peer."""
    numbers = random.Random(1)
    yield f"[Interface]\nPrivateKey = {_key(numbers)}\nListenPort = 51820\n"
    for number in range(peers):
        high, middle, low = number >> 16, number >> 8 & 255, number & 255
        yield (
            f"[Peer]\nPublicKey = {_key(numbers)}\n"
            f"AllowedIPs = 10.{high}.{middle}.{low}/32, fd00::{number >> 16:x}:{number & 0xFFFF:x}/128\n"
            f"Endpoint = 198.{18 + (high & 1)}.{middle}.{low}:51820\nPersistentKeepalive = 25\n"
        )


def _key(numbers: random.Random) -> str:
    return base64.b64encode(numbers.randbytes(32)).decode()


def show_dump() -> float:
    """A contender: seconds of `wg show wg0 dump >/dev/null`."""
    started = time.perf_counter()
    subprocess.run(["wg", "show", INTERFACE, "dump"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
