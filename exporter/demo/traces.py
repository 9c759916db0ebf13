"""What a demo leaves on the host, and its removal: by the demo itself, or by the next one after a SIGKILL."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from exporter.demo import namespaces
from exporter.demo.errors import DemoError
from exporter.demo.processes import end_recorded, start_time
from exporter.demo.tunnels import SOCKET_DIRECTORY

DIRECTORY = Path("/run/argus-demo")  # configuration, logs, records and the record of processes
RECORD = DIRECTORY / "processes"
LOCK = Path("/run/argus-demo.lock")
ENDING = 20.0  # seconds that a private PostgreSQL gets when its exporter was killed


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Holds the host's one demo, or raises `DemoError`. The kernel lets go when the process dies."""
    while True:
        descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise DemoError("another demo is running on this host: end it with Ctrl-C first") from None
        # A demo that was just ending may have unlinked the file between opening and locking.
        if os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)
    try:
        yield
    finally:
        LOCK.unlink()
        os.close(descriptor)


def make_directory() -> None:
    """Others may pass through to what is theirs, as PostgreSQL has to, which is never root; they see nothing
    of it, and whoever puts a file there makes it root's alone."""
    DIRECTORY.mkdir()
    DIRECTORY.chmod(0o711)


def present() -> bool:
    """Whether a demo left anything behind."""
    return DIRECTORY.exists() or bool(namespaces.existing())


def remove(interfaces: Iterable[str]) -> None:
    """Ends recorded processes, removes sockets, namespaces and files; one failing does not stop the rest."""
    with contextlib.ExitStack() as last_first:
        if DIRECTORY.exists():
            last_first.callback(shutil.rmtree, DIRECTORY)
            last_first.callback(_await_databases)
        for name in namespaces.existing():
            last_first.callback(namespaces.remove, name)
        for interface in interfaces:
            last_first.callback(_remove_dead_socket, SOCKET_DIRECTORY / f"{interface}.sock")
        last_first.callback(end_recorded, RECORD)


def _await_databases() -> None:
    """A private PostgreSQL is told by the kernel when its exporter ends, and takes a moment."""
    deadline = time.monotonic() + ENDING
    for file in DIRECTORY.glob("*.state/postgres/data/postmaster.pid"):
        with contextlib.suppress(FileNotFoundError, ValueError):
            pid = int(file.read_text().splitlines()[0])
            while start_time(pid) and file.exists() and time.monotonic() < deadline:
                time.sleep(0.05)


def _remove_dead_socket(path: Path) -> None:
    """A socket that still answers belongs to somebody else and stays."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
