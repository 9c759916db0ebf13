"""The kernel's end of a netlink socket. A test determines the answers and their faults.

The sockets are real and keep message boundaries, as netlink does.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType

from exporter.sources.nlsocket import HEADER, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NetlinkSocket

NLM_F_MULTI = 0x2
FAMILY = 0x1C

Answer = Callable[[int], Iterable[bytes]]  # sequence number of a request → the datagrams of the answer


def message(kind: int, sequence: int, payload: bytes = b"", flags: int = NLM_F_MULTI) -> bytes:
    """A netlink message, padded to four bytes."""
    size = HEADER.size + len(payload)
    return HEADER.pack(size, kind, flags, sequence, 0) + payload + bytes(-size % 4)


def done(sequence: int, code: int = 0, flags: int = NLM_F_MULTI) -> bytes:
    """NLMSG_DONE with an error number, which is 0 or negative."""
    return message(NLMSG_DONE, sequence, struct.pack("=i", code), flags)


def refusal(code: int) -> Answer:
    """NLMSG_ERROR with a negative error number and the request, as the kernel sends it."""
    return lambda sequence: [message(NLMSG_ERROR, sequence, struct.pack("=i", code) + bytes(16), 0)]


def device_dump(parts: Sequence[bytes], interrupted: int | None = None, kind: int = FAMILY) -> Answer:
    """A dump of a WireGuard device, one datagram for each of `parts` and one for DONE.

    `interrupted`: the number of the message with NLM_F_DUMP_INTR; `len(parts)` is DONE.
    """

    def answer(sequence: int) -> Iterable[bytes]:
        flags = [NLM_F_MULTI] * (len(parts) + 1)
        if interrupted is not None:
            flags[interrupted] |= NLM_F_DUMP_INTR
        for attributes, flag in zip(parts, flags, strict=False):
            yield message(kind, sequence, bytes([0, 1, 0, 0]) + attributes, flag)
        yield done(sequence, 0, flags[-1])

    return answer


class AnsweringKernel:
    """Answers one dump on each socket that is opened, in the order of `answers`.

    After the answer the kernel's end is closed; with `hold` it stays open until the other end is closed.
    """

    def __init__(self, *answers: Answer, hold: bool = False) -> None:
        self.requests: list[bytes] = []
        self.sockets: list[NetlinkSocket] = []
        self._answers = iter(answers)
        self._hold = hold
        self._threads: list[threading.Thread] = []

    def open(self, timeout: float) -> NetlinkSocket:
        """A socket whose dump gets the next answer. This method is the opener of a `KernelSource`."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        thread = threading.Thread(target=self._serve, args=(theirs, next(self._answers)))
        self._threads.append(thread)
        thread.start()
        self.sockets.append(NetlinkSocket(0, timeout, ours))
        return self.sockets[-1]

    def _serve(self, connection: socket.socket, answer: Answer) -> None:
        with connection, contextlib.suppress(ConnectionError):  # a client may close in the middle
            request = connection.recv(4096)
            self.requests.append(request)
            for datagram in answer(HEADER.unpack_from(request)[3]):
                connection.send(datagram)
            if self._hold:
                connection.recv(1)

    def __enter__(self) -> AnsweringKernel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for thread in self._threads:
            thread.join()
