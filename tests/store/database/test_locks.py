"""Advisory locks: their keys, and that a session which ends holds none."""

from __future__ import annotations

import re

import pytest

from exporter.store.database import locks, migrate
from exporter.store.database.connection import Connection, close, connect
from exporter.store.database.locks import Lock
from exporter.store.database.settings import Target
from exporter.store.progress import Progress
from tests.kit.store.schema import with_connection

KEYS = [(locks.MIGRATION, "418531210611"), (locks.MAINTENANCE, "hashtext('argus.maintenance')")]


@pytest.mark.parametrize(("lock", "key"), KEYS)
def test_keys_are_those_of_every_version(database: Target, lock: Lock, key: str) -> None:
    """A session that took a lock by its key, as every released version does, excludes this program."""

    async def work(connection: Connection) -> list[bool]:
        other = await connect(database, application="another version")
        try:
            await other.fetchval(f"select pg_advisory_lock({key})")
            async with locks.held(connection, lock, Progress(), wait=False) as while_taken:
                pass
            await other.fetchval(f"select pg_advisory_unlock({key})")
            async with locks.held(connection, lock, Progress(), wait=False) as afterwards:
                excluded = not await other.fetchval(f"select pg_try_advisory_lock({key})")
            released = await other.fetchval(f"select pg_try_advisory_lock({key})")
        finally:
            await close(other)
        return [while_taken, afterwards, excluded, released]

    assert with_connection(database, work) == [False, True, True, True]


def test_the_schema_takes_one_lock_of_its_own() -> None:
    """Migrations name only the advisory lock that the docstring of the module lists."""
    keys = [
        key for each in migrate.migrations() for key in re.findall(r"_lock\((hashtext\('.*?'\))", each.sql)
    ]
    assert keys == ["hashtext('argus.partitions')"]
    assert keys[0] in str(locks.__doc__)
