"""Readings of a real kernel, compared with the output of `wg`."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from exporter.errors import InterfaceVanished, ReadFailed
from exporter.model import Device
from exporter.sources.netlink import NETLINK_GENERIC, KernelSource
from exporter.sources.nlsocket import NetlinkSocket
from tests.kernel.guest.helpers import (
    Namespace,
    addresses,
    interface_conf,
    keys,
    many_peers,
    namespace,
    numbered_key,
    peer_conf,
    random_key,
    tunnel,
)
from tests.kernel.guest.wgtext import conf_by_wg, conf_of, dump_by_wg, dump_of


def read(space: Namespace, index: int, source: KernelSource | None = None) -> Device:
    return space.call(lambda: (source or KernelSource(timeout=30)).read(index)[0])


def test_every_attribute_is_as_wg_shows_it() -> None:
    """Every field, in every form, equals the output of `wg show dump` and `wg showconf`."""
    conf = interface_conf(keys().private, 51820, 0x12345678)
    conf += peer_conf(random_key())
    conf += peer_conf(random_key(), ["10.0.0.0/8", "::/0"], "192.0.2.1:1", 1, random_key())
    conf += peer_conf(random_key(), ["0.0.0.0/0", "2001:db8::/32"], "[2001:db8::1]:65535", 65535)
    conf += peer_conf(random_key(), ["::ffff:192.0.2.7/128", "::1.2.3.4/127"], "[fe80::1%lo]:5")
    conf += peer_conf(random_key(), addresses(1, 40), preshared=random_key())
    with namespace() as space:
        index = space.add("wg0", conf)
        device = read(space, index)
        assert dump_of(device) == dump_by_wg(space, "wg0")
        assert conf_of(device, private_key=True) == conf_by_wg(space, "wg0")
    assert {peer.protocol_version for peer in device.peers} == {1}


def test_an_interface_that_has_nothing_set() -> None:
    """An interface without key, port and peers is read as `wg` prints it."""
    with namespace() as space:
        device = read(space, space.add("wg0"))
        assert device == Device(
            "wg0", "kernel", peers=[], last_handshake=[], receive_bytes=[], transmit_bytes=[]
        )
        assert dump_of(device) == dump_by_wg(space, "wg0")
        assert conf_of(device, private_key=False) == conf_by_wg(space, "wg0")


def test_handshakes_and_traffic_are_as_wg_shows_them() -> None:
    """At both ends of a tunnel with a preshared key the counters equal those of `wg`."""
    with tunnel(random_key()) as ends:
        for end in ends:
            device = steady(end.space, "wg0")
            assert device.last_handshake[0] > 0
            assert device.receive_bytes[0] > 0
            assert device.transmit_bytes[0] > 0
            assert device.public_key == end.keys.public


def steady(space: Namespace, interface: str) -> Device:
    """A reading that equals the output of `wg`. It is repeated, because counters may change between the
    two."""
    index = space.index(interface)
    for _ in range(10):
        before = dump_by_wg(space, interface)
        device = read(space, index)
        if before == dump_by_wg(space, interface):
            assert dump_of(device) == before
            return device
    pytest.fail("the counters of an idle tunnel never stood still")


@pytest.mark.parametrize("place", [0, 20, 39])
def test_a_peer_with_3000_allowed_ips_is_one_peer(place: int) -> None:
    """A peer that the kernel splits over many messages is read correctly, first or last, and again."""
    peers = [peer_conf(numbered_key(number), addresses(number), keepalive=25) for number in range(40)]
    peers[place] = peer_conf(numbered_key(place), addresses(1000, 3000), preshared=random_key())
    source = KernelSource()
    with namespace() as space:
        index = space.add("wg0", interface_conf(keys().private) + "".join(peers))
        expected = dump_by_wg(space, "wg0")
        for _ in range(4):
            device = read(space, index, source)
            assert dump_of(device) == expected
    assert len(device.peers) == 40
    assert max(len(peer.allowed_ips) for peer in device.peers) == 3000


def test_10000_peers() -> None:
    """All peers are read as `wg` prints them, also in a second reading and after one peer changed."""
    source = KernelSource(timeout=30)
    with namespace() as space:
        index = space.add("wg0", interface_conf(port=51820) + many_peers(10_000))
        expected = dump_by_wg(space, "wg0")
        for _ in range(3):
            device = read(space, index, source)
            assert dump_of(device) == expected
        assert len(device.peers) == 10_000
        space.run("wg", "set", "wg0", "peer", numbered_key(5000), "persistent-keepalive", "7")
        space.run("wg", "set", "wg0", "peer", numbered_key(9000), "remove")
        assert dump_of(read(space, index, source)) == dump_by_wg(space, "wg0")


class Watched(NetlinkSocket):
    """Looks for secret keys in each message after it is decoded."""

    secrets: tuple[bytes, ...] = ()
    seen = 0

    def dump(self, kind: int, payload: bytes) -> Iterator[tuple[int, int]]:
        for start, end in super().dump(kind, payload):
            Watched.seen += sum(self.buffer.count(secret, start, end) for secret in self.secrets)
            yield start, end
            assert not any(self.buffer.count(secret, start, end) for secret in self.secrets)


def test_no_secret_outlives_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel sends private and preshared keys; a decoded message no longer contains them."""
    own, preshared = keys(), [random_key() for _ in range(300)]
    conf = "".join(
        peer_conf(numbered_key(number), addresses(number), preshared=key)
        for number, key in enumerate(preshared)
    )
    monkeypatch.setattr(Watched, "secrets", tuple(map(base64.b64decode, [own.private, *preshared])))
    monkeypatch.setattr(Watched, "seen", 0)
    source = KernelSource(opener=lambda timeout: Watched(NETLINK_GENERIC, timeout))
    with namespace() as space:
        index = space.add("wg0", interface_conf(own.private) + conf)
        for _ in range(3):
            device = read(space, index, source)
    assert Watched.seen == 3 * 301
    assert not any(secret in repr(device) for secret in [own.private, *preshared])


def test_a_renamed_interface_is_read_under_its_new_name() -> None:
    """A renamed interface is found by its index, with its new name."""
    source = KernelSource()
    with namespace() as space:
        index = space.add("wg0", many_peers(200))
        assert read(space, index, source).name == "wg0"
        space.run("ip", "link", "set", "wg0", "name", "wg-new")
        device = read(space, index, source)
        assert device.name == "wg-new"
        assert dump_of(device) == dump_by_wg(space, "wg-new")


def test_what_is_not_there_or_not_wireguard_says_so() -> None:
    """An index without an interface gives `vanished`; the loopback interface gives another error."""
    with namespace() as space:
        with pytest.raises(InterfaceVanished):
            read(space, 999)
        with pytest.raises(ReadFailed):
            read(space, space.index("lo"))
