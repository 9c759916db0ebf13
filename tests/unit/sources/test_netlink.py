"""Kernel devices: interrupted, incomplete and refused dumps, and a family whose number changes."""

from __future__ import annotations

import contextlib
import errno
import random
import struct
from base64 import b64encode
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import (
    DumpInterrupted,
    DumpTruncated,
    InterfaceVanished,
    Malformed,
    ModuleMissing,
    PermissionMissing,
    ReadError,
)
from exporter.model import Device, Link
from exporter.sources import gateway
from exporter.sources.links import NamedLink
from exporter.sources.netlink import KINDS, KernelSource, resolve_family
from exporter.sources.nlsocket import BUFFER_SIZE, HEADER
from tests.kit.servers.netlinkdump import PeerFacts, attribute, device_attributes, messages, peer_attributes
from tests.kit.servers.netlinkserver import (
    FAMILY,
    Answer,
    AnsweringKernel,
    device_dump,
    done,
    message,
    refusal,
)

PATIENCE = 20.0  # seconds
INDEX = 7
PRIVATE_KEY = random.Random("private").randbytes(32)
PRESHARED_KEY = random.Random("preshared").randbytes(32)
PUBLIC_KEY = bytes(range(32))


def peers(count: int, sent: int = 0) -> list[PeerFacts]:
    """Peers whose counters start at `sent`."""
    return [
        PeerFacts(
            random.Random(number).randbytes(32),
            preshared_key=PRESHARED_KEY,
            handshake=(1_700_000_000 + number, 1),
            sent=sent + number,
            received=number,
            endpoint=("192.0.2.1", 1000 + number),
            allowed_ips=(f"10.0.0.{number}/32",),
        )
        for number in range(count)
    ]


def parts(found: list[PeerFacts], name: str = "wg0", per_message: int = 3) -> list[bytes]:
    """The attributes of each message of a device with these peers."""
    return messages(device_attributes(name, PRIVATE_KEY, PUBLIC_KEY, 51820), found, per_message)


def source_of(kernel: AnsweringKernel, retries: int = 4, numbers: Iterable[int] = (FAMILY,)) -> KernelSource:
    """A source that reads from `kernel`; `numbers` are the successive numbers of the family."""
    left = iter(numbers)
    return KernelSource(PATIENCE, retries, opener=kernel.open, family=lambda: next(left))


def test_a_device_is_asked_for_by_index() -> None:
    """The request is GET_DEVICE version 1, with the family's number and the interface's index."""
    with AnsweringKernel(device_dump(parts(peers(7)))) as kernel:
        device, retries = source_of(kernel).read(INDEX)
    (request,) = kernel.requests
    assert HEADER.unpack_from(request)[1] == FAMILY
    assert request[HEADER.size :] == bytes([0, 1, 0, 0]) + struct.pack("=HHI", 8, 1, INDEX)
    assert (device.name, device.listen_port, retries) == ("wg0", 51820, 0)
    assert device.public_key == b64encode(PUBLIC_KEY).decode()
    assert device.transmit_bytes == list(range(7))
    assert len(kernel.sockets) == 1


@pytest.mark.parametrize("where", range(4))
def test_interrupted_dumps_are_discarded(where: int) -> None:
    """After two dumps that are interrupted at any message, also at DONE, the device is that of the third
    dump."""
    stale, good = parts(peers(7, sent=100)), parts(peers(7, sent=200))
    interrupted = device_dump(stale, interrupted=where)
    with AnsweringKernel(interrupted, interrupted, device_dump(good)) as kernel:
        device, retries = source_of(kernel).read(INDEX)
    assert retries == 2
    assert device.transmit_bytes == list(range(200, 207))
    assert len(set(device.peers)) == len(device.peers) == 7


@pytest.mark.parametrize("retries", [0, 2])
def test_too_many_interruptions_are_an_error(retries: int) -> None:
    """The number of attempts is limited, and the error gives it."""
    answers = [device_dump(parts(peers(7)), interrupted=1)] * (retries + 2)
    with AnsweringKernel(*answers) as kernel:
        with pytest.raises(DumpInterrupted, match=f"the peers changed during each of {retries + 1} attempts"):
            source_of(kernel, retries).read(INDEX)
        assert len(kernel.requests) == retries + 1


def test_a_family_with_a_new_number_is_found_again() -> None:
    """After the module was loaded again, the family's new number is resolved once and kept."""
    dump = parts(peers(3))
    moved = device_dump(dump, kind=FAMILY + 1)
    with AnsweringKernel(device_dump(dump), refusal(-errno.ENOENT), moved, moved) as kernel:
        source = source_of(kernel, numbers=(FAMILY, FAMILY + 1))
        devices = [source.read(INDEX) for _ in range(3)]
    asked = [HEADER.unpack_from(request)[1] for request in kernel.requests]
    assert asked == [FAMILY, FAMILY, FAMILY + 1, FAMILY + 1]
    assert devices[0] == devices[1] == devices[2]


