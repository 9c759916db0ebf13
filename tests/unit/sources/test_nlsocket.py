"""One netlink dump: every failure raises an error, and no byte of it stays in the buffer."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import socket
import struct
import time
from collections.abc import Iterable, Iterator

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
    ReadFailed,
    ReadTimeout,
)
from exporter.sources.links import IFINFO, RTM_GETLINK, RTM_NEWLINK
from exporter.sources.nlsocket import (
    BUFFER_SIZE,
    HEADER,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_OVERRUN,
    NetlinkSocket,
    retried,
)
from tests.kit.servers.netlinkserver import NLM_F_MULTI, Answer, AnsweringKernel, done, message, refusal

KIND = 0x1C
PATIENCE = 20.0  # seconds, for dumps that must succeed
IMPATIENCE = 0.1  # seconds, for dumps that cannot
SECRET = b"a private key, 32 bytes of it .."


def read(answer: Answer, *, timeout: float = PATIENCE, hold: bool = False) -> list[bytes]:
    """The payloads of one dump. Checks that the buffer is zeroed afterwards."""
    with AnsweringKernel(answer, hold=hold) as kernel:
        try:
            with kernel.open(timeout) as netlink:
                return [bytes(netlink.buffer[start:end]) for start, end in netlink.dump(KIND, b"")]
        finally:
            assert netlink.buffer == bytes(BUFFER_SIZE)


def test_payloads_arrive_in_order_across_datagrams() -> None:
    """Several messages in one datagram, with padding between them, and several datagrams give one dump."""

    def answer(sequence: int) -> Iterable[bytes]:
        first, second, third = (message(KIND, sequence, text) for text in (b"one", b"two.", b"and three"))
        return [first + second, third + done(sequence)]

    assert read(answer) == [b"one", b"two.", b"and three"]


def test_the_request() -> None:
    """The request is a dump of the given kind, with the payload after the header and the total length."""
    with AnsweringKernel(lambda sequence: [done(sequence)]) as kernel, kernel.open(PATIENCE) as netlink:
        assert list(netlink.dump(KIND, b"payload.")) == []
    (request,) = kernel.requests
    length, kind, flags, _, port = HEADER.unpack_from(request)
    assert (length, kind, flags, port) == (len(request), KIND, NLM_F_REQUEST | NLM_F_DUMP, 0)
    assert request[HEADER.size :] == b"payload."


@pytest.mark.parametrize("where", [0, 1, 2, 3])
@pytest.mark.parametrize("together", [False, True], ids=["apart", "in one datagram"])
def test_an_interruption_on_any_message_is_an_error(where: int, together: bool) -> None:
    """NLM_F_DUMP_INTR on the first, a middle or the last message, or on DONE, raises an error."""

    def answer(sequence: int) -> Iterable[bytes]:
        flags = [NLM_F_MULTI | (NLM_F_DUMP_INTR if number == where else 0) for number in range(4)]
        datagrams = [message(KIND, sequence, SECRET, flag) for flag in flags[:3]]
        datagrams.append(done(sequence, 0, flags[3]))
        return [b"".join(datagrams)] if together else datagrams

    with pytest.raises(DumpInterrupted):
        read(answer)


@pytest.mark.parametrize("whole", [BUFFER_SIZE, BUFFER_SIZE + 4], ids=["between messages", "in a message"])
def test_a_datagram_larger_than_the_buffer(whole: int) -> None:
    """A datagram that the kernel cut raises an error, also if the cut is after a whole message."""
    fitting = bytes(whole - HEADER.size)
    with pytest.raises(DumpTruncated, match=f"larger than the buffer of {BUFFER_SIZE} bytes"):
        read(lambda sequence: [message(KIND, sequence, fitting) + message(KIND, sequence), done(sequence)])


def test_a_dump_without_done_is_an_error() -> None:
    """An answer that ends without DONE raises an error."""
    with pytest.raises(DumpTruncated, match="before its last message"):
        read(lambda _: [])
    with pytest.raises(DumpTruncated, match="before its last message"):
        read(lambda sequence: [message(KIND, sequence, SECRET)])


ERRORS = {
    errno.EPERM: PermissionMissing,
    errno.EACCES: PermissionMissing,
    errno.ENODEV: InterfaceVanished,
    errno.ENOENT: ModuleMissing,
    errno.EAGAIN: ReadTimeout,
    errno.EOPNOTSUPP: ReadFailed,
    errno.EMSGSIZE: ReadFailed,
    errno.EBUSY: ReadFailed,
    errno.ENOMEM: ReadFailed,
}


@pytest.mark.parametrize("number", ERRORS, ids=lambda number: errno.errorcode[number])
def test_each_error_number_has_its_class(number: int) -> None:
    """Each error number gives its own error, in NLMSG_ERROR and in a DONE after valid messages."""
    with pytest.raises(ERRORS[number]) as refused:
        read(refusal(-number))
    with pytest.raises(ERRORS[number]) as ended:
        read(lambda sequence: [message(KIND, sequence, SECRET), done(sequence, -number)])
    assert type(refused.value) is type(ended.value) is ERRORS[number]
    if ERRORS[number] is ReadFailed:
        assert os.strerror(number) in str(refused.value)
        assert errno.errorcode[number] in str(refused.value)


@pytest.mark.parametrize("code", [5, -4096, 2**31 - 1, -(2**31)])
def test_a_number_that_is_no_error_number(code: int) -> None:
    """A number that is not between -1 and -4095 (include/linux/err.h) is malformed."""
    with pytest.raises(Malformed, match=str(code)):
        read(refusal(code))


def test_messages_that_do_not_answer_a_dump() -> None:
    """An acknowledgement, an overrun, and a DONE without its error number each raise an error."""
    with pytest.raises(Malformed, match="acknowledged"):
        read(refusal(0))
    with pytest.raises(DumpTruncated, match="no memory"):
        read(lambda sequence: [message(NLMSG_OVERRUN, sequence)])
    with pytest.raises(DumpTruncated, match="error number"):
        read(lambda sequence: [HEADER.pack(HEADER.size, 3, NLM_F_MULTI, sequence, 0)])


def test_answers_to_other_requests_are_ignored() -> None:
    """Messages with another sequence number are ignored, also errors, interruptions and DONE."""

    def answer(sequence: int) -> Iterable[bytes]:
        for other in (0, sequence - 1, sequence + 1, sequence ^ 0x8000_0000):
            yield message(KIND, other, b"late")
            yield message(KIND, other, b"late", NLM_F_DUMP_INTR) + message(KIND, sequence, b"good")
            yield done(other, -errno.ENODEV)
            yield done(other)
        yield done(sequence)

    assert read(answer) == [b"good"] * 4


@pytest.mark.parametrize("length", [0, 1, 15, 40, 2**32 - 1])
def test_a_header_with_a_wrong_length(length: int) -> None:
    """A length smaller than the header, or larger than the received bytes, raises an error."""

    def answer(sequence: int) -> Iterable[bytes]:
        return [HEADER.pack(length, KIND, NLM_F_MULTI, sequence, 0) + bytes(16), done(sequence)]

    with pytest.raises(DumpTruncated, match=f"claims {length} bytes"):
        read(answer)


def test_a_header_that_is_cut_off() -> None:
    """Bytes after the last message that are too few for a header raise an error."""
    with pytest.raises(DumpTruncated, match="cut off"):
        read(lambda sequence: [message(KIND, sequence, SECRET) + b"rest", done(sequence)])


@given(st.lists(st.binary(max_size=80), max_size=4), st.booleans())
@settings(max_examples=100, deadline=None)
def test_any_bytes(datagrams: list[bytes], valid_header: bool) -> None:
    """Random bytes raise a `ReadError`, and no other exception.

    A datagram with `valid_header` begins with the header of a message of this dump, so that the rest is
    decoded.
    """

    def answer(sequence: int) -> Iterable[bytes]:
        heads = (message(KIND, sequence) if valid_header else b"" for _ in datagrams)
        return [head + data for head, data in zip(heads, datagrams, strict=True) if head + data]

    with pytest.raises(ReadError):
        read(answer)


def test_a_kernel_that_does_not_answer() -> None:
    """If the kernel does not answer, or stops in the middle, the reading ends after the timeout."""
    with pytest.raises(ReadTimeout):
        read(lambda _: [], timeout=IMPATIENCE, hold=True)
    with pytest.raises(ReadTimeout):
        read(lambda sequence: [message(KIND, sequence, SECRET)], timeout=IMPATIENCE, hold=True)


@pytest.mark.parametrize("ours", [True, False], ids=["messages", "answers to other questions"])
def test_a_dump_that_never_ends(ours: bool) -> None:
    """Single messages that arrive forever, of this dump or another, do not extend the timeout."""

    def answer(sequence: int) -> Iterator[bytes]:
        while True:
            time.sleep(IMPATIENCE / 10)
            yield message(KIND, sequence if ours else sequence + 1, SECRET)

    with pytest.raises(ReadTimeout, match="did not finish"):
        read(answer, timeout=IMPATIENCE)


def test_an_incomplete_dump_is_wiped() -> None:
    """If the reader stops or raises in the middle, the buffer is zeroed and the socket is closed."""
    endless: Answer = lambda sequence: itertools.repeat(message(KIND, sequence, SECRET))  # noqa: E731
    with AnsweringKernel(endless, endless) as kernel:
        with kernel.open(PATIENCE) as netlink:
            next(netlink.dump(KIND, b""))
            assert SECRET in netlink.buffer
        assert netlink.buffer == bytes(BUFFER_SIZE)
        with pytest.raises(struct.error), kernel.open(PATIENCE) as netlink:
            struct.unpack_from("40Q", netlink.buffer[slice(*next(netlink.dump(KIND, b"")))])
        assert netlink.buffer == bytes(BUFFER_SIZE)


def test_the_real_kernel_answers() -> None:
    """A dump of this host's links has messages of one kind, and the buffer is zeroed after it."""
    with NetlinkSocket(socket.NETLINK_ROUTE, PATIENCE) as netlink:
        request = IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        kinds = {
            HEADER.unpack_from(netlink.buffer, start - HEADER.size)[1]
            for start, _ in netlink.dump(RTM_GETLINK, request)
        }
    assert kinds == {RTM_NEWLINK}
    assert netlink.buffer == bytes(BUFFER_SIZE)


