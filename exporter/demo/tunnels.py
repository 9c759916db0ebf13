"""The WireGuard interfaces of the nodes: in the kernel if it has WireGuard, otherwise with wireguard-go."""

from __future__ import annotations

import errno
import shutil
import socket
import subprocess
import time
from pathlib import Path

from pyroute2 import IPRoute, NetlinkError

from exporter.demo import links, namespaces
from exporter.demo.errors import DemoError
from exporter.demo.plan import INTERNET, Mesh, Node
from exporter.demo.processes import Processes, last_lines
from exporter.demo.setconf import Keys, configuration, known_to, reached_through
from exporter.model import Kind

SOCKET_DIRECTORY = Path("/var/run/wireguard")  # compiled into wireguard-go and wg(8)
MTU = 1420  # 1500 less the outer IPv6, UDP and WireGuard headers, as wg-quick computes
START_SECONDS = 5.0


def available() -> Kind:
    """Whether the kernel has WireGuard. Creating an interface makes it load the module, if there is one."""

    def probe() -> Kind:
        with IPRoute() as ip:
            try:
                ip.link("add", ifname="probe", kind="wireguard")
            except NetlinkError as error:
                if error.code == errno.EOPNOTSUPP:
                    return "userspace"
                raise
            ip.link("del", ifname="probe")
        return "kernel"

    return namespaces.inside(INTERNET, probe)


def add_kernel_interface(node: Node) -> None:
    """Creates an interface without keys and peers."""

    def add() -> None:
        with IPRoute() as ip:
            ip.link("add", ifname=node.interface, kind="wireguard")

    namespaces.inside(node.namespace, add)


def add_userspace_interface(node: Node, processes: Processes, log: Path) -> None:
    """Starts wireguard-go in the namespace of the node; its socket is in the directory of the host."""
    path = SOCKET_DIRECTORY / f"{node.interface}.sock"
    if path.exists():
        raise DemoError(
            f"{path} is not the demo's", "end the WireGuard implementation behind it, or remove it"
        )
    command = [program("wireguard-go"), "--foreground", node.interface]
    process = processes.start(f"wireguard-go of {node.name}", command, log, node.namespace)
    deadline = time.monotonic() + START_SECONDS
    while not listens(path):
        if process.poll() is not None or time.monotonic() > deadline:
            raise DemoError(f"wireguard-go did not create {node.interface}: {last_lines(log)}")
        time.sleep(0.02)


def listens(path: Path) -> bool:
    """Whether a process listens on the Unix socket. wg(8) removes a socket on which none listens yet."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def configure(mesh: Mesh, node: Node, keys: Keys) -> None:
    """Sets keys, peers, addresses and routes of the interface of a node, like `wg-quick up`."""
    command = [program("wg"), "setconf", node.interface, "/proc/self/fd/0"]
    text = configuration(mesh, node, keys)

    def set_up() -> None:
        result = subprocess.run(  # noqa: S603 - no shell; keys go through standard input, never an argument
            command, input=text.encode(), capture_output=True, timeout=START_SECONDS, check=False
        )
        if result.returncode:
            raise DemoError(f"wg setconf {node.interface}: {result.stderr.decode(errors='replace').strip()}")
        links.set_mtu(node.interface, MTU)
        for address in node.addresses:
            links.add_address(node.interface, address, 128 if ":" in address else 32)
        links.set_state(node.interface, "up")
        for other in known_to(mesh, node):
            for network in reached_through(mesh, node, other):
                links.add_route(network, node.interface)

    namespaces.inside(node.namespace, set_up)


def program(name: str) -> str:
    """The path of a program. Raises `DemoError` if it is not installed."""
    path = shutil.which(name)
    if not path:
        package = {"wg": "wireguard-tools"}.get(name, name)
        raise DemoError(f"{name} is not installed", f"apt install {package}")
    return path