def test_a_module_that_is_unloaded_and_loaded_again() -> None:
    """Without the module the kernel gets two requests; when the module is loaded again, the device is
    read."""
    gone = refusal(-errno.ENOENT)
    with AnsweringKernel(gone, gone, device_dump(parts(peers(3)))) as kernel:
        source = source_of(kernel, numbers=(FAMILY, FAMILY, FAMILY))
        with pytest.raises(ModuleMissing, match="modprobe wireguard"):
            source.read(INDEX)
        assert len(kernel.requests) == 2
        assert source.read(INDEX)[0].name == "wg0"


def test_this_host_says_whether_it_has_the_module() -> None:
    """The family has a number of the kernel's range if the module is loaded, and no number otherwise."""
    number = 0
    with contextlib.suppress(ModuleMissing):
        number = resolve_family()
    assert (number > 16) == Path("/sys/module/wireguard").exists()  # 16 and below: linux/genetlink.h


def amnezia_parts() -> list[bytes]:
    """A dump of an AmneziaWG interface: device attributes from 9 and peer attribute 11 are its own."""
    peer = attribute(0, b"".join([*peer_attributes(peers(2)[1]), attribute(11, b"")]))
    device = device_attributes("awg0", PRIVATE_KEY, PUBLIC_KEY, 51821)
    own = [
        attribute(9, struct.pack("=H", 4)),
        attribute(16, struct.pack("=I", 7)),
        attribute(24, b"<b 0x01>\0"),
    ]
    return [b"".join([device, *own]) + attribute(8, peer)]


def test_attributes_of_amneziawg_are_ignored() -> None:
    """An AmneziaWG interface is decoded like one of WireGuard, in the first dump and in the second."""
    dump = device_dump(amnezia_parts())
    with AnsweringKernel(dump, dump) as kernel:
        source = source_of(kernel)
        for _ in range(2):
            device, _ = source.read(INDEX)
            assert (device.name, device.listen_port, device.transmit_bytes) == ("awg0", 51821, [1])
            assert device.peers[0].endpoint == "192.0.2.1:1001"


