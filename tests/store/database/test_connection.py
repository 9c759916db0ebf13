"""Connections to real servers: role, transport, scope and errors."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cryptography.x509 import DNSName

from exporter.config import DatabaseSettings
from exporter.store.backoff import Backoff
from exporter.store.database.connection import (
    Connection,
    Role,
    close,
    connect,
    errors,
    scope,
    set_organisation,
)
from exporter.store.database.settings import Target
from exporter.store.database.settings import target as configured
from exporter.store.errors import DatabaseRefused, DatabaseUnreachable, SchemaMismatch, StoreError
from tests.kit.servers.postgres import PostgresServer, directory, owner
from tests.kit.store.schema import migrated, with_connection
from tests.kit.web import Pair, make_pair


def failure(target: Target, *, role: Role | None = None, timeout: float = 10.0) -> StoreError:
    """The error of a connection that must fail."""

    async def attempt() -> StoreError:
        before = descriptors()
        with pytest.raises(StoreError) as caught:
            await connect(target, application="test", role=role, timeout=timeout)
        while descriptors() > before:  # the driver closes TLS in the background, when the server has answered
            await asyncio.sleep(0.005)
        return caught.value

    return asyncio.run(asyncio.wait_for(attempt(), 60))


def descriptors() -> int:
    """The number of open files and sockets of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_session_is_set_up(database: Target) -> None:
    """Name, time zone, limits and the setting for Citus are in force, and RESET ALL does not undo them."""

    async def work(connection: Connection) -> dict[str, str]:
        await connection.execute("reset all")
        names = (
            "application_name",
            "timezone",
            "client_encoding",
            "statement_timeout",
            "lock_timeout",
            "citus.propagate_set_commands",
        )
        return {name: await connection.fetchval(f"show {name}") for name in names}

    assert with_connection(database, work) == {
        "application_name": "test",
        "timezone": "UTC",
        "client_encoding": "UTF8",
        "statement_timeout": "2min",
        "lock_timeout": "15s",
        "citus.propagate_set_commands": "local",
    }


