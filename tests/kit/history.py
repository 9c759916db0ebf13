"""What is recorded of some days, made by the server itself: for tests of what becomes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import date
from uuid import UUID

import pytest
from asyncpg import Record

from exporter.instants import DAY, start_of
from exporter.store.database.connection import Connection, Role, close, connect
from exporter.store.database.settings import Target
from exporter.store.progress import Progress
from tests.kit.postgres import PATIENCE

OLD = date(2026, 3, 28)
HOLDER = UUID(int=7)

# Peers $2 to $3 of organisation $1: those that 3 divides never made a handshake.
PEERS = """
insert into argus.peer (org_id, peer_id, interface_id, public_key, first_seen)
select $1, n, $4, lpad(n::text, 44, '0'), $5 from generate_series($2::integer, $3) n"""
# $5 samples of each from $4 on, apart by what fits into a day. Each tenth is idle, the first one, too.
SAMPLES = """
insert into argus.sample
    (org_id, peer_id, taken_at, receive_total, transmit_total, handshake_age, clearance, active)
select $1, p, $4::timestamptz + k * (interval '1 day' / $5) + p % 7 * interval '1 millisecond',
       sum(case when k % 10 = 0 then 0 else floor(random() * $6) end) over peer,
       sum(case when k % 10 = 0 then 0 else floor(random() * $6 / 10) end) over peer,
       case when p % 3 > 0 then (random() * 200)::integer - 20 end, p % 2, k % 10 > 0
from generate_series($2::integer, $3) p, generate_series(0, $5::integer - 1) k
window peer as (partition by p order by k)"""


@asynccontextmanager
async def session(login: Target, role: Role = "argus_owner") -> AsyncIterator[Connection]:
    """A connection of a role, without a statement timeout."""
    connection = await connect(login, application="test", role=role, statement_timeout=0)
    try:
        yield connection
    finally:
        await close(connection)


async def until_it_waits(login: Target, connection: Connection) -> None:
    """Returns when a session waits for a lock."""
    deadline = time.monotonic() + PATIENCE
    async with session(login) as watcher:
        while not await watcher.fetchval(
            "select cardinality(pg_blocking_pids($1)) > 0", connection.get_server_pid()
        ):
            assert time.monotonic() < deadline, "it never waited"
            await asyncio.sleep(0.005)


async def organisation(owner: Connection, name: str, first: int, last: int) -> int:
    """A new organisation with a gateway, an interface, and peers from number `first` to `last`."""
    at = start_of(OLD)
    org_id: int = await owner.fetchval("select argus.organisation_id($1)", name)
    gateway = await owner.fetchval(
        "insert into argus.gateway (org_id, name, first_seen, seen_until, holder, held_by, held_at) "
        "values ($1, 'gw', $2, $2, $3, 'host', $2) returning gateway_id",
        *(org_id, at, HOLDER),
    )
    interface = await owner.fetchval(
        "insert into argus.interface (org_id, gateway_id, name, instance, first_seen, seen_until) "
        "values ($1, $2, 'wg0', 'boot:1', $3, $3) returning interface_id",
        *(org_id, gateway, at),
    )
    await owner.execute(PEERS, org_id, first, last, interface, at)
    return org_id


async def record(
    owner: Connection, org_id: int, peers: range, day: date, samples: int = 24, most: float = 1e6
) -> None:
    """Samples of a day, in a partition of its own. `most`: bytes from one to the next, at most."""
    await owner.execute("select argus.ensure_partitions($1, 1)", day)
    await owner.execute(SAMPLES, org_id, peers[0], peers[-1], start_of(day), samples, most)


async def everything(connection: Connection) -> list[Record]:
    """Each sample that is seen, raw or compacted."""
    return await connection.fetch(
        "select org_id, peer_id, taken_at, receive_total, transmit_total, last_handshake, active, clearance "
        "from argus.peer_history order by 1, 2, 3"
    )


async def lies(connection: Connection) -> dict[str, int]:
    """How many rows are in which partition of samples, of those that are not empty."""
    found = await connection.fetch(
        "select tableoid::regclass::text, count(*) from argus.sample group by 1 union all "
        "select tableoid::regclass::text, count(*) from argus.sample_day group by 1"
    )
    return {name.removeprefix("argus."): count for name, count in found}


class Interruptible(Progress):
    """Calls `interrupt` when that many steps are done."""

    def __init__(self, after: int, interrupt: Callable[[], None]) -> None:
        super().__init__()
        self._after = after
        self._interrupt = interrupt

    def step(self, name: str = "", steps: int = 1) -> None:
        super().step(name, steps)
        if self.work.done == self._after:
            self._interrupt()


async def cancelled(work: Callable[[Progress], Coroutine[None, None, object]], after: int) -> None:
    """`work`, cancelled when so many of its steps are done."""

    def cancel() -> None:
        task.cancel()

    task = asyncio.create_task(work(Interruptible(after, cancel)))
    with pytest.raises(asyncio.CancelledError):
        await task


def name_of(parent: str, day: date) -> str:
    """As `lies` names partitions."""
    return f"{parent}_{day:%Y%m%d}"


DAYS = [OLD + DAY * number for number in range(10)]
