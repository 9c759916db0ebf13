"""The recording during failures, with a real daemon and PostgreSQL; afterwards every snapshot is accounted
for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import operator
import os
import random
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from exporter import config
from exporter.directory.watch import DirectoryWatch
from exporter.model import Snapshot
from exporter.reader import gateway_of
from exporter.recording import RecordingState
from exporter.store.database import migrate
from exporter.store.database.connection import Connection, close, connect
from exporter.store.database.settings import Target
from exporter.store.embedded.postgres import PrivatePostgres
from exporter.store.errors import SpoolBroken
from exporter.store.progress import Progress
from exporter.store.service import Service, make_state_directory
from tests.kit import hurrieddaemon
from tests.kit.daemon import PATIENCE, Daemon, daemon, interface
from tests.kit.hurrieddaemon import TICK
from tests.kit.privilege import without_privilege
from tests.kit.servers import postgres
from tests.kit.servers.postgres import PostgresServer
from tests.kit.servers.postgresproxy import Proxy
from tests.kit.store.embedded import state_directory, while_up
from tests.kit.store.recording import (
    LOGIN,
    Gateway,
    Records,
    Site,
    come_to_rest,
    conserved,
    kept_by,
    prepare_state,
    read,
    site,
    until,
    value,
)
from tests.kit.store.schema import ask, populate, with_connection
from tests.kit.store.spool import in_thread, on_small_disk

LOST = "snapshots stay in the spool"  # logged when the connection is lost
FOUND = "snapshots reach the database again"
WHILE_DOWN = {"not-running", "late"}  # reasons of gaps where daemons are killed and started
SLOW = {"late"}  # reason of gaps on a busy machine


@pytest.fixture(scope="module")
def server(_templates: None) -> Iterator[PostgresServer]:
    """A server that fsyncs; each test may kill and restart it."""
    with postgres.running(postgres.available("15"), {}) as running:
        yield running


@pytest.fixture
def berlin(tmp_path: Path, server: PostgresServer) -> Iterator[Site]:
    with site(tmp_path, server) as made:
        yield made


@contextlib.contextmanager
def killed(server: PostgresServer) -> Iterator[None]:
    """Kills the server as a failing machine would, and restarts it afterwards."""
    server.kill()
    try:
        yield
    finally:
        server.start()


@contextlib.contextmanager
def locked(target: Target, table: str) -> Iterator[None]:
    """Holds a lock on a table, so that no other session reads or writes it."""
    with asyncio.Runner() as runner:
        connection = runner.run(connect(target, application="test"))
        try:
            runner.run(connection.execute(f"begin; lock table {table}"))
            yield
        finally:
            runner.run(close(connection))


def recorded(running: Daemon) -> float:
    """The number of snapshots that this daemon has recorded."""
    return value(running, 'snapshots_total{result="recorded"}')


def until_recorded(running: Daemon, more: int) -> None:
    before = recorded(running)
    until(lambda: recorded(running) >= before + more)


def until_drained(running: Daemon) -> None:
    until(lambda: value(running, "spool_snapshots") <= 1)


def is_failing(running: Daemon, reason: str) -> bool:
    return value(running, f'database_failing{{reason="{reason}"}}') == 1


def end(running: Daemon, within: float = PATIENCE) -> None:
    """Stops the daemon, and checks its exit code and the time it takes."""
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(within) == 0
    assert "Traceback" not in running.log()


# The server fails


def test_the_server_is_killed_amid_writes(berlin: Site, server: PostgresServer) -> None:
    """A server that is killed repeatedly has every snapshot that left the spool, and gets the rest. Each
    loss of the connection is logged once, and so is its return."""
    with berlin.daemon() as running:
        for kill in range(1, 4):
            until_recorded(running, 5)
            time.sleep(random.uniform(0, TICK))
            with killed(server):
                until(lambda: value(running, "spool_snapshots") > 5)
                assert value(running, f'database_up{{database="{berlin.login}"}}') == 0
            until_drained(running)
            assert (running.said(LOST), running.said(FOUND)) == (kill, kill)
        come_to_rest(berlin.gateway, running)
        end(running)
    assert berlin.check().keys() <= SLOW


def test_the_server_is_away_for_fifty_snapshots(berlin: Site, server: PostgresServer) -> None:
    """While the database is unavailable for fifty snapshots, scrapes work and the daemon is ready;
    afterwards all snapshots are recorded."""
    with berlin.daemon() as running:
        until_recorded(running, 1)
        with killed(server):
            until(lambda: value(running, "spool_snapshots") > 50)
            assert running.get("/-/ready")[0] == 200
            assert is_failing(running, "unreachable")
        until_drained(running)
        assert not is_failing(running, "unreachable")
        assert (running.said(LOST), running.said(FOUND)) == (1, 1)
        until(lambda: running.said("snapshots that waited in the spool are in the database") > 0)
        come_to_rest(berlin.gateway, running)
        end(running)
    assert berlin.check().keys() <= SLOW


def test_connections_are_cut_amid_transactions(berlin: Site, server: PostgresServer) -> None:
    """A connection that is cut after any number of bytes leaves a transaction recorded once or not at all."""
    with Proxy(server.socket) as proxy:
        through = berlin.at(f"127.0.0.1:{proxy.port}")
        with berlin.daemon(database=through) as running:
            for cut in range(1, 7):
                until_recorded(running, 2)
                proxy.cut_after(random.randrange(1, 10_000))
                until(lambda cut=cut: proxy.cuts == cut)  # type: ignore[misc]
            come_to_rest(berlin.gateway, running)
            end(running)
    assert berlin.check().keys() <= SLOW


def test_another_session_holds_a_lock(berlin: Site) -> None:
    """With a locked table the page is served and the spool grows; all tries together are one line of the
    log."""
    with berlin.daemon() as running:
        until_recorded(running, 1)
        with locked(berlin.records, "argus.peer_state"):
            until(lambda: value(running, 'database_errors_total{reason="unreachable"}') >= 2)
            until(lambda: value(running, "spool_snapshots") > 10)
        until_drained(running)
        assert running.said("find the session that") == running.said(LOST) == running.said(FOUND) == 1
        come_to_rest(berlin.gateway, running)
        end(running)
    assert berlin.check().keys() <= SLOW


# The daemon fails


def test_the_daemon_is_killed_at_random(berlin: Site) -> None:
    """A daemon that is killed repeatedly continues after each start, and records a gap for the time when
    it did not run."""
    for _ in range(5):
        with berlin.daemon():
            time.sleep(random.uniform(0, 8 * TICK))
    with berlin.daemon() as running:
        come_to_rest(berlin.gateway, running)
        end(running)
    missing = berlin.check()
    assert missing.keys() <= WHILE_DOWN
    assert missing["not-running"] >= 5


def test_it_stops_amid_a_write(berlin: Site) -> None:
    """SIGTERM ends a daemon whose transaction waits for a lock; the next daemon records the snapshot."""
    waiting = "select true from pg_stat_activity where wait_event_type = 'Lock' and application_name = $1"
    with berlin.daemon("interval: 1s", hurried=False) as running:
        until_recorded(running, 1)
        with locked(berlin.records, "argus.peer_state"):
            until(lambda: bool(ask(berlin.records, waiting, "argus-wg recorder")))
            end(running, within=10)
    assert kept_by(berlin.state).waiting
    with berlin.daemon() as running:
        come_to_rest(berlin.gateway, running)
        end(running)
    assert berlin.check(tick=None).keys() <= WHILE_DOWN


def test_it_stops_when_the_server_hangs(berlin: Site, server: PostgresServer) -> None:
    """A server that does not answer does not delay the daemon's end."""
    writers = "select pid from pg_stat_activity where application_name = 'argus-wg recorder'"
    with berlin.daemon() as running:
        until_recorded(running, 1)
        still = [server.pid, *(row["pid"] for row in ask(berlin.records, writers))]
        for pid in still:
            os.kill(pid, signal.SIGSTOP)
        try:
            until(lambda: value(running, "spool_snapshots") > 2)
            end(running, within=10)
        finally:
            for pid in still:
                os.kill(pid, signal.SIGCONT)
    with berlin.daemon() as running:
        come_to_rest(berlin.gateway, running)
        end(running)
    assert berlin.check().keys() <= WHILE_DOWN


