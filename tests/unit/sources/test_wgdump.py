"""The decoder of kernel dumps: its three decoders give the same result, and keys are wiped."""

from __future__ import annotations

import contextlib
import random
import struct
from base64 import b64encode
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import Malformed, ReadError
from exporter.model import Device
from exporter.sources import wgdump
from exporter.sources.wgdump import Decoder
from tests.kit.servers.netlinkdump import (
    HEADER_SIZE,
    NESTED,
    PeerFacts,
    allowed_ips,
    attribute,
    device_attributes,
    messages,
    nested,
    peer_attributes,
)

SECRET = random.Random("secret").randbytes(32)
HEAD = device_attributes("wg0", SECRET, bytes(range(32)), 51820)


def feed(decoder: Decoder, dump: Iterable[bytes]) -> Device:
    """Decodes one dump, each message in a receive buffer like that of the socket, and checks that no key is
    left."""
    decoder.begin()
    for message in dump:
        buffer = bytearray(HEADER_SIZE) + message
        decoder.feed(buffer, HEADER_SIZE, len(buffer))
        assert SECRET not in buffer
    return decoder.finish()


def outcome(decoder: Decoder, dump: Iterable[bytes]) -> Device | None:
    """The decoded device; None = the dump is refused with a `ReadError`."""
    try:
        return feed(decoder, dump)
    except ReadError:
        return None


def by_general_decoder(dump: Sequence[bytes], monkeypatch: pytest.MonkeyPatch) -> Device:
    """The dump, decoded only by the general decoder."""
    with monkeypatch.context() as patch:
        patch.setattr(wgdump, "LAYOUTS", ())
        return feed(Decoder(), dump)


def facts(number: int, **changes: object) -> PeerFacts:
    """A peer with a value in each field."""
    key = random.Random(number).randbytes(32)
    values: dict[str, object] = {
        "handshake": (1_700_000_000 + number, 5),
        "keepalive": 25,
        "sent": 2**63 + number,
        "received": 2**40 + number,
        "endpoint": ("192.0.2.7", 1024 + number),
        "allowed_ips": (f"10.0.0.{number}/32", f"fd00::{number:x}/128"),
    }
    return PeerFacts(key, **{**values, **changes})  # type: ignore[arg-type]


prefixes = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(0, 32)), st.tuples(st.ip_addresses(v=6), st.integers(0, 128))
).map(lambda pair: f"{pair[0]}/{pair[1]}")
endpoints = st.none() | st.tuples(st.ip_addresses().map(str), st.integers(0, 65535))
peers = st.builds(
    PeerFacts,
    key=st.binary(min_size=32, max_size=32),
    preshared_key=st.sampled_from([bytes(32), SECRET]),
    handshake=st.tuples(st.integers(0, 2**40), st.integers(0, 999_999_999)),
    keepalive=st.integers(0, 65535),
    sent=st.integers(0, 2**64 - 1),
    received=st.integers(0, 2**64 - 1),
    endpoint=endpoints,
    allowed_ips=st.lists(prefixes, max_size=4),
    version=st.integers(1, 3),
)
lists_of_peers = st.lists(peers, max_size=8, unique_by=lambda peer: peer.key)


class TestWhatADumpSays:
    def test_every_attribute_arrives(self) -> None:
        """Every field of the device and its peers is decoded; public keys are base64, and no field is
        secret."""
        device = feed(Decoder(), messages(HEAD, [facts(1, preshared_key=SECRET)]))
        (peer,) = device.peers
        assert (device.name, device.listen_port, device.kind) == ("wg0", 51820, "kernel")
        assert device.public_key == b64encode(bytes(range(32))).decode()
        assert peer.public_key == b64encode(facts(1).key).decode()
        assert peer.has_preshared_key
        assert (peer.endpoint, peer.persistent_keepalive) == ("192.0.2.7:1025", 25)
        assert peer.allowed_ips == ("10.0.0.1/32", "fd00::1/128")
        assert device.last_handshake == [1_700_000_001]
        assert (device.transmit_bytes, device.receive_bytes) == ([2**63 + 1], [2**40 + 1])

    @pytest.mark.parametrize(
        ("sockaddr", "written"),
        [
            (("203.0.113.9", 5), "203.0.113.9:5"),
            (("2001:db8::1", 51820), "[2001:db8::1]:51820"),
            (("fe80::1", 7, 1), "[fe80::1%lo]:7"),
            (("::ffff:192.0.2.1", 9), "[::ffff:192.0.2.1]:9"),
        ],
    )
    def test_endpoints_are_in_the_format_of_wg(self, sockaddr: tuple[str, int], written: str) -> None:
        """Endpoints are in the format of wg(8): IPv4, IPv6, link-local with its interface, and
        IPv4-mapped."""
        device = feed(Decoder(), messages(HEAD, [facts(1, endpoint=sockaddr)]))
        assert device.peers[0].endpoint == written

    def test_a_device_without_peers_or_key(self) -> None:
        """A device with only a name is decoded."""
        device = feed(Decoder(), messages(device_attributes("wg1"), []))
        assert (device.name, device.public_key, list(device.peers)) == ("wg1", "", [])

    def test_unknown_attributes_are_ignored(self) -> None:
        """Unknown attributes of the device and of a peer are ignored."""
        strange = attribute(200, b"new")
        plain = messages(HEAD, [facts(1)])
        peer = nested([*peer_attributes(facts(1)), strange])
        dump = [HEAD + strange + attribute(wgdump.PEERS | NESTED, peer)]
        assert feed(Decoder(), dump) == feed(Decoder(), plain)