def test_a_connection_has_only_its_role(database: Target) -> None:
    """A login that is an owner and a collector has only a collector's rights, also after RESET ALL."""
    login = migrated(database)

    async def work(connection: Connection) -> list[str]:
        said = []
        for statement in (
            "drop table argus.sample",
            "create table argus.mine ()",
            "drop schema argus cascade",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
            await connection.execute("reset all")
            said.append(await connection.fetchval("select current_user"))
        return said

    assert with_connection(login, work, role="argus_collector") == ["argus_collector"] * 3


def test_a_role_without_membership_is_refused(database: Target, postgres: PostgresServer) -> None:
    """A login that is no member of the role gets no connection, and the error says so."""
    migrated(database)
    postgres.sql("drop role if exists stranger", "create role stranger login")
    try:
        error = failure(replace(database, user="stranger"), role="argus_collector")
    finally:
        postgres.sql("drop role stranger")
    assert isinstance(error, DatabaseRefused)
    assert 'permission denied to set role "argus_collector"' in str(error)


def test_a_scope_ends_with_its_transaction(database: Target) -> None:
    """The organisation and clearance of a transaction end with its commit and with its rollback."""

    async def work(connection: Connection) -> None:
        async def settings() -> tuple[str | None, str | None]:
            query = "select current_setting('app.org_id', true), current_setting('app.clearance', true)"
            return tuple(await connection.fetchrow(query) or ())

        assert await settings() == (None, None)
        async with scope(connection, 7, 2):
            assert await settings() == ("7", "2")
            await set_organisation(connection, 8)
            assert await settings() == ("8", "2")
        assert await settings() == ("", "")

        async def fail() -> None:
            async with scope(connection, 7):
                assert await settings() == ("7", "")
                await connection.fetchval("select 1 / 0")

        with pytest.raises(asyncpg.DivisionByZeroError):
            await fail()
        assert await settings() == ("", "")

    with_connection(database, work)


@pytest.mark.parametrize("organisation", ["7", "1; drop table argus.sample", 7.5, None])
def test_a_scope_accepts_only_integers(database: Target, organisation: object) -> None:
    """Only integers get into the text of a SET LOCAL."""

    async def work(connection: Connection) -> None:
        with pytest.raises((ValueError, TypeError)):
            async with scope(connection, organisation):  # type: ignore[arg-type]
                pytest.fail("the scope was entered")

    with_connection(database, work)


def test_an_unreachable_server_has_a_remedy(database: Target, tmp_path: Path) -> None:
    """A closed port, a missing socket and an unknown name are unreachable, each with its remedy."""
    nobody = failure(Target("127.0.0.1", free_port(), "argus", "argus"))
    assert isinstance(nobody, DatabaseUnreachable)
    assert str(nobody).endswith("/argus: Connection refused; start the server, or correct database.address")
    both = failure(Target("localhost", free_port(), "argus", "argus"))
    assert isinstance(both, DatabaseUnreachable)
    assert "start the server, or correct database.address" in str(both)
    no_socket = failure(replace(database, host=str(tmp_path)))
    assert isinstance(no_socket, DatabaseUnreachable)
    assert "No such file or directory; start the server" in str(no_socket)
    no_name = failure(Target("no-such-host.invalid", 5432, "argus", "argus"))
    assert isinstance(no_name, DatabaseUnreachable)
    assert "fix name resolution" in str(no_name)


def test_a_server_that_does_not_answer(database: Target) -> None:
    """A listener that never answers costs the timeout and no more."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = failure(Target("127.0.0.1", silent.getsockname()[1], "argus", "argus"), timeout=0.2)
    assert isinstance(error, DatabaseUnreachable)
    assert "no answer in time" in str(error)


def test_a_refused_connection_has_a_remedy(database: Target) -> None:
    """A missing database and a missing role are refused, each with its remedy."""
    missing = failure(replace(database, database="nowhere"))
    assert isinstance(missing, DatabaseRefused)
    assert 'database "nowhere" does not exist; create the database, or correct database.name' in str(missing)
    nobody = failure(replace(database, user="nobody"))
    assert isinstance(nobody, DatabaseRefused)
    assert "check database.user" in str(nobody)


def test_the_classes_of_failing_statements(database: Target) -> None:
    """A limit is worth another try, a missing right is refused, a missing table is a schema mismatch."""

    async def work(connection: Connection) -> list[StoreError]:
        await connection.execute(
            "create table held (n int); set lock_timeout = 20; set statement_timeout = 300"
        )
        holder = await connect(database, application="holder")
        said: list[StoreError] = []
        try:
            async with holder.transaction():
                await holder.execute("lock table held")
                for statement in (
                    "select * from held",
                    "select pg_sleep(30)",
                    "select * from gone",
                    "select 1 / 0",
                    "set role nobody_at_all",
                ):
                    with pytest.raises(StoreError) as caught, errors(database):
                        await connection.fetchval(statement)
                    said.append(caught.value)
        finally:
            await close(holder)
        return said

    lock, long, gone, bug, role = with_connection(database, work)
    assert isinstance(lock, DatabaseUnreachable)
    assert "find the session that holds the lock in pg_stat_activity" in str(lock)
    assert isinstance(long, DatabaseUnreachable)
    assert "statement timeout; find out why the statement was slow" in str(long)
    assert isinstance(gone, SchemaMismatch)
    assert "run `argus-wg migrate`" in str(gone)
    assert type(bug) is StoreError
    assert str(bug).endswith("division by zero")
    assert isinstance(role, DatabaseRefused)


def test_a_killed_server_is_unreachable(private_postgres: Callable[..., PostgresServer]) -> None:
    """When the server is killed, the running query, its transaction and the next query fail as unreachable,
    with the remedy and not with an internal error of the driver."""
    server = private_postgres()
    target = server.target()

    async def wait(connection: Connection) -> None:
        async with connection.transaction():
            await connection.execute("select pg_sleep(60)")

    async def work() -> None:
        connection = await connect(target, application="test")
        query = asyncio.create_task(wait(connection))
        while not server.sql(
            "select 1 from pg_stat_activity where query like '%pg_sleep(60)' and pid <> pg_backend_pid()"
        ):
            await asyncio.sleep(0.01)
        await asyncio.to_thread(server.kill)
        with pytest.raises(DatabaseUnreachable) as amid, errors(target):
            await query
        assert "closed in the middle of operation; check whether the server was stopped" in str(amid.value)
        with pytest.raises(DatabaseUnreachable) as after, errors(target):
            await connection.fetchval("select 1")
        assert "connection is closed; check whether the server was stopped" in str(after.value)
        await close(connection)

    asyncio.run(work())


def test_a_server_without_a_free_connection(private_postgres: Callable[..., PostgresServer]) -> None:
    """With every connection in use, the next is worth another try."""
    server_places = 2
    server = private_postgres(max_connections=5, superuser_reserved_connections=3, max_wal_senders=0)
    server.sql("create role guest login")
    guest = server.target(user="guest")

    async def work() -> None:
        taken = []
        try:
            for _ in range(server_places):
                taken.append(await connect(guest, application="test"))
            with pytest.raises(DatabaseUnreachable, match="max_connections"):
                await connect(guest, application="test")
        finally:
            for connection in taken:
                await close(connection)

    asyncio.run(work())


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that the server's user can reach: that of tmp_path is closed by every start of pytest."""
    with directory() as path:
        yield path


def over_tcp(
    private_postgres: Callable[..., PostgresServer],
    folder: Path,
    rule: str,
    certificate: Pair | None,
    ca: Pair | None,
) -> PostgresServer:
    """A server on loopback with `rule` in its pg_hba.conf, and with TLS if there is a certificate."""
    settings: dict[str, object] = {"listen_addresses": "127.0.0.1", "port": free_port()}
    hba = folder / "pg_hba.conf"
    hba.write_text(f"local all all trust\n{rule}\n")
    files = [hba]
    if certificate:
        settings |= {"ssl": "on", "ssl_cert_file": certificate.cert, "ssl_key_file": certificate.key}
        certificate.key.chmod(0o600)
        files += [certificate.cert, certificate.key]
    if ca:
        settings["ssl_ca_file"] = ca.cert
        files.append(ca.cert)
    if (ids := owner()) is not None:
        for file in files:
            os.chown(file, *ids)
        folder.chmod(0o755)
    server = private_postgres(hba_file=hba, **settings)
    server.port = int(str(settings["port"]))
    return server


def reach(server: PostgresServer, host: str = "localhost", **options: Any) -> Target:
    found = configured(
        DatabaseSettings(address=f"{host}:{server.port}", name="postgres", user="postgres", **options),
        {"HOME": "/nonexistent"},
    )
    assert found is not None
    return found


async def speaks_tls(connection: Connection) -> bool:
    query = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
    return bool(await connection.fetchval(query))


def test_the_servers_certificate_is_verified(
    private_postgres: Callable[..., PostgresServer], folder: Path
) -> None:
    """verify-full accepts only the right name and signer, verify-ca any name, require any certificate."""
    authority, other = make_pair(folder, "authority"), make_pair(folder, "other")
    certificate = make_pair(folder, "localhost", authority, [DNSName("localhost")])
    server = over_tcp(private_postgres, folder, "hostssl all all 127.0.0.1/32 trust", certificate, None)
    assert with_connection(reach(server, ca_file=authority.cert), speaks_tls)
    assert with_connection(reach(server, "127.0.0.1", ca_file=authority.cert, tls="verify-ca"), speaks_tls)
    assert with_connection(reach(server, "127.0.0.1", tls="require"), speaks_tls)
    assert with_connection(reach(server), speaks_tls)  # prefer
    for wrong in (
        reach(server, "127.0.0.1", ca_file=authority.cert),
        reach(server, ca_file=other.cert),
        reach(server, tls="verify-full"),
    ):
        error = failure(wrong)
        assert isinstance(error, DatabaseRefused)
        assert "its certificate is not valid" in str(error)
        assert "database.ca_file" in str(error)
    assert "pg_hba.conf" in str(failure(reach(server, tls="disable")))


def test_a_server_without_tls_is_refused(
    private_postgres: Callable[..., PostgresServer], folder: Path
) -> None:
    """A mode that requires TLS refuses a server without it; prefer connects."""
    server = over_tcp(private_postgres, folder, "host all all 127.0.0.1/32 trust", None, None)
    error = failure(reach(server, tls="require"))
    assert isinstance(error, DatabaseRefused)
    assert "the server does not support TLS" in str(error)
    assert not with_connection(reach(server), speaks_tls)


def test_a_client_certificate_logs_in(private_postgres: Callable[..., PostgresServer], folder: Path) -> None:
    """A server that requires client certificates accepts one in the login's name, and no other."""
    authority = make_pair(folder, "authority")
    certificate = make_pair(folder, "localhost", authority)
    ours, another = make_pair(folder, "postgres", authority), make_pair(folder, "eve", authority)
    for pair in (ours, another):
        pair.key.chmod(0o600)
    rule = "hostssl all all 127.0.0.1/32 cert"
    server = over_tcp(private_postgres, folder, rule, certificate, authority)
    files: dict[str, Any] = {"ca_file": authority.cert, "certificate_file": ours.cert, "key_file": ours.key}
    assert with_connection(reach(server, **files), speaks_tls)
    files |= {"certificate_file": another.cert, "key_file": another.key}
    assert isinstance(failure(reach(server, **files)), DatabaseRefused)
    assert isinstance(failure(reach(server, ca_file=authority.cert)), DatabaseRefused)


def test_a_password_logs_in(
    private_postgres: Callable[..., PostgresServer], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password from its file or from libpq's password file logs in; the error of a wrong one names the
    setting."""
    server = over_tcp(private_postgres, folder, "host all all 127.0.0.1/32 scram-sha-256", None, None)
    server.sql("alter role postgres password 'open'")
    file = folder / "password"
    file.write_text("open\n")
    file.chmod(0o600)
    assert not with_connection(reach(server, password_file=file), speaks_tls)
    file.write_text("shut\n")
    error = failure(reach(server, password_file=file))
    assert isinstance(error, DatabaseRefused)
    assert "check database.user and database.password_file" in str(error)
    assert "shut" not in str(error)
    pgpass = folder / "pgpass"
    pgpass.write_text(f"localhost:{server.port}:*:postgres:open\n")
    pgpass.chmod(0o600)
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("PGPASSFILE", str(pgpass))
    assert not with_connection(reach(server), speaks_tls)
    monkeypatch.setenv("PGPASSFILE", str(folder / "none"))
    assert isinstance(failure(reach(server)), DatabaseRefused)


def test_waits_grow_to_a_bound_and_start_over() -> None:
    """Each wait is within its bound, which doubles from 1 s to 60 s and is 1 s again after a success."""
    backoff = Backoff(rng=random.Random(7))
    bounds = [1, 2, 4, 8, 16, 32, 60, 60, 60]
    for bound in bounds:
        assert bound / 10 <= backoff.next() <= bound
    backoff.reset()
    assert backoff.next() <= 1


def test_waits_are_spread() -> None:
    """The waits of many gateways are spread: no tenth of the bound contains more than a fifth of them."""
    waits = [Backoff(rng=random.Random(seed)).next() for seed in range(1000)]
    tenths = [sum(low / 10 <= wait < (low + 1) / 10 for wait in waits) for low in range(10)]
    assert max(tenths) < 200
    assert len(set(waits)) == 1000