def test_lifetime_counters_never_go_back(berlin: Site) -> None:
    """Lifetime counters equal the counted bytes after resets of counters, of the daemon, and of both."""
    last: dict[str, tuple[int, ...]] = dict.fromkeys(berlin.gateway.counted, (0, 0))

    def look(running: Daemon, times: int = 1) -> None:
        for _ in range(times):
            for peer, counted in lifetime(running).items():
                assert all(map(operator.ge, counted, last[peer]))
                last[peer] = counted
            time.sleep(TICK)

    for ends_first in (True, False):
        with berlin.daemon("interval: 1s, lifetime_counters: true") as running:
            berlin.gateway.go_on()
            until(lambda: lifetime(running).keys() == last.keys())
            look(running, 5)
            come_to_rest(berlin.gateway, running)
            look(running)
            assert last == berlin.gateway.counted
            if not ends_first:
                berlin.gateway.go_on(reset=True)
                look(running, 5)
                come_to_rest(berlin.gateway, running)
        berlin.gateway.go_on(reset=True)
        berlin.gateway.rest()
    assert berlin.check().keys() <= WHILE_DOWN


def lifetime(running: Daemon) -> dict[str, tuple[int, ...]]:
    """The lifetime counters of each peer: (received, sent)."""
    pattern = r'^wireguard_peer_lifetime_{}_bytes_total{{interface="wg0",public_key="(.*)"}} (\S+)$'
    page = running.metrics()
    both = [dict(re.findall(pattern.format(way), page, re.MULTILINE)) for way in ("receive", "transmit")]
    return {peer: tuple(int(float(each[peer])) for each in both) for peer in both[0]}


