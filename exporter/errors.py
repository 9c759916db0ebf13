"""The errors that an operator reads. A row names the module of its class if its parent class is in another.

ArgusError                   the root: the problem and its remedy
├── InputError               a file that an operator wrote has a mistake: file, line, field
├── ListenError              the server cannot listen on an address (web/connections/listen.py)
├── BundleError              a file of the bundle cannot be written (bundle.py)
├── DemoError                the demo cannot run (demo/errors.py)
├── ReadError                an interface or a source could not be read; `reason` is a metric label
│   ├── PermissionMissing    CAP_NET_ADMIN is missing, or this user may not open the socket
│   ├── ModuleMissing        the kernel has no WireGuard
│   ├── InterfaceVanished    the interface was listed, and then removed
│   ├── DumpInterrupted      the peers kept changing while they were read
│   ├── DumpTruncated        a message did not fit, or the dump ended early
│   ├── Malformed            the bytes violate the protocol
│   ├── ReadTimeout          no answer within the deadline
│   ├── SocketStale          a UAPI socket without a process behind it
│   ├── NamespaceMissing     a configured network namespace does not exist
│   └── ReadFailed           any other error number, with its text
└── StoreError               recording failed; `reason` is a metric label (store/errors.py)
    ├── DatabaseUnreachable  no connection: refused, timed out, closed
    ├── DatabaseRefused      the login is rejected or lacks a right, or TLS cannot be used or trusted
    ├── SchemaMismatch       the schema is missing, older or newer than this program
    ├── GatewayClaimed       another installation writes under this gateway's name
    ├── SpoolFull            the quota or the disk is full: a snapshot was not kept
    ├── SpoolBroken          the disk failed: the spool cannot be used
    ├── FrameCorrupt         the bytes of a frame are damaged
    ├── Unwritable           the database rejects the values of a frame (store/writer/drain.py)
    └── EmbeddedFailed       the private PostgreSQL cannot run
"""

from __future__ import annotations

from typing import ClassVar


class ArgusError(Exception):
    """The root of the tree. `problem` says what is wrong, `remedy` how to fix it ("" = unknown).

    As text, both: "cannot listen on :::80: permission denied; choose a port above 1023".
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem}; {remedy}" if remedy else problem)


class InputError(ArgusError):
    """A file that an operator wrote is wrong.

    `file` is the path as given, `line` counts from 1 (0 = the file as a whole), `field` is the dotted key
    (empty = none), `detail` says what is wrong with it. `problem` is all of these in a sentence.
    """

    def __init__(self, file: str, line: int, field: str, detail: str, remedy: str = "") -> None:
        self.file = file
        self.line = line
        self.field = field
        self.detail = detail
        place = f"{file}:{line}" if line else file
        super().__init__(f"{place}: {field}: {detail}" if field else f"{place}: {detail}", remedy)


class ReadError(ArgusError):
    """An interface, or a whole source, could not be read."""

    reason: ClassVar[str] = "failed"


class PermissionMissing(ReadError):
    reason = "permission"


class ModuleMissing(ReadError):
    reason = "module"


class InterfaceVanished(ReadError):
    reason = "vanished"


class DumpInterrupted(ReadError):
    """`retries` dumps were discarded and read again before the reader gave up."""

    reason = "interrupted"

    def __init__(self, problem: str, remedy: str = "", *, retries: int = 0) -> None:
        super().__init__(problem, remedy)
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
