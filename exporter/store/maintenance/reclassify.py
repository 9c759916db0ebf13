"""Changes the clearance of the records of a gateway, an interface or a peer.

1. One transaction rewrites the current rows, while no collector of the gateway writes, and increments
   `gateway.reclassified`. From then on a raise is in force, and no row is written with the old clearance: a
   collector that finds the number changed loads its mirror again.
2. The history follows table by table and day by day, under the lock for maintenance, in batches that an
   interruption does not undo. Each row gets the clearance that its gateway, interface or peer has by then.

Each statement is about one organisation: on a Citus cluster it runs on one shard.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime

from exporter.instants import DAY, start_of
from exporter.store.database import locks
from exporter.store.database.connection import Connection
from exporter.store.maintenance.partitions import DAILY, days, table, without_waiting
from exporter.store.maintenance.selection import Goal, Kind, Level, Selection, find
from exporter.store.progress import Progress

PEERS = 50  # per batch of a day: up to 144,000 samples at an interval of 30 s

PATIENCE = "60s"  # to wait for a snapshot that is being written, which may be the first of many peers

STARTED, ENDED = "reclassification-started", "reclassified"


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows of a table that have the clearance of the gateway, interface or peer that they belong to.

    `those`: an SQL condition for these rows. `current`: a condition for those among them that are not
    history.
    """

    table: str
    kind: Kind
    current: str
    those: str = "true"

    @property
    def has_history(self) -> bool:
        return self.current != "true"


TABLES = (
    Kept("gateway", "gateway", current="true"),
    Kept("interface", "interface", current="true"),
    Kept("peer", "peer", current="true"),
    Kept("peer_state", "peer", current="true"),
    Kept("peer_config", "peer", current="t.valid_to is null"),
    Kept("interface_config", "interface", current="t.valid_to is null"),
    Kept("gap", "gateway", current="t.ended_at is null", those="t.interface_id is null"),
    Kept("gap", "interface", current="t.ended_at is null"),
    Kept("snapshot", "gateway", current="false"),
    Kept("sample", "peer", current="false"),
    Kept("sample_day", "peer", current="false"),
)

# Rows `t` that belong to `o`. $1: org_id; $2: the ids of the level; $3, $4: start and end of a part of a day.
BELONGING = """
    t.org_id = $1 and o.org_id = $1 and o.{level.column} = any($2::bigint[])
    and t.{kept.kind}_id = o.{kept.kind}_id and t.clearance {comparison} {clearance}
    and {kept.those} and {only}"""
REWRITE = "update {rows} t set clearance = {clearance} from argus.{kept.kind} o where" + BELONGING  # noqa: S608
COUNT = "select count(*) from {rows} t, argus.{kept.kind} o where" + BELONGING  # noqa: S608
PART = "t.taken_at >= $3 and t.taken_at < $4"

CLEARANCES = """
select distinct clearance from argus.{level.kind} where org_id = $1 and {level.column} = any($2::bigint[])"""
SIZE = "select count(*) from argus.peer where org_id = $1 and {level.column} = any($2::bigint[])"
RECLASSIFIED = """
update argus.gateway set reclassified = reclassified + 1
where org_id = $1 and gateway_id = any($2::bigint[])"""

LAST = """
select event_id, clearance from (
    select event_id, action, detail, clearance from argus.audit_event
    where org_id = $1 and subject = $2 and action = any($3::text[])
    order by at desc, event_id desc limit 1) last
where action = $4 and detail @> $5::text::jsonb"""
IS_ENDED = """
select true from argus.audit_event where org_id = $1 and action = $2 and detail->>'started' = $3"""
AUDIT = """
insert into argus.audit_event (org_id, subject, action, actor, detail, clearance)
values ($1, $2, $3, $4, $5::text::jsonb, $6) returning event_id"""


async def reclassify(connection: Connection, goal: Goal, *, actor: str, progress: Progress) -> int:
    """Reach the goal; the number of rewritten rows. `actor`: the name in the audit events.

    `connection`: the owner's, without a statement timeout. It can be interrupted at any time; the next run
    with the same goal continues. Raises InputError as `find` does, errors of the driver.
    """
    return await _Job(connection, goal, actor, progress).run()


async def preview(connection: Connection, goal: Goal, *, progress: Progress) -> dict[str, int]:
    """Table → the number of its rows that would change. `connection`: the owner's. Raises as `reclassify`."""
    counts: dict[str, int] = {}
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        selection = await find(connection, goal)
        _warn(goal, await _clearances(connection, selection), progress)
        for level, kept in _belonging(selection):
            query = _statement(COUNT, level, kept, f"{goal.clearance:d}")
            found = await connection.fetchval(query, selection.org_id, level.ids)
            counts[kept.table] = counts.get(kept.table, 0) + found
    return counts


def _belonging(selection: Selection) -> Iterator[tuple[Level, Kept]]:
    """Everything that is rewritten, in this order."""
    for kept in TABLES:
        for level in selection.levels:
            if level.kind == kept.kind:
                yield level, kept


def _statement(
    template: str, level: Level, kept: Kept, clearance: str, rows: str = "", only: str = "true"
) -> str:
    return template.format(
        rows=rows or f"argus.{kept.table}",
        level=level,
        kept=kept,
        clearance=clearance,
        comparison="<>" if level.exact else "<",
        only=only,
    )


async def _clearances(connection: Connection, selection: Selection) -> list[int]:
    """The present clearances of the objects that get exactly the clearance of the goal."""
    found = set[int]()
    for level in selection.levels:
        if level.exact:
            rows = await connection.fetch(CLEARANCES.format(level=level), selection.org_id, level.ids)
            found.update(row["clearance"] for row in rows)
    return sorted(found)


