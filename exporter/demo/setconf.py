"""The keys of the mesh, and the configuration of each node in the format of wg(8)."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from exporter.demo.plan import KEEPALIVE, TUNNEL_NETWORKS, WIREGUARD_PORT, Mesh, Node, PeerNode


class Keys:
    """Key pairs and preshared keys of all nodes. Secret keys stay in this process and its pipes to `wg`."""

    def __init__(self, mesh: Mesh) -> None:
        self.public: dict[str, str] = {}  # node name → base64
        self._private: dict[str, str] = {}
        for node in (*mesh.gateways, *mesh.peers):
            key = X25519PrivateKey.generate()
            self.public[node.name] = _base64(key.public_key().public_bytes_raw())
            self._private[node.name] = _base64(key.private_bytes_raw())
        self._preshared = {peer.name: _base64(os.urandom(32)) for peer in mesh.peers if peer.preshared}

    def private(self, name: str) -> str:
        return self._private[name]

    def preshared(self, name: str) -> str:
        """The preshared key of a peer and its gateway; "" = none."""
        return self._preshared.get(name, "")


def configuration(mesh: Mesh, node: Node, keys: Keys) -> str:
    """The input of `wg setconf` for the interface of a node, with its private key."""
    interface = {"PrivateKey": keys.private(node.name), "ListenPort": str(WIREGUARD_PORT)}
    peers = (
        {
            "PublicKey": keys.public[other.name],
            "PresharedKey": keys.preshared(node.name) or keys.preshared(other.name),
            "AllowedIPs": ", ".join(reached_through(mesh, node, other)),
            "Endpoint": "" if isinstance(other, PeerNode) else other.endpoint,
            "PersistentKeepalive": _keepalive(node, other),
        }
        for other in known_to(mesh, node)
    )
    return "\n".join([_section("Interface", interface), *(_section("Peer", peer) for peer in peers)])


def known_to(mesh: Mesh, node: Node) -> tuple[Node, ...]:
    """The peers on the node's interface: its gateway, or a gateway's own peers and the other gateways."""
    if isinstance(node, PeerNode):
        return tuple(gateway for gateway in mesh.gateways if gateway.name == node.gateway)
    return (*mesh.peers_of(node), *(gateway for gateway in mesh.gateways if gateway is not node))


def reached_through(mesh: Mesh, node: Node, other: Node) -> tuple[str, ...]:
    """The allowed IPs of `other` on the node's interface."""
    if isinstance(node, PeerNode):
        return TUNNEL_NETWORKS
    if isinstance(other, PeerNode):
        return other.allowed_ips
    return other.allowed_ips + tuple(ip for peer in mesh.peers_of(other) for ip in peer.allowed_ips)


def _keepalive(node: Node, other: Node) -> str:
    between = next((end for end in (node, other) if isinstance(end, PeerNode)), None)
    seconds = between.keepalive if between else KEEPALIVE
    return str(seconds) if seconds else ""


def _section(title: str, settings: Mapping[str, str]) -> str:
    return "\n".join([f"[{title}]", *(f"{name} = {value}" for name, value in settings.items() if value), ""])


def _base64(key: bytes) -> str:
    return base64.standard_b64encode(key).decode()