def test_the_real_kernel_refuses() -> None:
    """The kernel answers a request for an unknown family with the error of a missing module."""
    with (
        pytest.raises(ModuleMissing, match="modprobe wireguard"),
        NetlinkSocket(16, PATIENCE) as netlink,  # 16: NETLINK_GENERIC
    ):
        list(netlink.dump(0xFFFE, bytes(4)))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to send to another socket's netlink port")
def test_only_messages_from_the_kernel_count() -> None:
    """Messages from the socket of another process are ignored: DONE, interruptions, too short and too long
    ones."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    ours = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    ours.bind((0, 0))
    with (
        NetlinkSocket(socket.NETLINK_ROUTE, PATIENCE, ours) as netlink,
        socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE) as forger,
    ):
        sequence = netlink._sequence + 1
        forged = [
            done(sequence),
            done(sequence, -errno.ENODEV),
            message(RTM_NEWLINK, sequence, SECRET, NLM_F_DUMP_INTR),
            b"runt",
            message(RTM_NEWLINK, sequence, bytes(BUFFER_SIZE)),
        ]
        for datagram in forged:
            forger.sendto(datagram, ours.getsockname())
        request = IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        indexes = [
            struct.unpack_from("=4xi", netlink.buffer, start)[0]
            for start, _ in netlink.dump(RTM_GETLINK, request)
        ]
    assert socket.if_nametoindex("lo") in indexes


def test_no_file_descriptor_left() -> None:
    """A process without free file descriptors gets a `ReadError`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(ReadFailed, match="Too many open files"):
            NetlinkSocket(socket.NETLINK_ROUTE, PATIENCE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("interruptions", range(4))
def test_interrupted_work_is_repeated(interruptions: int) -> None:
    """The result comes with the number of dumps that were discarded before it."""
    left = iter([*[DumpInterrupted("changed")] * interruptions, None])

    def work() -> str:
        if error := next(left):
            raise error
        return "read"

    assert retried(work, 3, "the peers") == ("read", interruptions)


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_interrupted_work_is_repeated_a_limited_number_of_times(retries: int) -> None:
    """After the last repetition the error says what changed, and the number of attempts."""
    tried = []

    def work() -> str:
        tried.append(1)
        raise DumpInterrupted("changed")

    with pytest.raises(DumpInterrupted, match=f"the peers changed during each of {retries + 1} attempts"):
        retried(work, retries, "the peers")
    assert len(tried) == retries + 1


def test_only_interruptions_are_repeated() -> None:
    """Any other failure is raised at once, unchanged."""
    tried = []

    def work() -> str:
        tried.append(1)
        raise InterfaceVanished("gone")

    with pytest.raises(InterfaceVanished, match=r"\Agone\Z"):
        retried(work, 3, "the peers")
    assert len(tried) == 1
