"""The private PostgreSQL: real servers that are created, started, killed and locked out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.store.embedded import launch as launcher
from exporter.store.embedded.postgres import PrivatePostgres
from exporter.store.errors import DatabaseRefused, EmbeddedFailed
from tests.kit.privilege import has_user_namespaces, without_privilege
from tests.kit.servers import postgres as servers
from tests.kit.servers.postgres import Installation, runs
from tests.kit.store.embedded import daemon, family, fetch, of_each, state_directory, until, while_up
from tests.kit.store.spool import in_thread, on_small_disk

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")


@pytest.fixture(scope="module", params=["15", "17"])
def installation(request: pytest.FixtureRequest) -> Installation:
    """The programs of the distribution and of the wheel, in turn."""
    return servers.available(request.param)


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A state directory with a database of the distribution's version; it is copied, never used."""
    with state_directory() as state:
        while_up(private(state), lambda embedded: fetch(embedded.target, "select 1"))
        yield state


@pytest.fixture
def state(made: Path) -> Iterator[Path]:
    """A state directory of an earlier daemon."""
    with state_directory() as state:
        subprocess.run(["cp", "-a", str(made / "postgres"), str(state)], check=True)
        yield state


@pytest.fixture
def empty() -> Iterator[Path]:
    """The state directory of a first start."""
    with state_directory() as state:
        yield state


def private(state: Path, name: str = "15") -> PrivatePostgres:
    """The private PostgreSQL with the programs of one installation."""
    binaries = servers.available(name).binaries
    return PrivatePostgres(state, lambda: [binaries])


def refusal(embedded: PrivatePostgres) -> str:
    """The error of a start that fails; nothing is left behind."""

    async def attempt() -> str:
        with pytest.raises(EmbeddedFailed) as refused:
            await embedded.start()
        assert embedded.pid is None
        return str(refused.value)

    return asyncio.run(attempt())


class TestLife:
    def test_keeps_its_data(self, installation: Installation, empty: Path) -> None:
        """The first start creates a database, a stop ends every process, and the next start has the same
        data."""

        async def write(embedded: PrivatePostgres) -> list[int]:
            await fetch(
                embedded.superuser, "create table kept (n int)", "insert into kept values (7)", "select 1"
            )
            return family(embedded.pid)

        embedded = private(empty, installation.name)
        processes = while_up(embedded, write)
        assert not any(map(runs, processes))
        assert embedded.pid is None
        query = "select n, current_setting('server_version_num')::int / 10000 from kept"
        again = private(empty, installation.name)
        assert while_up(again, lambda up: fetch(up.superuser, query)) == [(7, installation.major)]

    def test_its_data_is_checked_and_safe(self, state: Path) -> None:
        """Pages have checksums, commits wait for the disk, and text is UTF-8 in byte order."""
        names = ("data_checksums", "fsync", "synchronous_commit", "full_page_writes", "server_encoding")
        columns = ", ".join(f"current_setting('{name}')" for name in names)
        query = f"select {columns}, datcollate from pg_database where datname = current_database()"
        told = while_up(private(state), lambda embedded: fetch(embedded.target, query))
        assert told == [("on", "on", "on", "on", "UTF8", "C")]

    def test_a_stop_does_not_wait_for_clients(self, state: Path) -> None:
        """With an open transaction a stop ends by its first signal, in time and without a need for
        recovery."""

        async def leave_open(embedded: PrivatePostgres) -> None:
            client = asyncio.create_task(fetch(embedded.target, "select pg_sleep(3600)"))
            query = "select 1 from pg_stat_activity where wait_event = 'PgSleep'"
            while not await fetch(embedded.superuser, query):
                assert not client.done()
            await embedded.stop()
            assert isinstance((await asyncio.gather(client, return_exceptions=True))[0], Exception)

        while_up(private(state), leave_open)
        assert "shut down" in control_data(state)

    def test_may_be_stopped_twice_and_before_a_start(self, state: Path) -> None:
        """A stop without a running server does nothing, and a stopped server starts again."""

        async def cycle() -> None:
            embedded = private(state)
            await embedded.stop()
            for _ in range(2):
                await embedded.start()
                assert embedded.pid
                await embedded.stop()
                await embedded.stop()

        asyncio.run(cycle())

    def test_a_replaced_password_is_used(self, state: Path) -> None:
        """The login's password is that of its file, also after the file was replaced."""
        file = state / "postgres/argus.password"
        file.write_text("x" * 32)
        told = while_up(private(state), lambda embedded: fetch(embedded.target, "select current_user::text"))
        assert told == [("argus",)]


