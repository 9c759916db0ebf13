"""The files of the private PostgreSQL, all in `postgres/` in the state directory.

    data/                 the data directory, as initdb creates it
    run/                  the Unix socket, if the path is short enough for one
    superuser.password    the password of `postgres`, the superuser
    argus.password        the password of `argus`, the login that records
    postgresql.conf, pg_hba.conf    written at every start

`data/` and `run/` belong to the user that PostgreSQL runs as, the other files to the owner of the state
directory. All are created in `postgres.new/`, which is renamed when it is complete: a `postgres.new/` is the
rest of an interrupted start.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

from exporter.store.embedded.account import Account, run
from exporter.store.embedded.binaries import Binaries
from exporter.store.errors import EmbeddedFailed

SUPERUSER, LOGIN, DATABASE, PORT = "postgres", "argus", "argus", 5432
_PATIENCE = 300.0  # seconds for initdb, which waits for the disk
_SOCKET_PATH = 107  # bytes, unix(7)
_SOCKET_NAME = f"/.s.PGSQL.{PORT}"

_NAMELESS = (
    "add the user, which has no name on this host, to /etc/passwd; for a systemd service with DynamicUser=, "
    "install libnss-systemd"
)

_HBA = "local all all scram-sha-256\n"
_CONF = """\
# Written at every start: changes are lost.
cluster_name = 'argus-wg'
listen_addresses = ''
port = {port}
unix_socket_directories = '{socket}'
unix_socket_permissions = 0700
max_connections = 20
password_encryption = scram-sha-256

# It runs on a gateway beside other work: little memory, few worker processes.
shared_buffers = 64MB
work_mem = 8MB
maintenance_work_mem = 32MB
temp_file_limit = 1GB
huge_pages = off
jit = off
max_worker_processes = 2
max_parallel_workers_per_gather = 0
max_parallel_maintenance_workers = 0
autovacuum_max_workers = 2
max_files_per_process = 500
# Not in /dev/shm, which a container may keep small and logind may empty.
dynamic_shared_memory_type = mmap

# No replicas; few checkpoints, because the first change of a page after one writes all of it to the log.
wal_level = minimal
max_wal_senders = 0
max_logical_replication_workers = 0
min_wal_size = 32MB
max_wal_size = 256MB
checkpoint_timeout = 15min
wal_compression = on

# Standard error goes to the daemon, which logs warnings and errors. A statement is never logged: it may
# contain a password.
log_destination = stderr
logging_collector = off
log_line_prefix = ''
log_min_messages = warning
log_min_error_statement = panic
log_checkpoints = off
log_autovacuum_min_duration = -1
lc_messages = 'C'
log_timezone = 'UTC'
timezone = 'UTC'
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The files, and the user that the server runs as."""

    directory: Path
    account: Account

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def major(self) -> int:
        """The major version that wrote the data. Raises EmbeddedFailed if there is no data directory."""
        try:
            return int((self.data / "PG_VERSION").read_text())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            raise EmbeddedFailed(
                f"{self.directory} exists and contains no data of PostgreSQL",
                "move it away; the next start creates a new database",
            ) from None

    def password(self, user: str) -> str:
        """The password that was generated for a user. Raises EmbeddedFailed if its file is lost."""
        file = self.directory / _password_file(user)
        text = file.read_text() if file.exists() else ""
        if not re.fullmatch(r"[\w-]{32}", text, re.ASCII):
            raise EmbeddedFailed(
                f"{file} is lost, and without the password the records cannot be read",
                f"restore the file, or move {self.directory} away to start with a new database",
            )
        return text

    def configure(self, socket_directory: Path) -> None:
        """Write the configuration. Files that are right already are kept, so a start works on a full disk."""
        text = _CONF.format(port=PORT, socket=socket_directory)
        for name, content in (("postgresql.conf", text), ("pg_hba.conf", _HBA)):
            file = self.directory / name
            if not file.exists() or file.read_text() != content:
                fresh = file.with_name(f"{name}.new")
                _write(fresh, content, 0o644)
                fresh.replace(file)

    def server(self, binaries: Binaries) -> list[str]:
        """The command of the server, which ends when the thread that started it ends."""
        files = ["-c", f"config_file={self.directory}/postgresql.conf"]
        files += ["-c", f"hba_file={self.directory}/pg_hba.conf"]
        return self.account.command(
            binaries.directory / "postgres", "-D", self.data, *files, at_death=signal.SIGINT
        )


def lock(state_directory: Path) -> int:
    """Lock the private PostgreSQL of a state directory; closing the returned descriptor releases the lock.

    Raises EmbeddedFailed while another process holds the lock, OSError.
    """
    file = state_directory / "postgres.lock"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _hand_over(descriptor, state_directory)
    except OSError as error:
        holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        if not isinstance(error, BlockingIOError):
            raise
        raise EmbeddedFailed(
            f"another argus-wg (process {holder}) runs the PostgreSQL of {state_directory}",
            "stop that process, or give this one another state directory",
        ) from None
    with contextlib.suppress(OSError):  # a full disk: the holder is then unknown to others
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


async def create(state_directory: Path, account: Account, binaries: Binaries) -> None:
    """Create the files. Raises EmbeddedFailed with the output of initdb, OSError."""
    fresh = Cluster(state_directory / "postgres.new", account)
    shutil.rmtree(fresh.directory, ignore_errors=True)
    try:
        fresh.directory.mkdir()
        fresh.directory.chmod(0o711 if account.switch else 0o700)
        _hand_over(fresh.directory, state_directory)
        for directory in (fresh.data, fresh.directory / "run"):
            directory.mkdir(mode=0o700)
            account.give(directory)
        await _check_reachable(fresh)
        for user in (SUPERUSER, LOGIN):
            file = fresh.directory / _password_file(user)
            _write(file, secrets.token_urlsafe(24), 0o600)
            _hand_over(file, state_directory)
        await _initdb(fresh, binaries)
        fresh.directory.rename(state_directory / "postgres")
        _sync(state_directory)
    except BaseException:
        shutil.rmtree(fresh.directory, ignore_errors=True)
        raise


async def _check_reachable(cluster: Cluster) -> None:
    """Raises EmbeddedFailed unless the server's user can reach the data; root can, whatever the modes are."""
    status, _ = await run(cluster.account, Path("test"), "-w", cluster.data, patience=30)
    if status:
        closed = [path for path in cluster.data.parents if not path.stat().st_mode & 0o001]
        raise EmbeddedFailed(
            f"the user {cluster.account}, which PostgreSQL is to run as, cannot enter "
            f"{closed[-1] if closed else cluster.data}",
            "let others pass through it (`chmod o+x`), or choose another state directory",
        )