def test_links_of_both_kinds_are_read_from_their_own_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway reads wireguard and amneziawg links beside each other, each through the family of its kind;
    other kinds are not read."""
    found = [
        NamedLink(number, name, kind, Link(up=True))
        for number, (name, kind) in enumerate(
            [("wg0", "wireguard"), ("awg0", "amneziawg"), ("tun0", "tun")], 1
        )
    ]
    with (
        AnsweringKernel(device_dump(parts(peers(3)))) as plain,
        AnsweringKernel(device_dump(amnezia_parts())) as amnezia,
    ):
        kernels = dict(zip(KINDS, (plain, amnezia), strict=True))

        class Answered(KernelSource):
            def __init__(self, timeout: float, retries: int, kind: str) -> None:
                opener = kernels[kind].open
                super().__init__(timeout, retries, kind, opener=opener, family=lambda: FAMILY)

        monkeypatch.setattr(gateway, "KernelSource", Answered)
        monkeypatch.setattr(gateway, "links", lambda *_: (found, 0))
        snapshot = gateway.Gateway("gw", uapi_directory=None, timeout=PATIENCE).read()
    assert [(device.label, device.listen_port) for device in snapshot.devices] == [
        ("wg0", 51820),
        ("awg0", 51821),
    ]


@pytest.mark.parametrize(
    ("code", "error"), [(errno.EPERM, PermissionMissing), (errno.ENODEV, InterfaceVanished)]
)
def test_a_refusal_is_reported_at_once(code: int, error: type[ReadError]) -> None:
    """A missing capability and a missing interface are not tried again."""
    with AnsweringKernel(refusal(-code)) as kernel:
        with pytest.raises(error):
            source_of(kernel).read(INDEX)
        assert len(kernel.requests) == 1


def cut(dump: list[bytes], where: int) -> Answer:
    """A dump that is cut off before DONE."""
    return lambda sequence: [message(FAMILY, sequence, bytes(4) + part) for part in dump[:where]]


def malformed(dump: list[bytes], where: int) -> Answer:
    """A dump with an attribute that claims to be longer than its message."""
    bad = struct.pack("=HH", 4000, 8) + bytes(8)
    return device_dump([*dump[:where], bad, *dump[where:]])


def ended_by_error(dump: list[bytes], where: int) -> Answer:
    """A dump whose DONE says that the interface was removed."""

    def answer(sequence: int) -> Iterable[bytes]:
        yield from cut(dump, where)(sequence)
        yield done(sequence, -errno.ENODEV)

    return answer


def interrupted(dump: list[bytes], where: int) -> Answer:
    """A dump that is interrupted at one message."""
    return device_dump(dump, interrupted=where)


FAULTS: dict[Callable[[list[bytes], int], Answer], type[ReadError]] = {
    cut: DumpTruncated,
    malformed: Malformed,
    ended_by_error: InterfaceVanished,
    interrupted: DumpInterrupted,
}

dumps = st.tuples(
    st.lists(st.integers(0, 11), unique=True, min_size=1), st.integers(0, 2**32), st.integers(1, 4)
)


def dump_of(drawn: tuple[list[int], int, int]) -> list[bytes]:
    chosen, sent, per_message = drawn
    everybody = peers(12, sent)
    return parts([everybody[number] for number in chosen], per_message=per_message)


def fresh(dump: list[bytes]) -> Device:
    """The device that a new source reads from the dump."""
    with AnsweringKernel(device_dump(dump)) as kernel:
        return source_of(kernel).read(INDEX)[0]


@given(st.lists(st.tuples(dumps, st.sampled_from([None, *FAULTS]), st.integers(0, 20)), max_size=6), dumps)
@settings(max_examples=60, deadline=None)
def test_a_failed_dump_does_not_affect_the_next(
    history: list[tuple[tuple[list[int], int, int], Callable[[list[bytes], int], Answer] | None, int],],
    last: tuple[list[int], int, int],
) -> None:
    """After any sequence of complete and failed dumps, in which peers appear, disappear and move between
    messages, each complete dump gives the same device as with a new source."""
    rows = [(dump_of(drawn), fault, where) for drawn, fault, where in history]
    rows += [(dump_of(last), None, 0)] * 3
    answers = [fault(dump, where % len(dump)) if fault else device_dump(dump) for dump, fault, where in rows]
    with AnsweringKernel(*answers) as kernel:
        source = source_of(kernel, retries=0)
        for dump, fault, _ in rows:
            if fault:
                with pytest.raises(FAULTS[fault]):
                    source.read(INDEX)
            else:
                assert source.read(INDEX)[0] == fresh(dump)


def test_no_key_outlives_a_dump() -> None:
    """The receive buffers are zeroed after every dump, complete or not."""
    dump = parts(peers(9))
    answers = [fault(dump, 1) for fault in FAULTS] + [device_dump(dump)]
    with AnsweringKernel(*answers) as kernel:
        source = source_of(kernel, retries=0)
        for error in FAULTS.values():
            with pytest.raises(error):
                source.read(INDEX)
        assert source.read(INDEX)[0].peers[0].has_preshared_key
    assert len(kernel.sockets) == len(answers)
    assert all(netlink.buffer == bytes(BUFFER_SIZE) for netlink in kernel.sockets)


def test_unchanged_peers_stay_the_same_objects_after_an_interruption() -> None:
    """Messages remembered before an interrupted dump are used after it."""
    answers = [
        device_dump(parts(peers(9))),
        device_dump(parts(peers(9, sent=50)), interrupted=2),
        device_dump(parts(peers(9, sent=60))),
    ]
    with AnsweringKernel(*answers) as kernel:
        source = source_of(kernel)
        before, _ = source.read(INDEX)
        after, retries = source.read(INDEX)
    assert retries == 1
    assert all(old is new for old, new in zip(before.peers, after.peers, strict=True))


def test_interfaces_are_remembered_separately() -> None:
    """Two interfaces with the same peers and different counters, read in turn, are not mixed up."""
    one, two = parts(peers(9), "wg1"), parts(peers(9, sent=1000), "wg2")
    answers = [device_dump(dump) for _ in range(4) for dump in (one, two)]
    with AnsweringKernel(*answers) as kernel:
        source = source_of(kernel)
        for _ in range(4):
            first, second = source.read(1)[0], source.read(2)[0]
            assert (first.name, first.transmit_bytes) == ("wg1", list(range(9)))
            assert (second.name, second.transmit_bytes) == ("wg2", list(range(1000, 1009)))


def test_keep_forgets_the_others() -> None:
    """Peers of a kept interface are the same objects in the next reading; those of a forgotten one are new
    objects."""
    dump = device_dump(parts(peers(9)))
    with AnsweringKernel(*[dump] * 4) as kernel:
        source = source_of(kernel)
        first, second = source.read(1)[0], source.read(2)[0]
        source.keep({1, 3})
        assert source.read(1)[0].peers[0] is first.peers[0]
        again = source.read(2)[0]
    assert again == second
    assert again.peers[0] is not second.peers[0]
