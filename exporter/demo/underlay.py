"""The network under the tunnels: one namespace as the internet, and a cable from it to each node."""

from __future__ import annotations

from pathlib import Path

from pyroute2 import IPRoute

from exporter.demo import links, namespaces
from exporter.demo.plan import INTERNET, Node

CABLE = "eth0"  # the node's end; the internet's end is named after the node
PREFIX_LENGTH = 30


def build_internet() -> None:
    """Creates the namespace that forwards between all nodes. It routes: some small kernels have no bridge."""
    namespaces.create(INTERNET)

    def prepare() -> None:
        links.set_state("lo", "up")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")

    namespaces.inside(INTERNET, prepare)


def build_node(node: Node) -> None:
    """Creates the namespace of a node and connects it to the internet."""
    namespaces.create(node.namespace)

    def internet_end() -> None:
        with IPRoute() as ip:
            other_end = {"ifname": CABLE, "net_ns_fd": node.namespace}
            ip.link("add", ifname=node.name, kind="veth", peer=other_end)
        links.add_address(node.name, node.router, PREFIX_LENGTH)
        links.set_state(node.name, "up")

    def node_end() -> None:
        links.set_state("lo", "up")
        links.add_address(CABLE, node.underlay, PREFIX_LENGTH)
        links.set_state(CABLE, "up")
        with IPRoute() as ip:
            ip.route("add", dst="default", gateway=node.router)

    namespaces.inside(INTERNET, internet_end)
    namespaces.inside(node.namespace, node_end)


def pull_cable(node: Node) -> None:
    """Disconnects a node in both directions."""
    namespaces.inside(node.namespace, lambda: links.set_state(CABLE, "down"))