# The host fails


def test_the_spool_is_on_a_full_disk(tmp_path: Path, server: PostgresServer) -> None:
    """While the database is unavailable and the disk is full, lost snapshots are reported; afterwards the
    daemon recovers, and a gap has their number."""
    (tmp_path / "state").mkdir()

    def drill() -> None:
        on_small_disk(tmp_path / "state", "544k")
        with Proxy(server.socket) as proxy, site(tmp_path, server, peers=100) as berlin:
            with berlin.daemon(database=berlin.at(f"127.0.0.1:{proxy.port}")) as running:
                until_recorded(running, 1)
                proxy.refuse()
                proxy.cut()
                until(lambda: value(running, "spool_full") == 1)
                lost = value(running, 'snapshots_total{result="lost"}')
                until(lambda: value(running, 'snapshots_total{result="lost"}') >= lost + 5)
                status, text = running.get("/-/ready")
                assert status == 503
                assert "snapshots are being lost: the spool is full" in text
                proxy.accept()
                until(lambda: value(running, "spool_full") == 0)
                until_drained(running)
                assert running.get("/-/ready")[0] == 200
                come_to_rest(berlin.gateway, running)
                end(running)
                full, well = (
                    running.said("snapshots are being lost"),
                    running.said("the spool keeps snapshots again"),
                )
                assert full == well == 1
            missing = berlin.check()
            assert missing.keys() <= {"spool-full", *SLOW}
            assert missing["spool-full"] >= 5

    in_thread(drill)


