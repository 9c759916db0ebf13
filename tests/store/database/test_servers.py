"""The servers that the tests use, and the proxy in front of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from exporter.store.database.settings import Target
from tests.kit.servers.postgres import PostgresServer
from tests.kit.servers.postgresproxy import Proxy

GONE = (asyncpg.ConnectionDoesNotExistError, asyncpg.InterfaceError, OSError)


async def connect(target: Target) -> asyncpg.Connection[asyncpg.Record]:
    return await asyncpg.connect(
        host=target.host, port=target.port, database=target.database, user=target.user, ssl=False, timeout=20
    )


async def fetch(target: Target, query: str) -> object:
    connection = await connect(target)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def test_a_shared_server(postgres: PostgresServer) -> None:
    """Each server has its major version, and does not run as root."""
    assert int(postgres.sql("show server_version_num")) // 10000 == postgres.major
    assert Path(f"/proc/{postgres.pid}").stat().st_uid != 0


def test_a_database_is_fresh(database: Target) -> None:
    """A database is empty, encoded in UTF-8, and accessible by asyncpg and psql."""
    assert asyncio.run(fetch(database, "select count(*) from pg_tables where schemaname = 'public'")) == 0
    assert asyncio.run(fetch(database, "show server_encoding")) == "UTF8"


def test_a_private_server_survives_a_kill(private_postgres: Callable[..., PostgresServer]) -> None:
    """A server of which every process was killed starts again with the committed rows."""
    server = private_postgres(work_mem="5MB")
    server.sql("create table kept (n int)", "insert into kept values (7)")
    before = server.pid
    server.kill()
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)
    server.start()
    assert server.sql("select n from kept", "show fsync", "show work_mem") == "7\non\n5MB"


def test_the_proxy_cuts_within_a_transaction(postgres15: PostgresServer) -> None:
    """A connection that is cut after a number of bytes loses its transaction, and the next connection
    works."""

    async def drill(target: Target, proxy: Proxy) -> None:
        connection = await connect(target)
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("create table cut (n text)")
        proxy.cut_after(10_000)
        with pytest.raises(GONE):
            await connection.execute("insert into cut values ($1)", "x" * 100_000)
        connection.terminate()
        assert await fetch(target, "select to_regclass('cut') is null")

    with Proxy(postgres15.socket) as proxy:
        asyncio.run(drill(proxy.target(postgres15.target()), proxy))
        assert (proxy.connections, proxy.cuts) == (2, 1)


def test_the_proxy_refuses_and_accepts_again(postgres15: PostgresServer) -> None:
    """While the proxy refuses, no connection is possible; afterwards connections work again."""

    async def drill(target: Target, proxy: Proxy) -> None:
        connection = await connect(target)
        proxy.refuse()
        assert await connection.fetchval("select 1") == 1
        proxy.cut()
        with pytest.raises(GONE):
            await connection.fetchval("select 1")
        with pytest.raises(ConnectionRefusedError):
            await connect(target)
        proxy.accept()
        assert await fetch(target, "select 2") == 2

    with Proxy(postgres15.socket) as proxy:
        asyncio.run(drill(proxy.target(postgres15.target()), proxy))