class TestSplitPeers:
    def rest(self, peer: PeerFacts, ips: Sequence[str]) -> bytes:
        parts = [attribute(wgdump.P_PUBLIC_KEY, peer.key)]
        if ips:
            parts.append(attribute(wgdump.P_ALLOWED_IPS | NESTED, allowed_ips(ips)))
        return nested(parts)

    def dump(self, second: Sequence[str] = ("10.1.0.0/16",)) -> list[bytes]:
        first, split, last = facts(1), facts(2), facts(3)
        head = messages(HEAD, [first, split])[0]
        middle = self.rest(split, second)
        end = self.rest(split, ["10.2.0.0/16"]) + nested(peer_attributes(last))
        return [head, *(attribute(wgdump.PEERS | NESTED, nests) for nests in (middle, end))]

    def test_allowed_ips_are_appended_and_counters_kept(self) -> None:
        """The rest of a split peer adds its allowed IPs to the previous peer, and changes nothing else."""
        decoder = Decoder()
        for _ in range(4):  # later rounds use remembered messages
            device = feed(decoder, self.dump())
            assert [len(peer.allowed_ips) for peer in device.peers] == [2, 4, 2]
            assert device.peers[1].allowed_ips[2:] == ("10.1.0.0/16", "10.2.0.0/16")
            assert device.transmit_bytes == [2**63 + 1, 2**63 + 2, 2**63 + 3]

    def test_a_change_in_the_middle_of_a_split_peer_is_seen(self) -> None:
        """A split peer is correct if its first part is remembered and its second part has changed."""
        decoder = Decoder()
        for _ in range(3):
            feed(decoder, self.dump())
        device = feed(decoder, self.dump(["10.9.0.0/24", "10.1.0.0/16"]))
        assert device.peers[1].allowed_ips[2:] == ("10.9.0.0/24", "10.1.0.0/16", "10.2.0.0/16")

    def test_a_rest_of_another_peer_is_refused(self) -> None:
        """Allowed IPs that continue another peer than the previous one raise an error."""
        dump = messages(HEAD, [facts(1)])
        dump.append(attribute(wgdump.PEERS | NESTED, self.rest(facts(9), ["10.0.0.0/8"])))
        with pytest.raises(ReadError, match="continue a peer that is not the previous one"):
            feed(Decoder(), dump)


