"""One netlink dump on one socket, checked at every step: the transport under devices and links.

A dump is a run of multipart messages that ends with NLMSG_DONE. What can go wrong on the way does so
quietly unless it is looked for: a message cut to the buffer (MSG_TRUNC), a change of the dumped object
(NLM_F_DUMP_INTR, on any single message), an error number inside DONE, a late answer to an earlier
request. Each raises here. Facts: linux/netlink.h, net/netlink/af_netlink.c.
"""

from __future__ import annotations

import errno
import os
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TypeVar

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

T = TypeVar("T")

NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 2, 3, 4
NLM_F_REQUEST, NLM_F_DUMP, NLM_F_DUMP_INTR = 0x1, 0x300, 0x10
HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
ERRNO = struct.Struct("=i")

# The kernel sizes each part of a dump to the largest buffer it was offered, up to 32 KiB. Twice that
# means fewer system calls than any smaller buffer, and no truncation.
BUFFER_SIZE = 64 * 1024

MAX_ERRNO = 4095  # include/linux/err.h
LONGEST_PAUSE = 64  # between two attempts, in units of the first one's


class NetlinkSocket:
    """A socket for one dump. Leaving the `with` block closes it, which is what ends an abandoned dump.

    Raises a `ReadError` where no socket can be had.
    """

    def __init__(self, protocol: int, timeout: float, sock: socket.socket | None = None) -> None:
        self.buffer = bytearray(BUFFER_SIZE)
        try:
            kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
            self._sock = sock or socket.socket(socket.AF_NETLINK, kind, protocol)
        except OSError as error:
            raise error_of(error.errno or 0) from error
        self._timeout = timeout
        self._waited = 0.0
        self._sequence = int.from_bytes(os.urandom(2), "little") + 1
        seconds, microseconds = int(timeout), int(timeout % 1 * 1_000_000)
        limit = struct.pack("@ll", seconds, microseconds)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)

    def __enter__(self) -> NetlinkSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sock.close()
        self.buffer[:] = bytes(BUFFER_SIZE)  # whatever was not decoded may still hold keys

    def dump(self, kind: int, payload: bytes) -> Iterator[tuple[int, int]]:
        """Ask for a dump; yield the offsets of each message's payload in `buffer`, valid until the next one.

        Ends after NLMSG_DONE. Raises a `ReadError` on anything else: the answer so far is then worthless.
        """
        self._waited = 0.0
        self._sequence += 1
        size = HEADER.size + len(payload)
        request = HEADER.pack(size, kind, NLM_F_REQUEST | NLM_F_DUMP, self._sequence, 0) + payload
        try:
            self._sock.send(request)
            while True:
                received = self._receive()
                at = 0
                while at < received:
                    end, done = self._check(at, received)
                    if done:
                        return
                    if end:
                        yield at + HEADER.size, end
                    at += HEADER.unpack_from(self.buffer, at)[0] + 3 & ~3
        except OSError as error:
            raise error_of(error.errno or 0) from error

    def _receive(self) -> int:
        """The next datagram of the kernel's; its size. Only waiting counts against the timeout: what is done
        with an answer in between takes as long as it has peers."""
        while True:
            started = time.monotonic()
            size, _, flags, sender = self._sock.recvmsg_into([self.buffer])
            self._waited += time.monotonic() - started
            if self._waited > self._timeout:
                raise ReadTimeout(f"the kernel did not finish its answer within {self._timeout:g} s")
            if sender and sender[0] != 0:  # another process may send to our port; the kernel is port 0
                continue
            if flags & socket.MSG_TRUNC:
                raise DumpTruncated(f"a netlink message is larger than the buffer of {BUFFER_SIZE} bytes")
            if size < HEADER.size:
                raise DumpTruncated("the netlink answer ended before its last message")
            return size

    def _check(self, at: int, received: int) -> tuple[int, bool]:
        """Look at the header at `at`: (end of the message, or 0 if it is not ours; is the dump done?)."""
        if at + HEADER.size > received:
            raise DumpTruncated("a netlink header is cut off")
        length, kind, flags, sequence, _ = HEADER.unpack_from(self.buffer, at)
        if length < HEADER.size or at + length > received:
            raise DumpTruncated(f"a netlink message says {length} bytes, and {received - at} arrived")
        if sequence != self._sequence:
            return 0, False
        if flags & NLM_F_DUMP_INTR:
            raise DumpInterrupted("the device was changed while it was read")
        if kind in (NLMSG_ERROR, NLMSG_DONE):
            if length < HEADER.size + ERRNO.size:
                raise DumpTruncated("a netlink message ends before its error number")
            (code,) = ERRNO.unpack_from(self.buffer, at + HEADER.size)
            if code:
                raise error_of(-code) if 0 < -code <= MAX_ERRNO else Malformed(f"{code} is no error number")
            if kind == NLMSG_ERROR:
                raise Malformed("the kernel acknowledged a dump instead of answering it")
            return 0, True
        if kind == NLMSG_OVERRUN:
            raise DumpTruncated("the kernel ran out of room for its answer")
        return at + length, False


def retried(read: Callable[[], T], retries: int, what: str) -> tuple[T, int]:
    """(what was read, how many interrupted dumps were thrown away before it).

    A dump during which the dumped objects changed is worthless: it may lack some of them, or hold some
    twice. It is read again a few times, after a pause that grows and is never the same twice, so as not
    to march in step with whatever is changing them.
    """
    for attempt in range(retries):
        try:
            return read(), attempt
        except DumpInterrupted:
            time.sleep(random.uniform(0.001, 0.004) * min(2**attempt, LONGEST_PAUSE))  # noqa: S311 - no secret
    try:
        return read(), retries
    except DumpInterrupted as error:
        message = f"{what} changed during each of {retries + 1} attempts to read them"
        raise DumpInterrupted(message, retries=retries) from error


def error_of(code: int) -> ReadError:
    """The `ReadError` for an error number of a WireGuard or link dump."""
    if code in (errno.EPERM, errno.EACCES):
        return PermissionMissing("reading WireGuard devices needs CAP_NET_ADMIN in the network namespace")
    if code == errno.ENODEV:
        return InterfaceVanished("the interface is gone")
    if code == errno.ENOENT:
        return ModuleMissing("the kernel has no WireGuard: try `modprobe wireguard`")
    if code == errno.EAGAIN:
        return ReadTimeout("the kernel did not answer in time")
    return ReadFailed(f"{os.strerror(code)} ({errno.errorcode.get(code, code)})")