def _warn(goal: Goal, before: Sequence[int], progress: Progress) -> None:
    if before[-1] > goal.clearance:
        progress.say(
            f"{goal}: {goal.clearance} is less than before. If the gateway's configuration "
            "(recording.clearance) or directory still asks for more, the next snapshot raises it again: "
            "change it there first"
        )


class _Job:
    def __init__(self, connection: Connection, goal: Goal, actor: str, progress: Progress) -> None:
        self._connection = connection
        self._goal = goal
        self._actor = actor
        self._progress = progress
        self._rewritten = 0

    async def run(self) -> int:
        goal, progress = self._goal, self._progress
        progress.expect(1)
        async with self._connection.transaction():
            await self._connection.execute(f"set local lock_timeout = '{PATIENCE}'")
            selection = await find(self._connection, goal, lock=True)
            before = await _clearances(self._connection, selection)
            started, clearance = await self._begin(selection, before)
            await self._present(selection)
        _warn(goal, before, progress)
        progress.step(f"{goal}: the current rows have clearance {goal.clearance}")
        async with locks.held(self._connection, locks.MAINTENANCE, progress):
            for level, kept in _belonging(selection):
                if kept.has_history:
                    await self._history(selection, level, kept)
            if not await self._connection.fetchval(IS_ENDED, selection.org_id, ENDED, str(started)):
                await self._audit(selection, ENDED, clearance, {"started": started})
        after = await _clearances(self._connection, selection)
        if after[-1] > goal.clearance:
            progress.say(f"{goal}: meanwhile its collector raised it again, up to {after[-1]}")
        return self._rewritten

    async def _begin(self, selection: Selection, before: Sequence[int]) -> tuple[int, int]:
        """Write the audit event of the start, or find that of an interrupted run; its number and clearance.

        The clearance is the highest of before and after, so that the event reveals nothing that is hidden.
        """
        clearance = max(self._goal.clearance, *before)
        events, detail = [STARTED, ENDED], json.dumps(self._detail())
        last = await self._connection.fetchrow(
            LAST, selection.org_id, str(self._goal), events, STARTED, detail
        )
        if last:
            return last["event_id"], max(clearance, last["clearance"])
        return await self._audit(selection, STARTED, clearance, {"from": before}), clearance

    def _detail(self) -> dict[str, object]:
        return {name: value for name, value in asdict(self._goal).items() if name != "organisation"}

    async def _audit(self, selection: Selection, action: str, clearance: int, more: dict[str, object]) -> int:
        detail = json.dumps(self._detail() | more)
        event_id: int = await self._connection.fetchval(
            AUDIT, selection.org_id, str(self._goal), action, self._actor, detail, clearance
        )
        return event_id

    async def _present(self, selection: Selection) -> None:
        changed = 0
        for level, kept in _belonging(selection):
            query = _statement(REWRITE, level, kept, f"{self._goal.clearance:d}", only=kept.current)
            changed += _count(await self._connection.execute(query, selection.org_id, level.ids))
        if changed:
            await self._connection.execute(RECLASSIFIED, selection.org_id, selection.gateways)
        self._rewritten += changed

    async def _history(self, selection: Selection, level: Level, kept: Kept) -> None:
        """Rewrite each partition, also those that are created meanwhile from the default one."""
        clearance = "o.clearance" if level.exact else f"least({self._goal.clearance:d}, o.clearance)"
        parts = await self._parts(selection, level) if kept.table == "sample" else 1
        before, done = self._rewritten, set[str]()
        while new := {name: day for name, day in await self._partitions(kept) if name not in done}:
            self._progress.expect(sum(parts if day else 1 for day in new.values()))
            for name, day in new.items():
                for span in _spans(day, parts):
                    only = PART if span else "true"
                    query = _statement(REWRITE, level, kept, clearance, name, only)
                    self._rewritten += await self._batch(query, selection.org_id, level.ids, *span)
                    self._progress.step()
            done.update(new)
        if self._rewritten > before:
            self._progress.say(f"{kept.table}: {self._rewritten - before} rows rewritten")

    async def _parts(self, selection: Selection, level: Level) -> int:
        """Into how many parts to divide a day. Samples are in the order of time, so a part is a part of the
        file."""
        query = SIZE.format(level=level)
        size: int = await self._connection.fetchval(query, selection.org_id, level.ids)
        return max(1, math.ceil(size / PEERS))

    async def _partitions(self, kept: Kept) -> list[tuple[str, date | None]]:
        """A table's partitions with their days: the default one, then from the latest day on."""
        if kept.table not in DAILY:
            return [(f"argus.{kept.table}", None)]
        found = await days(self._connection, kept.table)
        return [
            (f"argus.{kept.table}_default", None),
            *((table(kept.table, day), day) for day in reversed(found)),
        ]

    async def _batch(self, query: str, *arguments: object) -> int:
        rewritten = 0

        async def rewrite() -> None:
            nonlocal rewritten
            await self._connection.execute("set local plan_cache_mode = force_custom_plan")
            rewritten = _count(await self._connection.execute(query, *arguments))

        await without_waiting(self._connection, rewrite)
        return rewritten


def _count(status: str) -> int:
    """The number of rows in the server's answer to a statement, such as UPDATE 3."""
    return int(status.rpartition(" ")[2])


def _spans(day: date | None, parts: int) -> list[tuple[datetime, ...]]:
    """Start and end of each of the equal parts of a day; without both, the whole."""
    if day is None or parts == 1:
        return [()]
    return [
        (start_of(day) + DAY * part / parts, start_of(day) + DAY * (part + 1) / parts)
        for part in range(parts)
    ]