class TestThreeWaysOneAnswer:
    @given(lists_of_peers, st.booleans(), st.integers(1, 4))
    @settings(max_examples=60, deadline=None)
    def test_fast_paths_equal_the_walk(self, found: list[PeerFacts], pad: bool, per_message: int) -> None:
        """Fixed layouts, remembered messages and the general decoder give the same device, with and without
        padding."""
        dump = messages(HEAD, found, per_message, pad=pad)
        decoder = Decoder()
        with pytest.MonkeyPatch.context() as patch:
            walked = by_general_decoder(dump, patch)
        for _ in range(3):
            assert feed(decoder, dump) == walked

    @given(lists_of_peers, st.randoms(use_true_random=False))
    @settings(max_examples=60, deadline=None)
    def test_order_of_attributes_does_not_matter(
        self, found: list[PeerFacts], shuffle: random.Random
    ) -> None:
        """Attributes in any order give the same peer."""
        nests = b""
        for peer in found:
            parts = peer_attributes(peer)
            shuffle.shuffle(parts)
            nests += nested(parts)
        dump = [HEAD + attribute(wgdump.PEERS | NESTED, nests)]
        decoder = Decoder()
        expected = feed(Decoder(), messages(HEAD, found, per_message=99))
        for _ in range(3):
            assert feed(decoder, dump) == expected

    @given(st.lists(lists_of_peers, min_size=2, max_size=5), st.booleans())
    @settings(max_examples=60, deadline=None)
    def test_a_decoder_gives_the_same_as_a_new_one(self, dumps: list[list[PeerFacts]], pad: bool) -> None:
        """A decoder that decoded other dumps before gives the same device as a new decoder."""
        decoder = Decoder()
        for found in [*dumps, *dumps, *dumps]:
            dump = messages(HEAD, found, 2, pad=pad)
            assert feed(decoder, dump) == feed(Decoder(), dump)

    @given(st.integers(0, 8), st.sampled_from(["endpoint", "keepalive", "preshared_key", "allowed_ips"]))
    @settings(deadline=None)
    def test_one_change_is_seen_at_once(self, which: int, what: str) -> None:
        """A changed endpoint, keepalive, key or allowed IP in a remembered message is decoded at once."""
        new = {
            "endpoint": ("192.0.2.8", 1),
            "keepalive": 26,
            "preshared_key": SECRET,
            "allowed_ips": ("10.7.0.0/16", "fd07::/64"),
        }
        found = [facts(number) for number in range(9)]
        decoder = Decoder()
        for _ in range(3):
            feed(decoder, messages(HEAD, found))
        found[which] = facts(which, **{what: new[what]})
        assert feed(decoder, messages(HEAD, found)) == feed(Decoder(), messages(HEAD, found))

    def test_unchanged_peers_are_the_same_objects(self) -> None:
        """Peers without a change of configuration are the same objects, although their counters change."""
        decoder = Decoder()
        before = feed(decoder, messages(HEAD, [facts(number) for number in range(9)]))
        after = feed(decoder, messages(HEAD, [facts(number, sent=number) for number in range(9)]))
        assert all(old is new for old, new in zip(before.peers, after.peers, strict=True))
        assert after.transmit_bytes == list(range(9))