def control_data(state: Path) -> str:
    """The state of the database cluster, read from the disk by pg_controldata."""
    command = [str(servers.available("15").binaries / "pg_controldata"), str(state / "postgres/data")]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env={"LC_ALL": "C"}).stdout
    found = re.search(r"Database cluster state: +(.*)", said)
    assert found
    return found[1]


class TestConfinement:
    def test_never_root_and_without_privilege(self, installation: Installation, empty: Path) -> None:
        """No process runs as root or can get a capability, and Ctrl-C in a terminal does not reach one."""

        def process(pid: int) -> tuple[int, dict[str, str], int]:
            status = dict(re.findall(r"^(\w+):\t(.*)$", Path(f"/proc/{pid}/status").read_text(), re.M))
            return Path(f"/proc/{pid}").stat().st_uid, status, os.getsid(pid)

        async def look(embedded: PrivatePostgres) -> list[tuple[int, dict[str, str], int]]:
            return of_each(family(embedded.pid), process)

        processes = while_up(private(empty, installation.name), look)
        assert len(processes) > 3
        for uid, status, session in processes:
            assert uid != 0
            assert "0" not in status["Uid"].split()
            assert not any(int(status[f"Cap{kind}"], 16) for kind in ("Prm", "Eff", "Amb"))
            assert status["NoNewPrivs"] == "1"
            assert session != os.getsid(0)

    def test_listens_on_no_network(self, state: Path) -> None:
        """The server has no TCP or UDP socket, and the directory of its Unix socket is closed to others."""

        def links(pid: int) -> list[str]:
            return [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]

        async def look(embedded: PrivatePostgres) -> set[str]:
            assert stat.S_IMODE(Path(embedded.target.host).stat().st_mode) == 0o700
            found = [link for each in of_each(family(embedded.pid), links) for link in each]
            return {link.partition("[")[2].rstrip("]") for link in found if link.startswith("socket:")}

        sockets = while_up(private(state), look)
        network = {
            line.split()[9]
            for kind in ("tcp", "tcp6", "udp", "udp6")
            if Path(f"/proc/net/{kind}").exists()
            for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]
        }
        assert sockets
        assert not sockets & network

    def test_passwords_are_needed_and_seen_nowhere(
        self, empty: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Both logins need a password, stored as SCRAM; no argument, environment or log contains it."""
        caplog.set_level(logging.DEBUG)

        def told(pid: int) -> str:
            return Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()

        async def look(embedded: PrivatePostgres) -> str:
            for target in (embedded.superuser, embedded.target):
                with pytest.raises(DatabaseRefused):
                    await fetch(replace(target, password="guess"), "select 1")
            stored = await fetch(embedded.superuser, "select rolpassword from pg_authid where rolcanlogin")
            assert len(stored) == 2
            assert all(str(password).startswith("SCRAM-SHA-256$") for (password,) in stored)
            assert await fetch(embedded.superuser, "select distinct auth_method from pg_hba_file_rules") == [
                ("scram-sha-256",)
            ]
            return "".join(of_each(family(embedded.pid), told))

        seen = while_up(private(empty), look) + caplog.text
        assert "password authentication failed" in caplog.text
        files = list((empty / "postgres").glob("*.password"))
        assert len(files) == 2
        for file in files:
            assert file.read_text() not in seen
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert not list(empty.rglob("run/*"))  # the copy that initdb had

    def test_the_login_has_no_rights(self, state: Path) -> None:
        """`argus` is no superuser, cannot create roles or databases, and is a member of no role."""
        query = """select rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication,
                   exists (select from pg_auth_members where member = r.oid)
                   from pg_roles r where rolname = user"""
        told = while_up(private(state), lambda embedded: fetch(embedded.target, query))
        assert told == [(False,) * 6]

    def test_the_log_is_compressed_with_lz4(self, state: Path) -> None:
        """The write-ahead log of the login is compressed with lz4, which both servers of the tests have."""
        told = while_up(private(state), lambda embedded: fetch(embedded.target, "show wal_compression"))
        assert told == [("lz4",)]

    def test_sees_nothing_of_the_environment(self, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """PG* variables of the daemon do not reach its server, which would obey some of them."""
        monkeypatch.setenv("PGDATA", "/nowhere")
        monkeypatch.setenv("PGPORT", "1")
        monkeypatch.setenv("PGOPTIONS", "-c jit=on")
        told = while_up(private(state), lambda embedded: fetch(embedded.target, "show port", "show jit"))
        assert told == [("off",)]

    @needs_root
    @pytest.mark.parametrize("uid", [pytest.param(1, id="named"), pytest.param(65533, id="nameless")])
    def test_root_runs_it_as_the_owner_of_the_state(self, empty: Path, uid: int) -> None:
        """Root creates no file in the directory of a service that the service could not use later."""
        if uid == 65533 and not has_user_namespaces():
            pytest.skip("a user without a name needs a user namespace, which is refused here, as in a chroot")
        os.chown(empty, uid, uid)

        async def owner(embedded: PrivatePostgres) -> int:
            return Path(f"/proc/{embedded.pid}").stat().st_uid

        assert while_up(private(empty), owner) == uid
        files = [path for path in empty.rglob("*") if not path.name.endswith(".conf")]
        assert {path.stat().st_uid for path in files} == {uid}


class TestDrills:
    def test_dies_with_its_daemon(self, installation: Installation, empty: Path) -> None:
        """When the daemon is killed during a query, every process ends, and confirmed rows are kept."""
        with daemon(empty, installation.binaries) as process:
            assert process.stdout is not None
            processes = family(int(process.stdout.readline()))
            process.send_signal(signal.SIGKILL)
            until(lambda: not any(map(runs, processes)))
        again = private(empty, installation.name)
        assert while_up(again, lambda embedded: fetch(embedded.superuser, "select n from kept")) == [(7,)]

    @pytest.mark.parametrize("everything", [False, True])
    def test_is_started_again(self, state: Path, everything: bool, caplog: pytest.LogCaptureFixture) -> None:
        """When its first process or all are killed, the server starts again with its data, and the log has
        the reason."""

        async def drill(embedded: PrivatePostgres) -> list[tuple[object, ...]]:
            await fetch(
                embedded.superuser, "create table kept (n int)", "insert into kept values (7)", "select 1"
            )
            before = family(embedded.pid)
            for pid in before if everything else before[:1]:
                os.kill(pid, signal.SIGKILL)
            while embedded.pid in (None, before[0]):
                await asyncio.sleep(0.01)
            assert embedded.pid
            return await fetch(embedded.superuser, "select n from kept")

        assert while_up(private(state), drill) == [(7,)]
        assert "PostgreSQL ended (status -9)" in caplog.text

    def test_an_interrupted_first_start(self, empty: Path) -> None:
        """The rest of an interrupted first start is deleted by the next start."""
        with daemon(empty, servers.available("15").binaries) as process:
            until((empty / "postgres.new/data/PG_VERSION").exists)
            process.kill()
        assert not (empty / "postgres").exists()
        assert while_up(private(empty), lambda embedded: fetch(embedded.target, "select 1")) == [(1,)]
        assert {path.name for path in empty.iterdir()} == {"postgres", "postgres.lock"}

    def test_ends_a_server_that_was_left(self, state: Path) -> None:
        """A server that outlived its daemon is ended, and a new one started."""
        left = as_server_user(
            state,
            str(servers.available("15").binaries / "postgres"),
            "-D",
            str(state / "postgres/data"),
            "-k",
            "",
        )
        with left:
            until(lambda: "ready" in pid_file(state))
            while_up(private(state), lambda embedded: fetch(embedded.target, "select 1"))
            assert left.wait() == 0

    def test_is_not_started_for_a_daemon_that_has_ended(self) -> None:
        """A daemon that is killed before the launcher has set its death signal leaves no process."""
        launch = [sys.executable, "-I", "-S", str(Path(launcher.__file__))]
        command = [*launch, str(signal.SIGINT.value), "1", "-1", "-1", "-1", "echo", "started"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", "the daemon has ended already\n")

    def test_a_pid_that_is_another_process_now(self, state: Path) -> None:
        """The server starts although the recorded pid now belongs to another process, as after a reboot."""
        with as_server_user(state, "sleep", "3600") as stranger:
            data = state / "postgres/data"
            file = data / "postmaster.pid"
            file.write_text(f"{stranger.pid}\n{data}\n1\n5432\n{state}/postgres/run\n\n  1  1\nready   \n")
            owner = data.stat()
            os.chown(file, owner.st_uid, owner.st_gid)
            while_up(private(state), lambda embedded: fetch(embedded.target, "select 1"))
            assert stranger.poll() is None
            stranger.kill()


def as_server_user(state: Path, *command: str) -> subprocess.Popen[bytes]:
    """A command as the user of the data; it ends with the test."""
    owner = (state / "postgres/data").stat()
    prefix = ["setpriv", "--pdeathsig=KILL"]
    if os.geteuid() == 0:
        prefix += [f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups"]
    return subprocess.Popen([*prefix, *command], stderr=subprocess.DEVNULL)


def pid_file(state: Path) -> str:
    file = state / "postgres/data/postmaster.pid"
    return file.read_text() if file.exists() else ""


class TestRefusals:
    def test_another_major_version(self, state: Path) -> None:
        """If data and programs have different major versions, the error names both and the remedy."""
        said = refusal(private(state, "17"))
        ours, other = servers.available("15").major, servers.available("17")
        assert f"written by PostgreSQL {ours}," in said
        assert f"found: PostgreSQL {other.major} of {other.binaries}" in said
        assert f"apt-get install postgresql-{ours}" in said
        assert "pg_upgrade" in said

    def test_the_version_of_the_data_is_chosen(self, state: Path) -> None:
        """Of several installations, the version that wrote the data is used, whatever the order."""
        places = [servers.available(name).binaries for name in ("17", "15")]
        embedded = PrivatePostgres(state, lambda: places)
        query = "select current_setting('server_version_num')::int / 10000"
        assert while_up(embedded, lambda up: fetch(up.target, query)) == [(servers.available("15").major,)]

    def test_no_programs(self, empty: Path) -> None:
        """Without PostgreSQL on the host, the error names the ways to install it."""
        said = refusal(PrivatePostgres(empty, lambda: [empty]))
        assert "no PostgreSQL >= 15 on this host (found: none)" in said
        assert "apt-get install postgresql" in said
        assert "pip install argus-wireguard[postgres]" in said

    def test_programs_that_do_not_run(self, empty: Path) -> None:
        """A server that the host cannot execute is skipped, and the error contains its output."""
        with state_directory("/tmp") as broken:
            for name in ("postgres", "initdb"):
                (broken / name).write_text("#!/bin/sh\necho of another libc >&2\nexit 1\n")
                (broken / name).chmod(0o755)
            assert "of another libc" in refusal(PrivatePostgres(empty, lambda: [broken]))
            places = [broken, servers.available("15").binaries]
            while_up(
                PrivatePostgres(empty, lambda: places), lambda embedded: fetch(embedded.target, "select 1")
            )

    def test_two_daemons(self, state: Path) -> None:
        """The second daemon on a state directory is refused, with the process of the first, and starts after
        its end."""
        second = private(state)

        async def attempt(first: PrivatePostgres) -> None:
            with pytest.raises(
                EmbeddedFailed, match=rf"\(process {os.getpid()}\) runs the PostgreSQL of {state}"
            ):
                await second.start()
            assert first.pid
            assert await fetch(first.target, "select 1")

        while_up(private(state), attempt)
        while_up(second, lambda embedded: fetch(embedded.target, "select 1"))

    @pytest.mark.parametrize("name", ["long" * 40, "with a space, and a 'quote'"])
    def test_a_path_that_is_not_suitable_for_a_socket(self, empty: Path, made: Path, name: str) -> None:
        """If the path is not suitable for a socket, the socket is in a temporary private directory, which
        is removed after the stop."""
        state = empty / name
        state.mkdir()
        state.chmod(0o711)
        subprocess.run(["cp", "-a", str(made / "postgres"), str(state)], check=True)

        async def look(embedded: PrivatePostgres) -> Path:
            assert await fetch(embedded.target, "select 1")
            return Path(embedded.target.host)

        socket = while_up(private(state), look)
        assert state not in socket.parents
        assert not socket.exists()

    def test_a_directory_with_other_files(self, empty: Path) -> None:
        """Other files in the place of the database are not changed."""
        (empty / "postgres").mkdir()
        (empty / "postgres/notes").write_text("mine")
        assert f"{empty}/postgres exists and contains no data" in refusal(private(empty))
        assert (empty / "postgres/notes").read_text() == "mine"

    def test_a_lost_password(self, state: Path) -> None:
        """Without the superuser's password the start fails, and the error names the file."""
        (state / "postgres/superuser.password").unlink()
        assert f"{state}/postgres/superuser.password is lost" in refusal(private(state))
        (state / "postgres/superuser.password").write_text("x" * 32)
        assert "cannot be used" in refusal(private(state))

    def test_a_directory_that_may_not_be_written(self, empty: Path) -> None:
        """If the directory is not writable, the error names the file and the system's reason."""
        empty.chmod(0o555)
        with without_privilege():
            assert refusal(private(empty)) == f"{empty}/postgres.lock: Permission denied"

    @needs_root
    def test_a_directory_that_the_server_cannot_enter(self, empty: Path) -> None:
        """If the state directory is closed to the server's user, the error names both and the remedy."""
        empty.chmod(0o700)
        said = refusal(private(empty))
        assert f"cannot enter {empty}; let others pass" in said
        assert not list(empty.glob("postgres*/*"))

    @needs_root
    def test_a_full_disk(self, empty: Path, made: Path) -> None:
        """A full disk is named as the reason, at creation and at start; with free space it works again."""

        def drill() -> None:
            on_small_disk(empty, "20m")
            empty.chmod(0o711)
            assert "the disk is full: make room" in refusal(private(empty))
            assert not (empty / "postgres.new").exists()
            on_small_disk(empty, "120m")
            empty.chmod(0o711)
            subprocess.run(["cp", "-a", str(made / "postgres"), str(empty)], check=True)
            fill = empty / "fill"
            with fill.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(bytes(1 << 12)):
                    pass
            assert "the disk is full: make room" in refusal(private(empty))
            fill.unlink()
            while_up(private(empty), lambda embedded: fetch(embedded.target, "select 1"))

        in_thread(drill)


def test_warnings_of_the_server_are_logged(state: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Warnings of the server are logged as warnings with their details; notices are not."""
    caplog.set_level(logging.INFO)

    async def warn(embedded: PrivatePostgres) -> None:
        for level in ("notice", "warning"):
            await fetch(
                embedded.target,
                f"do $$ begin raise {level} 'low {level}' using hint = 'buy'; end $$",
                "select 1",
            )
        while "CONTEXT" not in caplog.text:
            await asyncio.sleep(0.01)

    while_up(private(state), warn)
    relayed = [
        (record.levelno, record.getMessage())
        for record in caplog.records
        if "PostgreSQL: " in record.getMessage()
    ]
    assert relayed[:2] == [
        (logging.WARNING, "PostgreSQL: WARNING:  low warning"),
        (logging.WARNING, "PostgreSQL: HINT:  buy"),
    ]
    assert {level for level, _ in relayed} == {logging.WARNING}
    assert "notice" not in str(relayed)


def test_the_search_finds_the_hosts_programs() -> None:
    """By default the server of this host is found."""
    if not shutil.which("pg_config") and servers.servers()["15"].missing and servers.servers()["17"].missing:
        pytest.skip("no PostgreSQL on this host")
    with state_directory() as state:
        assert while_up(PrivatePostgres(state), lambda embedded: fetch(embedded.target, "select 1")) == [(1,)]