def test_the_clock_is_set_back_an_hour(berlin: Site) -> None:
    """After the clock is set back by an hour, no snapshot is lost or reordered, and a gap covers the
    inexact instants."""
    file = berlin.folder / "argus.yml"
    file.write_text(
        f"gateway: gw\nstate_directory: {berlin.state}\ndirectory: {{wg_quick: []}}\n{berlin.database}"
        f"sources: {{uapi_directory: {berlin.folder}, netlink: false}}\n"
    )
    settings = config.load(file)
    settings = replace(settings, recording=replace(settings.recording, interval=TICK))
    reader, back, recording = gateway_of(settings), 0.0, RecordingState()

    async def read_at() -> Snapshot:
        snapshot = reader.read()
        return replace(snapshot, taken_at=snapshot.taken_at - back)

    async def more() -> None:
        goal = recording.snapshots["recorded"] + 10
        while recording.snapshots["recorded"] < goal:
            await asyncio.sleep(TICK)

    async def drill() -> None:
        nonlocal back
        service = Service(settings, DirectoryWatch([], [], logging.getLogger()), read_at, recording)
        service.start()
        for step in (0.0, 3600.0, 0.0):
            back = step
            await more()
        berlin.gateway.rest()
        await more()
        await service.stop()

    asyncio.run(asyncio.wait_for(drill(), PATIENCE))
    assert berlin.check(tick=None).keys() <= {"clock", *SLOW}
    query = "select ended_at - started_at < '10 s' as short from argus.gap where reason = 'clock'"
    assert [row["short"] for row in ask(berlin.records, query)] == [True]
    order = ask(berlin.records, "select sequence from argus.snapshot order by taken_at")
    assert [row["sequence"] for row in order] == list(range(1, len(order) + 1))


# The private server


def test_the_private_server_and_its_daemon() -> None:
    """The private PostgreSQL ends with a killed daemon, is restarted when it is killed itself, and stops
    with the daemon. Nothing is lost."""
    gateway = Gateway()
    with state_directory() as folder, interface(folder, "wg0", gateway.reply):
        state = folder / "state"
        prepare_state(state)
        configuration, program = "recording: {interval: 1s}\n", hurrieddaemon.command
        with daemon(folder, configuration, program=program) as running:
            until_recorded(running, 5)
            assert value(running, 'database_up{database="embedded"}') == 1
            server = postmaster(state)
        until(lambda: not postgres.runs(server))
        with daemon(folder, configuration, program=program) as running:
            until_recorded(running, 5)
            os.kill(postmaster(state), signal.SIGKILL)
            until(lambda: running.said("PostgreSQL runs again") == 1)
            until_recorded(running, 5)
            come_to_rest(gateway, running)
            server = postmaster(state)
            end(running)
            assert not postgres.runs(server)
        missing = conserved(gateway, kept_by(state), while_up(PrivatePostgres(state), read_privately), TICK)
    assert missing.keys() <= WHILE_DOWN


def postmaster(state: Path) -> int:
    """The process of the private server."""
    return int((state / "postgres/data/postmaster.pid").read_text().split()[0])


async def read_privately(embedded: PrivatePostgres) -> Records:
    connection = await connect(embedded.superuser, application="test")
    try:
        return await read(connection)
    finally:
        await close(connection)


# What cannot be used


def test_a_state_directory_that_cannot_be(tmp_path: Path) -> None:
    """Without a usable state directory nothing is recorded; the page is served, says so, and the exit is
    clean."""
    (tmp_path / "state").write_text("a file\n")
    with (
        interface(tmp_path, "wg0", Gateway().reply),
        daemon(tmp_path, "recording: {interval: 1s}\n") as running,
    ):
        until(lambda: value(running, "spool_broken") == 1)
        status, text = running.get("/-/ready")
        assert status == 503
        assert f"nothing is recorded: {tmp_path}/state" in text
        assert running.said("nothing is recorded") == 1
        end(running)


def test_a_state_directory_out_of_reach(tmp_path: Path) -> None:
    """A state directory that the daemon cannot enter is reported like any unusable one."""
    (tmp_path / "closed").mkdir(mode=0)
    with without_privilege(), pytest.raises(SpoolBroken, match="Permission denied; name a state_directory"):
        make_state_directory(tmp_path / "closed/state")


def test_a_private_server_that_cannot_be(tmp_path: Path) -> None:
    """Without a database the page is served, snapshots are kept, and the problem is logged once."""
    gateway, recording = Gateway(), "recording: {interval: 1s}\n"
    prepare_state(tmp_path / "state")
    (tmp_path / "state/postgres").write_text("a file\n")
    with interface(tmp_path, "wg0", gateway.reply), daemon(tmp_path, recording) as running:
        until(lambda: value(running, 'database_errors_total{reason="embedded"}') >= 2)
        assert is_failing(running, "embedded")
        assert "wireguard_peer_receive_bytes_total" in running.metrics()
        assert running.get("/-/ready")[0] == 200
        assert running.said(LOST) == 1
        end(running)
    assert kept_by(tmp_path / "state").waiting