async def _initdb(cluster: Cluster, binaries: Binaries) -> None:
    """Run initdb as the server's user, with a temporary copy of the password file that this user owns."""
    handed = cluster.directory / "run/password"
    _write(handed, cluster.password(SUPERUSER), 0o600)
    cluster.account.give(handed)
    options = ["--auth=scram-sha-256", f"--pwfile={handed}", f"--username={SUPERUSER}"]
    options += ["--encoding=UTF8", "--locale=C", "--data-checksums", "--no-instructions"]
    options += ["-D", str(cluster.data)]
    status, output = await run(
        cluster.account, binaries.directory / "initdb", *options, patience=_PATIENCE, name=True
    )
    handed.unlink()
    if status:
        raise EmbeddedFailed(
            f"initdb of {binaries} failed: {last_words(output)}",
            _NAMELESS if cluster.account.nameless else "",
        )


def socket_directory(cluster: Cluster) -> Path:
    """`run/`, or a temporary directory if that path is not suitable; `remove_socket` removes the latter."""
    usual = cluster.directory / "run"
    if _fits(usual):
        return usual
    for parent in (Path("/run"), Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108 (mkdtemp makes it safe)
        if os.access(parent, os.W_OK) and _fits(parent / "argus-wg-xxxxxxxx"):
            directory = Path(tempfile.mkdtemp(prefix="argus-wg-", dir=parent))
            cluster.account.give(directory)
            return directory
    raise EmbeddedFailed(f"{usual} is too long for a Unix socket", "choose a shorter state directory")


def remove_socket(cluster: Cluster, directory: Path) -> None:
    """Remove a temporary socket directory, after the server's end."""
    if directory != cluster.directory / "run":
        shutil.rmtree(directory, ignore_errors=True)


def _fits(directory: Path) -> bool:
    """Is the socket's path short enough, and free of characters that PostgreSQL's setting has to quote?"""
    name = f"{directory}{_SOCKET_NAME}"
    return len(os.fsencode(name)) <= _SOCKET_PATH and re.fullmatch(r"[\w./+:@-]+", name) is not None


def last_words(output: str) -> str:
    """The last four lines of a program's output as one line; with the remedy if the disk is full."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    text = " / ".join(lines[-4:]) or "no output"
    return f"{text} (the disk is full: make room)" if "No space left on device" in output else text


def _password_file(user: str) -> str:
    return f"{'superuser' if user == SUPERUSER else user}.password"


def _write(file: Path, text: str, mode: int) -> None:
    """Write a new file with this mode and flush it to the disk."""
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        os.fchmod(descriptor, mode)
        stream.write(text)
        stream.flush()
        os.fsync(descriptor)


def _hand_over(file: int | Path, state_directory: Path) -> None:
    """Give a file of root to the owner of the state directory, because this user may run the next daemon."""
    if os.geteuid() == 0:
        owner = state_directory.stat()
        os.chown(file, owner.st_uid, owner.st_gid)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
