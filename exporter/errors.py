"""Every error that Argus raises on purpose.

ArgusError
├── InputError            a file an operator wrote is wrong: file, line, field, what would be right
├── ListenError           an address cannot be listened on (web/listen.py)
├── DemoError             the demo cannot be set up (demo/errors.py)
└── ReadError             a device could not be read; `reason` is a metric label
    ├── PermissionMissing     CAP_NET_ADMIN is not there, or a socket is not ours to open
    ├── ModuleMissing         the kernel has no WireGuard
    ├── InterfaceVanished     it was listed and is gone
    ├── DumpInterrupted       the peers kept changing while they were read
    ├── DumpTruncated         a message did not fit, or the dump ended early
    ├── Malformed             the bytes are not what the protocol allows
    ├── ReadTimeout           no answer within the deadline
    ├── SocketStale           a UAPI socket file without a process behind it
    ├── NamespaceMissing      a configured network namespace does not exist
    └── ReadFailed            any other error number, with its text
"""

from __future__ import annotations

from typing import ClassVar


class ArgusError(Exception):
    """The root: catching it catches everything Argus raises on purpose."""


class InputError(ArgusError):
    """A file that an operator wrote is wrong.

    `file` is the path as given, `line` counts from 1 (0 = the file as a whole), `field` is the
    dotted key (empty = none), `problem` is a sentence that says what would be right.
    """

    def __init__(self, file: str, line: int, field: str, problem: str) -> None:
        self.file = file
        self.line = line
        self.field = field
        self.problem = problem
        place = f"{file}:{line}" if line else file
        super().__init__(f"{place}: {field}: {problem}" if field else f"{place}: {problem}")


class ReadError(ArgusError):
    """A device, or a whole source, could not be read."""

    reason: ClassVar[str] = "failed"


class PermissionMissing(ReadError):
    reason = "permission"


class ModuleMissing(ReadError):
    reason = "module"


class InterfaceVanished(ReadError):
    reason = "vanished"


class DumpInterrupted(ReadError):
    """`retries` dumps were thrown away and read again before it was given up."""

    reason = "interrupted"

    def __init__(self, message: str, retries: int = 0) -> None:
        super().__init__(message)
        self.retries = retries


class DumpTruncated(ReadError):
    reason = "truncated"


class Malformed(ReadError):
    reason = "malformed"


class ReadTimeout(ReadError):
    reason = "timeout"


class SocketStale(ReadError):
    reason = "stale-socket"


class NamespaceMissing(ReadError):
    reason = "namespace"


class ReadFailed(ReadError):
    reason = "failed"
