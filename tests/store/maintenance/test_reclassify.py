"""Reclassification: all selected rows and no others change, whatever interrupts it or writes meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any, TypeVar

import pytest

from exporter.errors import InputError
from exporter.instants import DAY
from exporter.store.database import locks
from exporter.store.database.connection import Connection, errors, scope
from exporter.store.database.settings import Target
from exporter.store.errors import DatabaseUnreachable
from exporter.store.maintenance import partitions, reclassify
from exporter.store.maintenance.compaction import compact_before
from exporter.store.maintenance.partitions import days
from exporter.store.maintenance.selection import Goal
from exporter.store.progress import Progress
from tests.kit.gateways import key
from tests.kit.store.history import cancelled, session
from tests.kit.store.mirror import CONFIG, device
from tests.kit.store.reclassification import RAW, Collector, Place, Steps, moved, places, recorded
from tests.kit.store.schema import ask, migrated

T = TypeVar("T")
ACME = 1  # the number of the first recorded organisation

# Of tables and views that readers may see, the most exact of these columns.
READABLE = """
select distinct on (c.relname) c.relname as relation, a.attname as name
from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = any($1)
where c.relnamespace = 'argus'::regnamespace and has_table_privilege(c.oid, 'select')
order by c.relname, array_position('{peer_id,interface_id,gateway_id}'::text[], a.attname::text)"""
# The clearances of what is current in acme's gw.
CURRENT = """
with g as (select * from argus.gateway where org_id = 1 and name = 'gw'),
     i as (select * from argus.interface where org_id = 1 and gateway_id in (select gateway_id from g)),
     p as (select * from argus.peer where org_id = 1 and interface_id in (select interface_id from i))
select clearance from g union select clearance from i union select clearance from p
union select clearance from argus.interface_config
      where org_id = 1 and valid_to is null and interface_id in (select interface_id from i)
union select clearance from argus.peer_config
      where org_id = 1 and valid_to is null and peer_id in (select peer_id from p)
union select clearance from argus.peer_state where org_id = 1 and peer_id in (select peer_id from p)
union select clearance from argus.gap
      where org_id = 1 and ended_at is null and gateway_id in (select gateway_id from g)"""
WAITING = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
# The open configuration of a peer of gw.
OPEN = """
from argus.peer_config c join argus.peer p using (org_id, peer_id)
join argus.interface i using (org_id, interface_id) join argus.gateway g using (org_id, gateway_id)
where org_id = 1 and g.name = 'gw' and p.public_key = $1 and valid_to is null"""
CLOSE = "update argus.peer_config set valid_to = now() where org_id = 1 and peer_id = $1 and valid_to is null"
REOPEN = """
insert into argus.peer_config
select org_id, peer_id, now(), null, '', '{}', 0, false, '', '', '', 0 from argus.peer
where org_id = 1 and peer_id = $1"""
NEW_GATEWAY = (
    "insert into argus.gateway (org_id, name, first_seen, seen_until, holder, held_by, held_at) "
    "select 1, 'third', now(), now(), holder, '', now() from argus.gateway where org_id = 1 and name = 'gw'",
    "insert into argus.interface (org_id, gateway_id, name, instance, first_seen, seen_until) "
    "select 1, gateway_id, 'wg0', '', now(), now() from argus.gateway where org_id = 1 and name = 'third'",
)
NEW_PEER = """
insert into argus.peer (org_id, peer_id, interface_id, public_key, first_seen)
select 1, 1000000, i.interface_id, $1, now()
from argus.interface i join argus.gateway g using (org_id, gateway_id)
where org_id = 1 and g.name = 'third'"""
END = """
select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid()"""


@pytest.fixture
def login(database: Target) -> Target:
    """A database with many records."""
    login = migrated(database)
    asyncio.run(recorded(login))
    return login


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches, and short waits for locks."""
    monkeypatch.setattr(reclassify, "PEERS", 1)
    monkeypatch.setattr(partitions, "WAITS", (50, 100))
    monkeypatch.setattr(partitions, "PAUSE", 0.01)


