"""WireGuard itself, with its own tools: the basis of the other kernel tests."""

from __future__ import annotations

import time

from tests.kernel.guest.helpers import interface_conf, keys, many_peers, namespace, peer_conf, tunnel


def test_the_kernel_has_wireguard() -> None:
    """An interface can be created and configured, and `wg` shows the configuration."""
    own, other = keys(), keys()
    with namespace() as space:
        space.add("wg0", interface_conf(own.private, 51820) + peer_conf(other.public, ["10.0.0.2/32"]))
        device, peer = space.dump("wg0")
    assert device == [own.private, own.public, "51820", "off"]
    assert peer[0] == other.public
    assert peer[3] == "10.0.0.2/32"


def test_two_ends_shake_hands() -> None:
    """A handshake between two namespaces succeeds, and both ends count the traffic."""
    started = int(time.time())
    with tunnel() as ends:
        for end in ends:
            _, peer = end.space.dump("wg0")
            handshake, received, sent = (int(field) for field in peer[4:7])
            assert started <= handshake <= time.time()
            assert received > 0
            assert sent > 0


def test_many_peers_are_made_at_once() -> None:
    """After `wg setconf` with a thousand peers, each peer has its two allowed IPs."""
    with namespace() as space:
        space.add("wg0", interface_conf() + many_peers(1000))
        _, *peers = space.dump("wg0")
    assert len(peers) == 1000
    assert {len(peer[3].split(",")) for peer in peers} == {2}
