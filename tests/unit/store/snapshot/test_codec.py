"""An encoded frame is decoded to the same frame, and damaged bytes to none."""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.store.errors import FrameCorrupt
from exporter.store.snapshot.codec import decode, encode
from exporter.store.snapshot.frame import DeviceFrame, Frame, Gap, PeerConfig
from tests.kit.gateways import key
from tests.kit.store.frames import FRAMES, RUN, START

CONFIG = PeerConfig("192.0.2.1:51820", ("10.0.0.1/32",), 25, True, "acme", 2, "ä-\ud800", "berlin", "noc")
SMALL = Frame(
    run=RUN,
    sequence=7,
    epoch=5,
    taken_at=START + 0.123,
    gateway="gw",
    organisation="acme",
    clearance=1,
    devices=[
        DeviceFrame(
            label="wg0",
            kind="kernel",
            public_key=key(9),
            listen_port=51820,
            fwmark=0,
            instance="boot:4",
            peers=1,
            added=[key(1)],
            removed=[0],
            configured=[(1, CONFIG)],
            changed=[1],
            last_handshake=[START],
            receive=[2**64 - 1],
            transmit=[6],
            reset=[1],
            carried_receive=[7],
            carried_transmit=[8],
        )
    ],
    removed=["wg1"],
    unread=[("wg2", "timeout")],
    gaps=[Gap(START - 30.5, START + 0.25, "late", 1)],
)
NOTHING = DeviceFrame("wg0", "kernel", key(9), 51820, 0, "boot:4", 0, *([] for _ in range(10)))


def busy(peers: int, changed: int) -> Frame:
    """A delta with some changed peers, and counters as they are after months of use."""
    seeded = random.Random(1)
    slots = sorted(seeded.sample(range(peers), changed))
    handshakes = [START - seeded.randrange(180) for _ in slots]
    received, sent = ([int(seeded.lognormvariate(18, 3)) for _ in slots] for _ in range(2))
    moved = replace(NOTHING, peers=peers, changed=slots)
    device = replace(moved, last_handshake=handshakes, receive=received, transmit=sent)
    return replace(SMALL, devices=[device])


@given(FRAMES)
def test_a_frame_comes_back_as_it_was(frame: Frame) -> None:
    """Any frame equals itself after encoding and decoding."""
    assert decode(encode(frame)) == frame


def test_a_keyframe_of_many_peers_comes_back() -> None:
    """A keyframe with more configurations than one chunk holds equals itself after decoding."""
    slots = list(range(10_000))
    configured = [(slot, replace(CONFIG, name=f"peer-{slot}")) for slot in slots]
    device = replace(busy(10_000, 10_000).devices[0], added=[*map(key, slots)], configured=configured)
    frame = replace(SMALL, epoch=SMALL.sequence, devices=[device, device])
    assert decode(encode(frame)) == frame


def test_every_flipped_bit_is_noticed() -> None:
    """Flipping any bit of a frame raises FrameCorrupt."""
    data = encode(SMALL)
    for place in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            with pytest.raises(FrameCorrupt):
                decode(bytes(flipped))


def test_every_truncation_is_noticed() -> None:
    """A truncated frame, or one with extra bytes, raises FrameCorrupt."""
    data = encode(SMALL)
    for length in range(len(data)):
        with pytest.raises(FrameCorrupt):
            decode(data[:length])
    with pytest.raises(FrameCorrupt):
        decode(data + b"\0")


def sealed(content: bytes, body: int) -> bytes:
    """A frame with this content after its head, a body of `body` bytes, and a right length and checksum."""
    about = struct.pack("=Q16sQQqQ", 64 + len(content), RUN.bytes, 1, 1, 0, body)
    return b"AWF1" + struct.pack("=I", zlib.crc32(about + content)) + about + content


@given(st.binary(max_size=200), st.integers(0, 250))
def test_other_bytes_are_no_frame(content: bytes, body: int) -> None:
    """Content that cannot be decompressed raises FrameCorrupt, even with a right length and checksum."""
    with pytest.raises(FrameCorrupt, match="frame 1 of 6f9619ff"):
        decode(sealed(content, body))


@pytest.mark.parametrize("text", ["", "[]", "{}", '"', '{"devices":[[[],[1]]]}', "\xff"])
def test_a_body_of_other_content_is_no_frame(text: str) -> None:
    """Content that decompresses to something else raises FrameCorrupt."""
    body = zlib.compress(text.encode("latin-1") + b"\n\n")
    with pytest.raises(FrameCorrupt, match="has contents that this version cannot read"):
        decode(sealed(body, len(body)))


def test_a_key_that_is_none_is_refused() -> None:
    """A key that is not the base64 of 32 bytes is refused; it would shift the following keys."""
    for wrong in ("", "AAAA", key(1)[:-1]):
        frame = replace(SMALL, devices=[replace(SMALL.devices[0], added=[wrong])])
        with pytest.raises(ValueError, match=r"32 bytes|[Pp]adding"):
            encode(frame)


def test_a_delta_is_small() -> None:
    """With a fifth of 10,000 peers changed, a frame has at most 2.8 bytes per peer of the interface."""
    assert len(encode(busy(10_000, 2_000))) <= 28_000
