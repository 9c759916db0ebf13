"""The mesh as data: its gateways and peers, and their traffic. This module does not touch the system.

Underlay addresses are from 198.18.0.0/15 (benchmarking, RFC 2544), one /30 for each namespace; tunnel
addresses from 10.86.0.0/16 and fd86::/48 (unique local, RFC 4193). All of them exist only in the
namespaces of the demo.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from exporter.directory.entry import Criticality
from exporter.liveness import Expected

NAMESPACE_PREFIX = "argus-demo-"
INTERNET = NAMESPACE_PREFIX + "internet"  # the namespace that forwards between all others
TUNNEL_NETWORKS = ("10.86.0.0/16", "fd86::/48")
WIREGUARD_PORT = 51820
SITES = {  # degrees north and east
    "berlin": (52.5, 13.4),
    "hamburg": (53.6, 10.0),
    "lisbon": (38.7, -9.1),
    "porto": (41.2, -8.6),
    "braga": (41.6, -8.4),
    "faro": (37.0, -7.9),
}
KEEPALIVE = 25  # seconds, as wg(8) recommends


@dataclass(frozen=True, slots=True)
class Flow:
    """Datagrams that a node sends to a gateway, which replies to each with `answer` bytes (0 = no reply)."""

    target: str  # tunnel address of the gateway
    per_second: float
    size: int  # bytes of payload
    answer: int = 0  # bytes of payload
    active: float = 1.0  # the first `active` seconds of each `period` seconds carry traffic
    period: float = 1.0


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """The entry of a node in the directory."""

    name: str
    site: str
    role: str
    owner: str
    expected: Expected
    criticality: Criticality
    stale_after: int = 0  # seconds; 0 = the exporter's default


@dataclass(frozen=True, slots=True)
class Node:
    """One end of tunnels: a namespace with an underlay address and a WireGuard interface."""

    name: str
    number: int  # underlay network 198.18.NUMBER.0/30
    addresses: tuple[str, ...]  # in the tunnel, without a prefix length
    entry: NodeEntry
    networks: tuple[str, ...] = ()  # behind the node, reached through the tunnel
    flow: Flow | None = None
    story: str = ""  # for the table: the traffic of this peer

    @property
    def namespace(self) -> str:
        return NAMESPACE_PREFIX + self.name

    @property
    def interface(self) -> str:
        """Unique on the host: userspace implementations share one socket directory across namespaces."""
        return f"argus-{self.name}"

    @property
    def underlay(self) -> str:
        return f"198.18.{self.number}.2"

    @property
    def router(self) -> str:
        """The other end of the node's underlay network, in the namespace `INTERNET`."""
        return f"198.18.{self.number}.1"

    @property
    def endpoint(self) -> str:
        return f"{self.underlay}:{WIREGUARD_PORT}"

    @property
    def allowed_ips(self) -> tuple[str, ...]:
        hosts = tuple(f"{a}/{128 if ':' in a else 32}" for a in self.addresses)
        return hosts + self.networks


@dataclass(frozen=True, slots=True)
class PeerNode(Node):
    """A node that is a peer of one gateway."""

    gateway: str = ""
    keepalive: int = 0  # seconds, on both ends; 0 = off
    preshared: bool = False
    connects: bool = True  # False: the gateway has its key, but the node does not exist
    goes_silent: bool = False


@dataclass(frozen=True, slots=True)
class Mesh:
    gateways: tuple[Node, ...]
    peers: tuple[PeerNode, ...]
    nodes: tuple[Node, ...] = field(init=False)  # the nodes that exist, gateways first

    def __post_init__(self) -> None:
        nodes = (*self.gateways, *(peer for peer in self.peers if peer.connects))
        object.__setattr__(self, "nodes", nodes)

    def peers_of(self, gateway: Node) -> tuple[PeerNode, ...]:
        return tuple(peer for peer in self.peers if peer.gateway == gateway.name)


MESH = Mesh(
    gateways=(
        Node(
            "gw1",
            1,
            ("10.86.1.1", "fd86::1:1"),
            NodeEntry("berlin-gateway", "berlin", "gateway", "noc", "always-on", "high"),
            flow=Flow("10.86.2.1", 10, 800, answer=800),
            story="gateway to gateway, 8 kB/s each way",
        ),
        Node(
            "gw2",
            2,
            ("10.86.2.1", "fd86::2:1"),
            NodeEntry("lisbon-gateway", "lisbon", "gateway", "noc", "always-on", "high"),
            story="gateway to gateway, 8 kB/s each way",
        ),
    ),
    peers=(
        PeerNode(
            "hamburg",
            11,
            ("10.86.1.11", "fd86::1:11"),
            NodeEntry("hamburg-office", "hamburg", "office", "it-north", "always-on", "normal"),
            networks=("192.168.40.0/24",),
            flow=Flow("10.86.1.1", 40, 1200, answer=1200),
            story="preshared key; 48 kB/s each way, without pauses",
            gateway="gw1",
            keepalive=KEEPALIVE,
            preshared=True,
        ),
        PeerNode(
            "elbe",
            12,
            ("10.86.1.12",),
            NodeEntry("elbe-gauge", "hamburg", "sensor", "water-board", "always-on", "high", stale_after=200),
            flow=Flow("10.86.1.1", 10, 200, answer=60),
            story="2 kB/s in, until its cable is pulled",
            gateway="gw1",
            keepalive=KEEPALIVE,
            goes_silent=True,
        ),
        PeerNode(
            "ada",
            13,
            ("10.86.1.13", "fd86::1:13"),
            NodeEntry("ada-laptop", "remote", "laptop", "ada", "on-demand", "low", stale_after=200),
            flow=Flow("fd86::1:1", 20, 300, answer=1200, active=20, period=300),
            story="no keepalive; 20 s of browsing over IPv6, then 280 s idle",
            gateway="gw1",
        ),
        PeerNode(
            "spare",
            14,
            ("10.86.1.14",),
            NodeEntry("spare-phone", "berlin", "phone", "it-north", "standby", "low"),
            story="never connects: the phone does not exist yet",
            gateway="gw1",
            connects=False,
        ),
        PeerNode(
            "porto",
            21,
            ("10.86.2.21", "fd86::2:21"),
            NodeEntry("porto-office", "porto", "office", "it-south", "always-on", "normal"),
            networks=("192.168.50.0/24", "fd86:0:0:50::/64"),
            flow=Flow("10.86.2.1", 20, 300, answer=1200),
            story="6 kB/s in, 24 kB/s out",
            gateway="gw2",
            keepalive=KEEPALIVE,
        ),
        PeerNode(
            "braga",
            22,
            ("10.86.2.22",),
            NodeEntry("braga-backup", "braga", "backup", "it-south", "always-on", "normal"),
            flow=Flow("10.86.2.1", 60, 1300, answer=40, active=15, period=30),
            story="uploads 78 kB/s for 15 s of every 30 s",
            gateway="gw2",
            keepalive=KEEPALIVE,
        ),
        PeerNode(
            "faro",
            23,
            ("fd86::2:23",),
            NodeEntry("faro-camera", "faro", "camera", "it-south", "always-on", "normal"),
            flow=Flow("fd86::2:1", 8, 1000),
            story="IPv6 only; 8 kB/s in, almost nothing out",
            gateway="gw2",
            keepalive=KEEPALIVE,
        ),
    ),
)