def test_a_database_that_is_not_there(berlin: Site) -> None:
    """With a refused login the daemon is ready, snapshots are kept, and the problem is logged once."""
    with berlin.daemon(database=berlin.at(str(berlin.folder))) as running:
        until(lambda: value(running, 'database_errors_total{reason="unreachable"}') >= 2)
        until(lambda: value(running, "spool_snapshots") > 10)
        assert "wireguard_peer_receive_bytes_total" in running.metrics()
        assert running.get("/-/ready")[0] == 200
        assert running.said(LOST) == running.said("start the server, or correct database.address") == 1
        end(running)
    assert len(kept_by(berlin.state).waiting) > 10
    with berlin.daemon() as running:
        come_to_rest(berlin.gateway, running)
        end(running)
    assert berlin.check().keys() <= WHILE_DOWN


def test_a_database_of_a_newer_version(berlin: Site, server: PostgresServer) -> None:
    """Nothing is written to a schema of another version until the versions match."""
    name = berlin.records.database
    with berlin.daemon() as running:
        until_recorded(running, 1)
        server.sql(
            "insert into argus.migration values (9999, 'later')",
            f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}' "
            "and pid <> pg_backend_pid()",
            database=name,
        )
        until(lambda: running.get("/-/ready")[0] == 503)
        assert "the schema argus has version 9999" in running.get("/-/ready")[1]
        assert value(running, "database_schema_ok") == 0
        assert is_failing(running, "schema")
        server.sql("delete from argus.migration where version = 9999", database=name)
        until(lambda: running.get("/-/ready")[0] == 200)
        assert value(running, "database_schema_ok") == 1
        assert running.said("the schema argus has version 9999") == running.said(FOUND) == 1
        come_to_rest(berlin.gateway, running)
        end(running)
    assert berlin.check().keys() <= SLOW


def test_an_older_schema_is_brought_up_to_date(berlin: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon with the right to migrate migrates the schema at its start and keeps its rows."""
    every = migrate.migrations()
    login = replace(berlin.records, user=LOGIN)

    async def older(connection: Connection) -> None:
        await migrate.migrate(connection, progress=Progress())
        await connection.execute("set role argus_owner")
        await populate(connection, ["before"])

    with monkeypatch.context() as patch:
        patch.setattr(migrate, "migrations", lambda: every[:-1])
        with_connection(login, older)
    with berlin.daemon() as running:
        come_to_rest(berlin.gateway, running)
        assert running.said(f"migration {every[-1].version}, {every[-1].name}: applied") == 1
        end(running)
    assert with_connection(berlin.records, migrate.version) == every[-1].version
    assert berlin.check().keys() <= SLOW
    assert ask(berlin.records, "select count(*) from argus.gateway")[0][0] == 2


def test_a_name_that_another_gateway_has(berlin: Site, tmp_path: Path) -> None:
    """A second daemon under the same name is refused in one sentence and keeps its snapshots; under its own
    name it records them. The first daemon is not affected."""
    folder = tmp_path / "other"
    (folder / "wg").mkdir(parents=True)
    prepare_state(folder / "state")
    second = Site(folder, Gateway(), berlin.records)
    with berlin.daemon() as running, interface(folder, "wg0", second.gateway.reply):
        until_recorded(running, 1)
        with second.daemon() as refused:
            until(lambda: is_failing(refused, "claimed"))
            status, text = refused.get("/-/ready")
            assert status == 503
            assert "records under this name" in text
            until(lambda: value(refused, 'database_errors_total{reason="claimed"}') >= 2)
            assert refused.said("records under this name") == refused.said(LOST) == 1
            end(refused)
        until_recorded(running, 1)
        with second.daemon(name="other") as renamed:
            come_to_rest(second.gateway, renamed)
            assert renamed.get("/-/ready")[0] == 200
            end(renamed)
        come_to_rest(berlin.gateway, running)
        assert running.said(LOST) == 0
        end(running)
    assert berlin.check().keys() <= SLOW
    assert second.check(name="other").keys() <= WHILE_DOWN
