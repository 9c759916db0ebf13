"""Reads userspace WireGuard interfaces: one Unix socket per interface, as wg(8) does.

Protocol: https://www.wireguard.com/xplatform/. `uapitext` decodes the replies.
"""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path

from exporter.errors import (
    DumpTruncated,
    InterfaceVanished,
    PermissionMissing,
    ReadError,
    ReadFailed,
    ReadTimeout,
    SocketStale,
)
from exporter.model import Device
from exporter.sources.uapitext import Memory, parse, wipe

DIRECTORY = Path("/var/run/wireguard")
MAX_REPLY = 256 * 2**20  # bytes; 100,000 peers with two allowed IPs each are 45 MB

_REQUEST = b"get=1\n\n"
_FIRST_BUFFER = 2**16  # bytes; the buffer is doubled when it is full
_SUFFIX = ".sock"


class UapiSource:
    """The userspace interfaces whose sockets are in `directory`.

    `timeout` (seconds) limits one whole reading, `max_reply` (bytes) its reply. The calls block: make them in
    a worker thread. Different interfaces can be read at the same time, but the same interface cannot.
    """

    def __init__(self, directory: Path = DIRECTORY, timeout: float = 5.0, max_reply: int = MAX_REPLY) -> None:
        self._directory = directory
        self._timeout = timeout
        self._max_reply = max_reply
        self._memories: dict[str, Memory] = {}

    def list(self) -> list[str]:
        """The names of the interfaces, sorted; none if the directory does not exist.

        Raises `PermissionMissing` or `ReadFailed` if the directory cannot be read. A listed socket may be
        stale, which `read` detects.
        """
        try:
            sockets = [
                path for path in self._directory.iterdir() if path.suffix == _SUFFIX and path.is_socket()
            ]
        except FileNotFoundError:
            sockets = []
        except PermissionError:
            raise PermissionMissing(
                f"{self._directory}: permission denied",
                "run as the user that runs the userspace interfaces, usually root, or let this user read the "
                "directory",
            ) from None
        except OSError as error:
            raise ReadFailed(f"{self._directory}: {error.strerror}") from error
        names = sorted(path.stem for path in sockets)
        for gone in self._memories.keys() - set(names):
            self._memories.pop(gone, None)
        return names

    def read(self, name: str) -> Device:
        """Reads one interface, without `link`, which the caller adds.

        Peers that did not change since the last reading are the same objects. Raises a `ReadError`. The
        socket file is never changed or removed, even if it is stale.
        """
        path = self._directory / f"{name}{_SUFFIX}"
        deadline = time.monotonic() + self._timeout
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                _connect(connection, path, self._timeout)
                reply = _ask(connection, deadline, self._max_reply)
        except OSError as error:
            raise self._explain(error, name, path) from error
        except _ReplyError as error:
            raise DumpTruncated(f"{name}: {path}: {error}") from None
        return parse(reply, name, time.time(), self._memories.setdefault(name, Memory()))

    def _explain(self, error: OSError, name: str, path: Path) -> ReadError:
        match error:
            case TimeoutError() | BlockingIOError():
                return ReadTimeout(
                    f"{name}: no complete answer on {path} within {self._timeout:g} s: "
                    "the process that runs the interface is stuck or very busy"
                )
            case FileNotFoundError():
                return InterfaceVanished(f"{name}: {path} is gone: the interface was removed")
            case ConnectionRefusedError():
                return SocketStale(
                    f"{name}: nothing listens on {path}: the process that ran the interface ended without "
                    "removing it",
                    "start the interface again, or remove the file",
                )
            case PermissionError():
                return PermissionMissing(
                    f"{name}: permission denied on {path}",
                    "run as the user that runs the interface, usually root, or let this user write to the "
                    "socket (setfacl -m u:USER:rw)",
                )
        return ReadFailed(f"{name}: {path}: {error.strerror or error}")


class _ReplyError(Exception):
    """The reply ended early, or is too long."""


def _connect(connection: socket.socket, path: Path, timeout: float) -> None:
    """Connects within `timeout` seconds. If the listener's backlog is full, the connect waits for a free
    place.

    SO_SNDTIMEO keeps the socket blocking. With Python's timeout it would be non-blocking, and connect would
    fail at once with a full backlog.
    """
    seconds, fraction = divmod(timeout, 1)
    interval = struct.pack("ll", int(seconds), int(fraction * 1e6))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)
    connection.connect(str(path))


def _ask(connection: socket.socket, deadline: float, max_reply: int) -> bytearray:
    """The reply up to its blank line, and any bytes after it. Every other buffer that held it is wiped."""
    connection.settimeout(_remaining(deadline))
    connection.sendall(_REQUEST)
    buffer = bytearray(min(_FIRST_BUFFER, max_reply))
    filled = 0
    try:
        while True:
            if filled == len(buffer):
                if filled == max_reply:
                    raise _ReplyError(f"the reply is longer than {max_reply} bytes")
                buffer = _doubled(buffer, max_reply)
            connection.settimeout(_remaining(deadline))
            received = connection.recv_into(memoryview(buffer)[filled:])
            if not received:
                raise _ReplyError(f"the reply ended after {filled} bytes, before its blank line")
            searched = max(0, filled - 1)
            filled += received
            if buffer.find(b"\n\n", searched, filled) >= 0:
                return buffer
    except BaseException:
        wipe(buffer)
        raise


def _remaining(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining


def _doubled(buffer: bytearray, most: int) -> bytearray:
    """Copies a full buffer into a larger one, and wipes it. Resizing could leave keys in freed memory."""
    larger = bytearray(min(2 * len(buffer), most))
    memoryview(larger)[: len(buffer)] = buffer
    wipe(buffer)
    return larger