class TestBadDumps:
    @given(st.data())
    @settings(max_examples=150, deadline=None)
    def test_a_cut_message_is_an_error(self, data: st.DataObject) -> None:
        """A message that is cut within an attribute raises an error; cut between two attributes, it has fewer
        values."""
        dump = messages(HEAD, [facts(1), facts(2, preshared_key=SECRET)])
        cut = data.draw(st.integers(0, len(dump[0]) - 1))
        whole = feed(Decoder(), dump)
        try:
            device = feed(Decoder(), [dump[0][:cut]])
        except ReadError:
            return
        assert list(device.peers) == []
        assert device.name in ("", whole.name)

    @given(st.integers(0), st.sampled_from([0, 1, 3, 5, 0xFF, 0xFFFF]))
    @settings(max_examples=200, deadline=None)
    def test_a_wrong_length_is_an_error_or_changes_nothing_else(self, which: int, length: int) -> None:
        """An attribute with a wrong length raises a `ReadError` or is ignored; no other exception is
        raised."""
        message = bytearray(messages(HEAD, [facts(1), facts(2)])[0])
        struct.pack_into("=H", message, which % (len(message) // 4) * 4, length)
        with contextlib.suppress(ReadError):  # any other exception fails the test
            Decoder().feed(message, 0, len(message))

    @given(st.integers(0), st.sampled_from([0, 1, 4, 5, 8, 20, 0xFF, 0xFFFF]), st.integers(0, 11))
    @settings(max_examples=200, deadline=None)
    def test_a_changed_message_gives_the_same_on_every_path(self, which: int, length: int, kind: int) -> None:
        """A message with a changed length and type of an attribute, sent again and again, raises no exception
        but `ReadError`, and gives the general decoder's result on each path."""
        dump = messages(HEAD, [facts(1)])[0], messages(b"", [facts(2), facts(3)])[0]
        at = which % (len(dump[1]) // 4) * 4
        changed = dump[0], dump[1][:at] + struct.pack("=HH", length, kind) + dump[1][at + 4 :]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(wgdump, "LAYOUTS", ())
            walked = outcome(Decoder(), changed)
        used = Decoder()
        for _ in range(3):
            feed(used, dump)
        for decoder in (Decoder(), used):
            for _ in range(4):
                assert outcome(decoder, changed) == walked

    def test_a_short_preshared_key_is_malformed(self) -> None:
        """A preshared key that does not have 32 bytes raises `Malformed` in each of several dumps."""
        parts = peer_attributes(facts(1))
        parts[1] = attribute(wgdump.P_PRESHARED_KEY, bytes(4))
        dump = [HEAD, attribute(wgdump.PEERS | NESTED, nested(parts))]
        decoder = Decoder()
        for _ in range(4):
            with pytest.raises(Malformed, match="a preshared key has 4 bytes; it must have 32"):
                feed(decoder, dump)

    def test_a_peer_without_a_preshared_key_attribute_is_read(self) -> None:
        """A peer without the attribute of the preshared key is read in each of several dumps."""
        parts = peer_attributes(facts(1))
        del parts[1]
        dump = [HEAD, attribute(wgdump.PEERS | NESTED, nested(parts))]
        decoder = Decoder()
        for _ in range(4):
            assert feed(decoder, dump).transmit_bytes == [2**63 + 1]

    @pytest.mark.parametrize("layouts", [wgdump.LAYOUTS, ()], ids=["layout", "walk"])
    @pytest.mark.parametrize("which", range(9))
    def test_a_duplicate_attribute_is_malformed(
        self, which: int, layouts: tuple[wgdump.Layout, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A peer with any attribute twice raises `Malformed` on the fast path and on the general one, and no
        preshared key is left in the buffer."""
        monkeypatch.setattr(wgdump, "LAYOUTS", layouts)
        parts = peer_attributes(facts(1, preshared_key=SECRET))
        buffer = bytearray(attribute(wgdump.PEERS | NESTED, nested([*parts, parts[which]])))
        with pytest.raises(Malformed, match="an attribute twice"):
            Decoder().feed(buffer, 0, len(buffer))
        assert SECRET not in buffer

    def test_no_error_text_holds_a_key(self) -> None:
        """The error of a malformed dump contains no private or preshared key."""
        peer = nested([attribute(wgdump.P_PUBLIC_KEY, b"short"), attribute(wgdump.P_PRESHARED_KEY, SECRET)])
        with pytest.raises(ReadError) as raised:
            feed(Decoder(), [HEAD + attribute(wgdump.PEERS | NESTED, peer)])
        assert SECRET.hex() not in str(raised.value)
        assert b64encode(SECRET).decode() not in str(raised.value)

    def test_a_dump_without_messages(self) -> None:
        """A dump without messages raises an error."""
        with pytest.raises(ReadError, match="before the attributes of its device"):
            Decoder().finish()


def test_a_message_with_a_private_key_is_never_remembered() -> None:
    """No message with attributes of the device is remembered, also when they are sent again after a split
    first peer."""
    decoder = Decoder()
    first = messages(HEAD, [facts(1)])
    again = HEAD + attribute(wgdump.PEERS | NESTED, nested(peer_attributes(facts(2))))
    for _ in range(4):
        feed(decoder, [*first, again, *messages(b"", [facts(3)])])
    assert [message.remembered is not None for message in decoder._messages] == [False, False, True]


@given(
    st.dictionaries(st.integers(0, 79), st.sampled_from(["endpoint", "keepalive", "allowed_ips", "family"])),
    st.booleans(),
)
@settings(deadline=None)
def test_only_changed_peers_are_decoded_again(changes: dict[int, str], pad: bool) -> None:
    """In a remembered message only the peers next to changed bytes are decoded again; the result equals that
    of a new decoder, also if the size of the message changes."""
    new = {
        "endpoint": ("198.51.100.3", 7),
        "keepalive": 0,
        "allowed_ips": ("10.7.0.0/16", "fd07::/64"),
        "family": ("2001:db8::7", 7),
    }
    shared = dict.fromkeys(range(0, 80, 3), SECRET)
    found = [facts(number, preshared_key=shared.get(number, bytes(32))) for number in range(80)]
    decoder = Decoder()
    for _ in range(3):
        feed(decoder, messages(HEAD, found, 40, pad=pad))
    remembered = decoder._messages[1].remembered
    for number, what in changes.items():
        field = "endpoint" if what == "family" else what
        secret = shared.get(number, bytes(32))
        found[number] = facts(number, preshared_key=secret, sent=5, **{field: new[what]})
    dump = messages(HEAD, found, 40, pad=pad)
    for _ in range(2):
        assert feed(decoder, dump) == feed(Decoder(), dump)
    moved = [number for number in changes if number >= 40]
    if len(moved) <= 4 and all(changes[number] == "endpoint" for number in moved):
        assert decoder._messages[1].remembered is remembered
