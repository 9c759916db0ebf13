"""One netlink dump on one socket: the transport for devices and links.

A dump is a series of multipart messages that ends with NLMSG_DONE. It can be incomplete without any error of
a system call: a message is cut to the size of the buffer (MSG_TRUNC), the dumped object changes
(NLM_F_DUMP_INTR, on any message), DONE contains an error number, or a late answer to an earlier request
arrives. This module checks for each of them. Sources: linux/netlink.h and net/netlink/af_netlink.c.
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

# The kernel makes each part of a dump as large as the largest buffer so far, up to 32 KiB. With twice that
# there are as few system calls as possible, and no truncation.
BUFFER_SIZE = 64 * 1024

MAX_ERRNO = 4095  # include/linux/err.h
LONGEST_PAUSE = 64  # between two attempts, as a multiple of the first pause


class NetlinkSocket:
    """A socket for one dump. Leaving the `with` block closes it, which also ends an incomplete dump.

    Raises a `ReadError` if the socket cannot be opened.
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
        self.buffer[:] = bytes(BUFFER_SIZE)  # bytes that were not decoded may still contain keys

    def dump(self, kind: int, payload: bytes) -> Iterator[tuple[int, int]]:
        """Requests a dump, and yields the start and end of each message's payload in `buffer`. They are valid
        until the next one.

        Ends after NLMSG_DONE. Raises a `ReadError` if the dump fails; discard the messages so far in that
        case.
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
        """Receives the next datagram from the kernel, and returns its size. Only time spent waiting counts
        towards the timeout, because the caller decodes between two calls, in proportion to the number of
        peers."""
        while True:
            started = time.monotonic()
            size, _, flags, sender = self._sock.recvmsg_into([self.buffer])
            self._waited += time.monotonic() - started
            if self._waited > self._timeout:
                raise ReadTimeout(f"the kernel did not finish its answer within {self._timeout:g} s")
            if sender and sender[0] != 0:  # another process can send to this port; the kernel has port 0
                continue
            if flags & socket.MSG_TRUNC:
                raise DumpTruncated(f"a netlink message is larger than the buffer of {BUFFER_SIZE} bytes")
            if size < HEADER.size:
                raise DumpTruncated("the netlink answer ended before its last message")
            return size

    def _check(self, at: int, received: int) -> tuple[int, bool]:
        """Checks the header at `at`: (end of the message, 0 = not an answer to this request; whether the dump
        is complete)."""
        if at + HEADER.size > received:
            raise DumpTruncated("a netlink header is cut off")
        length, kind, flags, sequence, _ = HEADER.unpack_from(self.buffer, at)
        if length < HEADER.size or at + length > received:
            raise DumpTruncated(f"a netlink message claims {length} bytes, but {received - at} arrived")
        if sequence != self._sequence:
            return 0, False
        if flags & NLM_F_DUMP_INTR:
            raise DumpInterrupted("the device was changed while it was read")
        if kind in (NLMSG_ERROR, NLMSG_DONE):
            if length < HEADER.size + ERRNO.size:
                raise DumpTruncated("a netlink message ends before its error number")
            (code,) = ERRNO.unpack_from(self.buffer, at + HEADER.size)
            if code:
                raise (
                    error_of(-code) if 0 < -code <= MAX_ERRNO else Malformed(f"{code} is not an error number")
                )
            if kind == NLMSG_ERROR:
                raise Malformed("the kernel acknowledged a dump instead of answering it")
            return 0, True
        if kind == NLMSG_OVERRUN:
            raise DumpTruncated("the kernel had no memory for its answer")
        return at + length, False


def retried(read: Callable[[], T], retries: int, what: str) -> tuple[T, int]:
    """The result of `read`, and the number of interrupted dumps discarded before it. `what`: for the message.

    A dump during which the dumped objects changed is discarded: objects may be missing or occur twice. It is
    read again up to `retries` times. The pauses grow, and are random so that they do not stay in step with
    the program that changes the objects.
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
        return ModuleMissing("the kernel has no WireGuard", "run `modprobe wireguard`")
    if code == errno.EAGAIN:
        return ReadTimeout("the kernel did not answer in time")
    return ReadFailed(f"{os.strerror(code)} ({errno.errorcode.get(code, code)})")
