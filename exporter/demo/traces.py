"""Everything that a demo creates on the host, and its removal, by the demo or by the next one."""

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

DIRECTORY = Path("/run/argus-demo")  # configuration, logs, records and the list of processes
RECORD = DIRECTORY / "processes"
LOCK = Path("/run/argus-demo.lock")
ENDING = 20.0  # seconds that a private PostgreSQL gets when its exporter was killed


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Locks the demo of this host; raises `DemoError` if another one runs. The lock ends with the process."""
    while True:
        descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise DemoError("another demo is running on this host", "end it with Ctrl-C first") from None
        # A demo that was ending may have removed the file after it was opened here.
        if os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)
    try:
        yield
    finally:
        LOCK.unlink()
        os.close(descriptor)


def make_directory() -> None:
    """Creates the directory. Other users may enter it but not list it: PostgreSQL, which never runs as root,
    has its data below it. Files in it belong to root."""
    DIRECTORY.mkdir()
    DIRECTORY.chmod(0o711)


def present() -> bool:
    """Whether a previous demo left namespaces or files behind."""
    return DIRECTORY.exists() or bool(namespaces.existing())


def remove(interfaces: Iterable[str]) -> None:
    """Ends recorded processes and removes sockets, namespaces and files; a failure does not stop the rest."""
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
    """Waits for each private PostgreSQL: the kernel signals it when its exporter ends."""
    deadline = time.monotonic() + ENDING
    for file in DIRECTORY.glob("*.state/postgres/data/postmaster.pid"):
        with contextlib.suppress(FileNotFoundError, ValueError):
            pid = int(file.read_text().splitlines()[0])
            while start_time(pid) and file.exists() and time.monotonic() < deadline:
                time.sleep(0.05)


def _remove_dead_socket(path: Path) -> None:
    """Removes a socket without a process; any other socket is not the demo's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
