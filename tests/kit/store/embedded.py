"""State directories for a private PostgreSQL, its processes, and a daemon that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from exporter.store.database import connection as database
from exporter.store.database.settings import Target
from exporter.store.embedded.postgres import PrivatePostgres
from tests.kit.servers.postgres import PATIENCE, children, directory

T = TypeVar("T")


@contextlib.contextmanager
def state_directory(parent: str = "") -> Iterator[Path]:
    """A state directory as a service has it. If root owns it, PostgreSQL's user may traverse it."""
    with directory(parent) as state:
        state.chmod(0o711 if os.geteuid() == 0 else 0o700)
        yield state


def while_up(embedded: PrivatePostgres, work: Callable[[PrivatePostgres], Awaitable[T]]) -> T:
    """The result of `work` while the server runs."""

    async def run() -> T:
        await embedded.start()
        try:
            return await work(embedded)
        finally:
            await embedded.stop()

    return asyncio.run(run())


async def fetch(target: Target, *statements: str) -> list[tuple[object, ...]]:
    """The rows of the last statement."""
    connection = await database.connect(target, application="test")
    try:
        for statement in statements[:-1]:
            await connection.execute(statement)
        return [tuple(row) for row in await connection.fetch(statements[-1])]
    finally:
        await database.close(connection)


def until(condition: Callable[[], T]) -> T:
    """The first true value of `condition`."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.001)
    return value


def family(pid: int | None) -> list[int]:
    """A server's first process and its child processes."""
    assert pid is not None, "it does not run"
    return [pid, *children(pid)]


def of_each(pids: Iterable[int], look: Callable[[int], T]) -> list[T]:
    """The result of `look` for each process; processes that end meanwhile are left out."""
    found = []
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            found.append(look(pid))
    return found


@contextlib.contextmanager
def daemon(state: Path, binaries: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that runs a private PostgreSQL in a thread; it prints the server's pid when a row is
    stored."""
    command = [sys.executable, "-m", "tests.kit.store.embedded", str(state), str(binaries)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


async def _record_and_wait(embedded: PrivatePostgres) -> None:
    await fetch(embedded.superuser, "create table kept (n int)", "insert into kept values (7)", "select 1")
    os.write(1, f"{embedded.pid}\n".encode())
    await fetch(embedded.target, "select pg_sleep(3600)")


if __name__ == "__main__":
    private = PrivatePostgres(Path(sys.argv[1]), lambda: [Path(sys.argv[2])])
    thread = threading.Thread(target=while_up, args=(private, _record_and_wait))
    thread.start()
    thread.join()