def as_owner(login: Target, work: Callable[[Connection], Awaitable[T]]) -> T:
    async def run() -> T:
        async with session(login) as owner:
            return await work(owner)

    return asyncio.run(run())


def in_thread(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, in another event loop than the running one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


async def job(owner: Connection, goal: Goal, progress: Progress | None = None) -> int:
    """The number of rows that the reclassification rewrote."""
    return await reclassify.reclassify(owner, goal, actor="ann on desk", progress=progress or Progress())


async def interrupted(login: Target, goal: Goal, after: int) -> None:
    """The reclassification on its own connection, cancelled after a number of steps."""
    async with session(login) as connection:
        await cancelled(lambda progress: job(connection, goal, progress), after)


def do(login: Target, goal: Goal, progress: Progress) -> None:
    as_owner(login, lambda owner: job(owner, goal, progress))


async def of_gateway(owner: Connection) -> set[int]:
    """The clearances of all rows of acme's gateway gw."""
    found = await places(owner)
    return {place.clearance for rows in found.values() for place in rows if place[:2] == ("acme", "gw")}


async def gateway(owner: Connection) -> int:
    """The clearance of acme's gateway gw."""
    query = "select clearance from argus.gateway where org_id = 1 and name = 'gw'"
    return int(await owner.fetchval(query))


async def raised(owner: Connection) -> list[str]:
    """The subjects of raises by collectors after the first job."""
    rows = await owner.fetch(
        "select subject from argus.audit_event where action = 'clearance-raised' and event_id > "
        "(select min(event_id) from argus.audit_event where action = 'reclassification-started')"
    )
    return [row["subject"] for row in rows]


def expected(place: Place, goal: Goal) -> int:
    """The clearance that the rows of a place must have. Level 1 is a gateway, 3 a peer."""
    named = goal.organisation, goal.gateway, goal.interface, goal.peer
    if any(name and name != other for name, other in zip(named, place[:4], strict=True)):
        return place.clearance
    level = 3 if place.peer else 2 if place.interface else 1
    exact = level == (3 if goal.peer else 2 if goal.interface else 1)
    return goal.clearance if exact or goal.with_contents else max(place.clearance, goal.clearance)


GOALS = {
    "a gateway raised": Goal("acme", 1, "gw"),
    "a gateway raised with all in it": Goal("acme", 3, "gw", with_contents=True),
    "a gateway with all in it lowered to the least": Goal("acme", 0, "gw", with_contents=True),
    "an interface raised": Goal("acme", 2, "gw", "wg0"),
    "an interface with all in it": Goal("acme", 1, "gw", "wg0", with_contents=True),
    "a peer on an interface": Goal("acme", 4, "gw", "wg0", key(1)),
    "a peer lowered": Goal("acme", 0, "gw", "wg0", key(2)),
    "a peer on a gateway": Goal("acme", 5, "gw", peer=key(3)),
    "a peer everywhere": Goal("acme", 3, peer=key(1)),
}


@pytest.mark.parametrize("goal", GOALS.values(), ids=GOALS.keys())
def test_every_row_of_every_table_follows(login: Target, goal: Goal) -> None:
    """In every table of the catalogue all selected rows get the clearance, contents are not below it, no
    other row changes, and the number is as announced."""

    async def work(owner: Connection) -> None:
        before = await places(owner)
        assert all(before.values()), "a table has no rows in this test: what becomes of them is not known"
        announced = await reclassify.preview(owner, goal, progress=Steps())
        assert await places(owner) == before
        rewritten = await job(owner, goal)
        wanted: dict[str, dict[Place, int]] = {}
        changed = dict.fromkeys(announced, 0)
        for table, found in before.items():
            wanted[table] = {}
            for place, rows in found.items():
                new = place._replace(clearance=expected(place, goal))
                wanted[table][new] = wanted[table].get(new, 0) + rows
                if new != place:
                    changed[table] = changed.get(table, 0) + rows
        assert await places(owner) == wanted
        assert announced == changed
        assert rewritten == sum(changed.values()) > 0
        assert not any((await reclassify.preview(owner, goal, progress=Steps())).values())

    as_owner(login, work)


# Readers


async def shown(database: Target, ids: Mapping[str, Sequence[int]], clearance: int) -> dict[str, int]:
    """Table or view → the number of rows of gateways, interfaces and peers with these ids that a reader
    sees."""
    async with session(database, "argus_reader") as reader, scope(reader, ACME, clearance):
        counts = {}
        for row in await reader.fetch(READABLE, list(ids)):
            query = f"select count(*) from argus.{row['relation']} where {row['name']} = any($1)"
            counts[row["relation"]] = await reader.fetchval(query, ids[row["name"]])
        return counts


@pytest.mark.parametrize("goal", [Goal("acme", 3, "gw"), Goal("acme", 0, "gw", with_contents=True)])
def test_readers_see_what_their_clearance_says(database: Target, login: Target, goal: Goal) -> None:
    """In every table and view, readers with less clearance see no selected row, and readers with as much see
    all."""

    async def work(owner: Connection) -> None:
        ids = {
            f"{kind}_id": [row[0] for row in await owner.fetch(query)]
            for kind, query in {
                "gateway": "select gateway_id from argus.gateway where org_id = 1 and name = 'gw'",
                "interface": "select interface_id from argus.interface join argus.gateway g "
                "using (org_id, gateway_id) where org_id = 1 and g.name = 'gw'",
                "peer": "select peer_id from argus.peer join argus.interface i using (org_id, interface_id) "
                "join argus.gateway g using (org_id, gateway_id) where org_id = 1 and g.name = 'gw'",
            }.items()
        }
        whole, before = await shown(database, ids, 9), await shown(database, ids, 0)
        assert len(whole) == 13, "tables without audit events, and views"
        assert all(0 < before[name] <= whole[name] for name in whole)
        assert before != whole
        await job(owner, goal)
        assert await shown(database, ids, goal.clearance) == whole
        assert not any((await shown(database, ids, goal.clearance - 1)).values())

    as_owner(login, work)


# Interrupted


async def events(owner: Connection) -> list[tuple[str, int, int]]:
    """The audit events of reclassifications: action, goal, and the number of the event of the start."""
    rows = await owner.fetch(
        "select event_id, action, (detail->>'clearance')::integer as goal, detail->>'started' as started, "
        "actor from argus.audit_event where action in ('reclassification-started', 'reclassified') "
        "order by event_id"
    )
    assert {row["actor"] for row in rows} <= {"ann on desk"}
    return [(row["action"], row["goal"], int(row["started"] or row["event_id"])) for row in rows]


def paired(told: Sequence[tuple[str, int, int]]) -> list[int]:
    """The goals of jobs, each of which has exactly two events: its start and its end."""
    starts, ends = told[::2], told[1::2]
    assert [action for action, *_ in starts] == ["reclassification-started"] * len(starts)
    assert ends == [("reclassified", goal, event) for _, goal, event in starts]
    return [goal for _, goal, _ in starts]


def test_an_interrupted_job_is_continued(login: Target) -> None:
    """After an interruption at any step the current rows have the new clearance, the next run completes the
    job, and the audit events are those of one job."""

    async def work(owner: Connection) -> None:
        steps = Steps()
        await job(owner, Goal("acme", 2, "gw", with_contents=True), steps)
        assert steps.work.done == steps.work.goal > 10
        goals = [2]
        for number in range(1, steps.work.done):
            for clearance in (3, 1):
                goal = Goal("acme", clearance, "gw", with_contents=True)
                await interrupted(login, goal, number)
                assert [row["clearance"] for row in await owner.fetch(CURRENT)] == [clearance]
                assert len(await events(owner)) == 2 * len(goals) + 1
                await job(owner, goal)
                assert await of_gateway(owner) == {clearance}
                goals.append(clearance)
                assert paired(await events(owner)) == goals

    as_owner(login, work)


def test_a_lost_connection_leaves_the_rest_to_the_next_run(database: Target, login: Target) -> None:
    """When the server ends the session, the run fails, and the next one completes the same job."""
    goal = Goal("acme", 3, "gw")

    def end() -> None:
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(ask, database, END).result()

    with pytest.raises(DatabaseUnreachable), errors(login):
        do(login, goal, Steps(end))

    async def work(owner: Connection) -> None:
        assert len(await events(owner)) == 1
        await job(owner, goal)
        assert paired(await events(owner)) == [3]
        assert not any((await reclassify.preview(owner, goal, progress=Steps())).values())

    as_owner(login, work)


def test_another_job_in_between_ends_the_interrupted_one(login: Target) -> None:
    """A goal that is repeated after another job is a new job with two events of its own."""

    async def work(owner: Connection) -> None:
        high, low = Goal("acme", 3, "gw", "wg0"), Goal("acme", 1, "gw", "wg0")
        await interrupted(login, high, 1)
        await job(owner, low)
        await job(owner, high)
        assert [event[:2] for event in await events(owner)] == [
            ("reclassification-started", 3),
            ("reclassification-started", 1),
            ("reclassified", 1),
            ("reclassification-started", 3),
            ("reclassified", 3),
        ]

    as_owner(login, work)


def test_audit_events_have_the_highest_clearance(database: Target, login: Target) -> None:
    """The events of a job are hidden from readers that may not see its rows before or after it; earlier
    events do not change."""

    async def seen(clearance: int) -> int:
        query = "select count(*) from argus.audit_event where subject = $1"
        async with session(database, "argus_reader") as reader, scope(reader, ACME, clearance):
            return int(await reader.fetchval(query, f"gw/wg0/{key(2)}"))

    async def work(owner: Connection) -> None:
        earlier = await owner.fetch("select * from argus.audit_event order by event_id")
        assert earlier
        for clearance, most in ((0, 2), (4, 4), (1, 4)):
            before = [await seen(most - 1), await seen(most)]
            await job(owner, Goal("acme", clearance, "gw", "wg0", key(2)))
            assert [await seen(most - 1), await seen(most)] == [before[0], before[1] + 2]
        first = await owner.fetch("select * from argus.audit_event order by event_id limit $1", len(earlier))
        assert first == earlier
        (start,) = await owner.fetch(
            "select detail from argus.audit_event where detail->>'clearance' = '1' and detail ? 'from'"
        )
        assert json.loads(start["detail"]) == {
            **{"gateway": "gw", "interface": "wg0", "peer": key(2)},
            **{"clearance": 1, "with_contents": False, "from": [4]},
        }

    as_owner(login, work)


# Collectors


@pytest.mark.parametrize("goal", [Goal("acme", 3, "gw"), Goal("acme", 0, "gw", with_contents=True)])
def test_a_collector_writes_on_with_the_new_clearance(login: Target, goal: Goal) -> None:
    """A snapshot after each step of the job is written, and has no row with the old clearance."""

    async def written(instant: float) -> list[int]:
        async with session(login) as other:
            rows = await other.fetch(
                "select clearance from argus.sample where org_id = 1 and taken_at = $1 union all "
                "select clearance from argus.snapshot where org_id = 1 and taken_at = $1",
                datetime.fromtimestamp(instant, UTC),
            )
        return [row["clearance"] for row in rows]

    def write() -> None:
        assert in_thread(written(collector.write())) == [goal.clearance] * 4, "three peers and the ledger"

    with Collector(login).running() as collector:
        collector.write()
        steps = Steps(write)
        do(login, goal, steps)
        assert collector.sequence == 7 + steps.work.done

    async def work(owner: Connection) -> None:
        assert await of_gateway(owner) == {goal.clearance}
        assert await raised(owner) == []

    as_owner(login, work)


def test_a_collector_loads_its_mirror_again(login: Target) -> None:
    """Snapshots whose rows do not show the raise, of a peer that only changes its configuration and of an
    interface that is not read, have the new clearance."""

    async def work(owner: Connection) -> None:
        await job(owner, Goal("acme", 4, "gw", "wg0", key(2)))
        elsewhere = replace(CONFIG, endpoint="192.0.2.7:7")
        collector.write(device(port=51821, peers=2, configured=[(1, elsewhere)]))
        assert await owner.fetchval(
            "select clearance from argus.peer_config where org_id = 1 and endpoint = $1", elsewhere.endpoint
        ) == 4  # fmt: skip
        await job(owner, Goal("acme", 5, "gw", "wg0"))
        collector.write(moved(9)[1], unread=["wg0"])
        assert await owner.fetchval(
            "select clearance from argus.gap where org_id = 1 and ended_at is null and interface_id = "
            "(select interface_id from argus.interface join argus.gateway g using (org_id, gateway_id) "
            "where org_id = 1 and g.name = 'gw' and interface.name = 'wg0')"
        ) == 5  # fmt: skip
        assert await raised(owner) == []

    with Collector(login).running() as collector:
        collector.write()
        as_owner(login, work)


def test_a_collector_does_not_undo_a_lowering(login: Target) -> None:
    """A lowered gateway stays lowered when its next two snapshots are written."""

    async def work(owner: Connection) -> None:
        await job(owner, Goal("acme", 2, "gw"))
        collector.write()
        await job(owner, Goal("acme", 1, "gw"))
        collector.write()
        collector.write()
        assert await gateway(owner) == 1
        assert await raised(owner) == []

    with Collector(login).running() as collector:
        as_owner(login, work)


def test_a_lowering_below_the_configuration_is_undone(login: Target) -> None:
    """A gateway that is lowered below its configuration is raised by the next snapshot, and the progress says
    so before and after."""
    written: list[float] = []

    def write() -> None:
        if not written:
            written.append(collector.write(clearance=3))

    with Collector(login).running() as collector:
        do(login, Goal("acme", 4, "gw"), Progress())
        steps = Steps(write)
        do(login, Goal("acme", 1, "gw"), steps)
    assert steps.said[0].startswith("gw: 1 is less than before. If the gateway's configuration")
    assert steps.said[-1] == "gw: meanwhile its collector raised it again, up to 3"

    async def work(owner: Connection) -> None:
        assert await gateway(owner) == 3
        ledger = "select clearance from argus.snapshot where org_id = 1 and taken_at = $1"
        assert await owner.fetchval(ledger, datetime.fromtimestamp(written[0], UTC)) == 3
        assert await raised(owner) == ["gw"]

    as_owner(login, work)


async def begun(collector: Connection, name: str = "gw") -> int:
    """The number of a gateway, in a transaction of a snapshot that has locked its row."""
    query = "update argus.gateway set held_at = now() where org_id = 1 and name = $1 returning gateway_id"
    return int(await collector.fetchval(query, name))


async def until_it_waits(database: Target, running: asyncio.Task[int]) -> None:
    """Return when a session waits for a lock."""
    while not await asyncio.to_thread(ask, database, WAITING):
        assert not running.done(), "it did not wait"
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("goal", [Goal("acme", 3, "gw"), Goal("acme", 3, "gw", "wg0", key(2))])
def test_a_snapshot_under_way_is_waited_for(database: Target, login: Target, goal: Goal) -> None:
    """Current rows of a transaction that began with the old clearance are raised as well."""

    async def current() -> int:
        async with session(login) as other:
            return int(await other.fetchval(f"select c.clearance {OPEN}", key(2)))

    async def work(owner: Connection) -> None:
        seen: list[int] = []
        steps = Steps(lambda: seen.append(in_thread(current())))
        async with session(login, "argus_collector") as collector:
            async with scope(collector, ACME):
                await begun(collector)
                running = asyncio.create_task(job(owner, goal, steps))
                await until_it_waits(database, running)
                peer_id = await collector.fetchval(f"select p.peer_id {OPEN}", key(2))
                await collector.execute(CLOSE, peer_id)
                await collector.execute(REOPEN, peer_id)
            await running
        assert set(seen) == {3}

    as_owner(login, work)


def test_a_peer_that_appears_elsewhere_meanwhile_is_another(database: Target, login: Target) -> None:
    """A peer is selected where it is at the start; on a gateway where it appears later, it has the clearance
    of the directory."""

    async def work(owner: Connection) -> None:
        goal = Goal("acme", 3, peer=key(3))
        for statement in NEW_GATEWAY:
            await owner.execute(statement)
        async with session(login, "argus_collector") as collector:
            async with scope(collector, ACME):
                await begun(collector)
                running = asyncio.create_task(job(owner, goal))
                await until_it_waits(database, running)
                async with session(login) as other:
                    await other.execute(NEW_PEER, key(3))
            await running
        rows = await owner.fetch(
            "select clearance from argus.peer where org_id = 1 and public_key = $1 order by peer_id", key(3)
        )
        assert [row["clearance"] for row in rows] == [3, 3, 0]

    as_owner(login, work)


# What else rewrites


def test_rows_that_move_into_a_new_partition_are_found_there(
    login: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of a default partition that move to a new partition during the run are rewritten."""
    look = days

    async def look_and_move(connection: Connection, parent: str) -> list[date]:
        found = await look(connection, parent)
        async with session(login) as other:
            await other.fetchval(
                "select argus.make_partition($1::text::regclass, '2020-01-01')", f"argus.{parent}"
            )
        return found

    monkeypatch.setattr(reclassify, "days", look_and_move)

    async def work(owner: Connection) -> None:
        await job(owner, Goal("acme", 3, "gw"))
        assert await of_gateway(owner) == {3}

    as_owner(login, work)


@pytest.mark.parametrize("clearance", [0, 3])
def test_a_day_half_compacted_has_the_clearance_in_the_end(login: Target, clearance: int) -> None:
    """The table of a day whose compaction was interrupted before is built again by the next compaction."""

    async def work(owner: Connection) -> None:
        await cancelled(lambda progress: compact_before(owner, RAW + DAY, progress), 1)
        assert await owner.fetchval(f"select count(*) from argus.sample_day_{RAW:%Y%m%d}_building") > 0
        await job(owner, Goal("acme", clearance, "gw", with_contents=True))
        await compact_before(owner, RAW + DAY, Progress())
        assert await days(owner, "sample") == []
        found = (await places(owner))["sample_day"]
        assert {each.clearance for each in found if each[:2] == ("acme", "gw")} == {clearance}

    as_owner(login, work)


def test_a_raise_does_not_wait_for_maintenance(login: Target) -> None:
    """While another session maintains the database, the current rows are raised; the history follows
    later."""

    async def work(owner: Connection) -> None:
        async with session(login) as second:
            steps = Steps()
            async with locks.held(owner, locks.MAINTENANCE, Progress()):
                waiting = asyncio.create_task(job(second, Goal("acme", 3, "gw"), steps))
                while not waiting.done() and len(steps.said) < 2:
                    await asyncio.sleep(0.01)
                assert steps.said == [
                    "gw: the current rows have clearance 3",
                    "another session maintains this database; waiting for it",
                ]
                assert [row["clearance"] for row in await owner.fetch(CURRENT)] == [3]
                assert await of_gateway(owner) == {0, 1, 2, 3}
            await waiting
        assert await of_gateway(owner) == {3}

    as_owner(login, work)


def test_the_later_of_two_jobs_wins(login: Target) -> None:
    """A job that runs between the two parts of another decides the clearance of the history."""

    def once() -> None:
        if steps.work.done == 1:
            in_thread(other())

    async def other() -> None:
        async with session(login) as connection:
            await job(connection, Goal("acme", 1, "gw", with_contents=True))

    async def work(owner: Connection) -> None:
        await job(owner, Goal("acme", 3, "gw"), steps)
        assert await of_gateway(owner) == {1}
        assert [event[:2] for event in await events(owner)] == [
            ("reclassification-started", 3),
            ("reclassification-started", 1),
            ("reclassified", 1),
            ("reclassified", 3),
        ]

    steps = Steps(once)
    as_owner(login, work)


def test_the_same_job_twice_at_a_time_is_one(login: Target) -> None:
    """Two simultaneous runs of one goal write the events of one job."""
    goal = Goal("acme", 3, "gw")

    def once() -> None:
        if steps.work.done == 1:
            in_thread(other())

    async def other() -> None:
        async with session(login) as connection:
            await job(connection, goal)

    async def work(owner: Connection) -> None:
        await job(owner, goal, steps)
        assert paired(await events(owner)) == [3]

    steps = Steps(once)
    as_owner(login, work)


def test_collectors_of_other_gateways_are_not_affected(login: Target) -> None:
    """Only the collectors of gateways whose current rows changed load their mirror again."""

    async def work(owner: Connection) -> None:
        for goal, counts in (
            (Goal("acme", 1, "gw", "wg1"), [1, 0, 0]),
            (Goal("acme", 1, "gw", "wg1"), [1, 0, 0]),
            (Goal("acme", 3, peer=key(1)), [2, 1, 0]),
        ):
            await job(owner, goal)
            query = "select reclassified from argus.gateway order by org_id, name"
            assert [row[0] for row in await owner.fetch(query)] == counts

    as_owner(login, work)


# What cannot be

WRONG = {
    "organisation": (
        Goal("x", 1, "gw"),
        "--organisation: there is no organisation x; there is acme, beta",
    ),
    "gateway": (
        Goal("acme", 1, "x\x1b[1m"),
        r"--gateway: there is no gateway x\x1b[1m in organisation acme; there is gw, other",
    ),
    "interface": (
        Goal("acme", 1, "gw", "wg7"),
        "--interface: gateway gw has no interface wg7; there is wg0, wg1",
    ),
    "peer on an interface": (
        Goal("acme", 1, "gw", "wg1", key(1)),
        f"--peer: there is no peer {key(1)} on gw/wg1; it is on gw/wg0, other/wg0",
    ),
    "peer on no gateway": (
        Goal("acme", 1, "x", peer=key(1)),
        "--gateway: there is no gateway x in organisation acme; there is gw, other",
    ),
    "peer": (
        Goal("acme", 1, peer=key(9)),
        f"--peer: there is no peer {key(9)} in organisation acme",
    ),
    "interface below its gateway": (
        Goal("acme", 1, "gw", "wg0"),
        "--clearance: gateway gw has 2, and its contents cannot have less",
    ),
    "peer below its interface": (
        Goal("acme", 1, peer=key(3)),
        "--clearance: interface gw/wg1 has 2, and its contents cannot have less",
    ),
}


@pytest.mark.parametrize("goal", WRONG)
def test_an_impossible_goal_is_refused(login: Target, goal: str) -> None:
    """An unknown name is refused with the known ones, and a clearance below that of the container."""
    wrong, problem = WRONG[goal]

    async def work(owner: Connection) -> None:
        await job(owner, Goal("acme", 2, "gw"))
        before = await places(owner), await events(owner)
        for attempt in (
            job(owner, wrong),
            reclassify.preview(owner, wrong, progress=Steps()),
        ):
            with pytest.raises(InputError) as error:
                await attempt
            assert str(error.value) == f"the command line: {problem}"
        assert (await places(owner), await events(owner)) == before

    as_owner(login, work)
