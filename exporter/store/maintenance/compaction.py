"""Compaction of past days: one row per peer and day instead of one row per sample.

A day is built in a separate table that readers and collectors cannot access, in batches that an interruption
does not undo. Then one transaction compares the table with the samples, attaches it and drops the samples, so
that a reader finds each sample exactly once at any time. (Except in a REPEATABLE READ transaction that began
earlier: it sees a table that was attached later as empty.) Samples that arrive for a compacted day are stored
beside it until the next run builds the day again from both.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from exporter.instants import DAY, start_of
from exporter.store.database.connection import Connection
from exporter.store.maintenance.partitions import days, if_not_in_use, table, without_waiting
from exporter.store.progress import Progress

PEERS = 256  # per batch: up to 737,280 samples at an interval of 30 s
TRIES = 3  # for a day that receives samples while it is being compacted
FIRST, LAST = -(2**31), 2**31 - 1  # the range of peer_id

# $1: org_id; $2, $3: peers above $2 and up to $3; $4, $5: start and end of the day; $6: its date.
RAW = """
    select org_id, peer_id, r.at, clearance, receive_total, transmit_total, active,
           case when handshake_age is not null  -- of null and a number, the least is the number
                then least(r.at / 1000 - handshake_age::bigint, 2147483647)::integer end as handshake
    from argus.sample s,
         lateral (select (date_part('epoch', s.taken_at - $4::timestamptz) * 1000)::integer as at) r
    where org_id = $1 and peer_id > $2 and peer_id <= $3 and taken_at >= $4 and taken_at < $5"""

COMPACTED = """
    select d.org_id, d.peer_id, u.at, d.clearance,
           d.receive_first + coalesce(u.receive, u.receive_wide) as receive_total,
           d.transmit_first + coalesce(u.transmit, u.transmit_wide) as transmit_total,
           u.at <> all (d.idle) as active, u.handshake
    from {table} d,
         unnest(d.at, d.receive, d.transmit, d.receive_wide, d.transmit_wide, d.handshake)
             as u (at, receive, transmit, receive_wide, transmit_wide, handshake)
    where d.org_id = $1 and d.peer_id > $2 and d.peer_id <= $3 and d.day = $6"""

# An instant that was recorded again after the day was compacted is merged as the writer merges samples.
MERGED = f"""
    select org_id, peer_id, at, max(clearance) as clearance, max(receive_total) as receive_total,
           max(transmit_total) as transmit_total, bool_or(active) as active, max(handshake) as handshake
    from ({RAW} union all {COMPACTED.format(table="argus.sample_day")}) both_of_them
    group by org_id, peer_id, at"""  # noqa: S608

BUILD = """
insert into {building}
    (org_id, peer_id, day, clearance, receive_first, transmit_first, receive_last, transmit_last,
     at, receive, transmit, receive_wide, transmit_wide, handshake, idle)
select org_id, peer_id, $6::date, clearance, receive_first, transmit_first,
       receive_first + receive[samples], transmit_first + transmit[samples], at,
       case when receive_fits then receive::integer[] end,
       case when transmit_fits then transmit::integer[] end,
       case when not receive_fits then receive end,
       case when not transmit_fits then transmit end,
       handshake, idle
from (
    select org_id, peer_id, max(clearance) as clearance, count(*)::integer as samples,
           min(receive_first) as receive_first, min(transmit_first) as transmit_first,
           array_agg(at order by at) as at,
           array_agg(receive_total - receive_first order by at) as receive,
           array_agg(transmit_total - transmit_first order by at) as transmit,
           bool_and(receive_total - receive_first between {first} and {last}) as receive_fits,
           bool_and(transmit_total - transmit_first between {first} and {last}) as transmit_fits,
           array_agg(handshake order by at) as handshake,
           coalesce(array_agg(at order by at) filter (where not active), '{{}}') as idle
    from (
        select *, first_value(receive_total) over peer as receive_first,
               first_value(transmit_total) over peer as transmit_first
        from ({source}) samples
        window peer as (partition by org_id, peer_id order by at)) deltas
    group by org_id, peer_id) peers"""

DIGEST = """
    select peer_id, count(*), max(clearance),
           bit_xor(hash_record_extended(row(at, receive_total, transmit_total, active, handshake), 0))
    from ({source}) samples group by peer_id"""

# The number of peers whose samples differ between the two sources.
DIFFERENCE = f"""
with expected as ({DIGEST.replace("source", "expected")}), found as ({DIGEST.replace("source", "found")})
select count(*) from expected full join found using (peer_id) where expected is distinct from found"""  # noqa: S608

NEXT = "select peer_id from argus.peer where org_id = $1 and peer_id > $2 order by peer_id offset $3 limit 1"
LEFT = "select count(*) from argus.peer where org_id = $1 and peer_id > $2"
BUILDINGS = """
select relname::text from pg_class
where relnamespace = 'argus'::regnamespace and relkind = 'r' and relname ~ '^sample_day_[0-9]{8}_building$'"""
IS_DISTRIBUTED = """
select exists (select from pg_dist_partition where logicalrelid = 'argus.sample_day'::regclass)"""


async def compact_before(connection: Connection, first: date, progress: Progress) -> None:
    """Compact the days before `first` that have a partition of samples.

    `connection`: the owner's, without a statement timeout. An interruption keeps the finished batches. Raises
    errors of the driver.
    """
    raw = [day for day in await days(connection, "sample") if day < first]
    compacted = set(await days(connection, "sample_day"))
    await discard(connection, keep=raw)
    for day in raw:
        with if_not_in_use(f"{day}: sample", progress):
            await _Day(connection, day, day in compacted, progress).compact()


async def discard(connection: Connection, keep: Sequence[date] = ()) -> None:
    """Drop the unattached tables of days, except those of the days `keep`."""
    kept = {_building(day) for day in keep}
    for row in await connection.fetch(BUILDINGS):
        if f"argus.{row['relname']}" not in kept:
            await connection.execute(f"drop table argus.{row['relname']}")


def _building(day: date) -> str:
    return f"{table('sample_day', day)}_building"


class _Day:
    """One day. `merging`: the day was compacted before."""

    def __init__(self, connection: Connection, day: date, merging: bool, progress: Progress) -> None:
        self._connection = connection
        self._day = day
        self._merging = merging
        self._progress = progress
        self._building = _building(day)
        self._source = MERGED if merging else RAW

    async def compact(self) -> None:
        for _ in range(TRIES):
            await self._create()
            for org_id in await self._organisations():
                await self._fill(org_id)
            await self._connection.execute(f"vacuum (analyze) {self._building}")
            if await self._replace():
                self._progress.say(f"{self._day}: compacted")
                return
            await self._connection.execute(f"drop table {self._building}")
        self._progress.say(f"{self._day}: new samples keep arriving; the next run compacts the day")

    async def _create(self) -> None:
        """Create the table. Because of its check constraint, attaching it does not scan its rows."""
        day = f"'{self._day}'"
        if await self._connection.fetchval("select to_regclass($1) is not null", self._building):
            return
        async with self._connection.transaction():
            await self._connection.execute(
                f"create table {self._building} (like argus.sample_day including all, "
                f"constraint building check (day >= {day} and day < date {day} + 1))"
            )
            if await self._is_distributed():
                await self._connection.execute(
                    "select create_distributed_table($1::text::regclass, 'org_id', "
                    "colocate_with => 'argus.sample_day')",
                    self._building,
                )
            await self._connection.execute(
                "select argus.protect($1::text::regclass, '{}', false)", self._building
            )

    async def _is_distributed(self) -> bool:
        citus = "select exists (select from pg_extension where extname = 'citus')"
        return bool(
            await self._connection.fetchval(citus) and await self._connection.fetchval(IS_DISTRIBUTED)
        )

    async def _organisations(self) -> list[int]:
        rows = await self._connection.fetch("select org_id from argus.organisation order by org_id")
        return [row["org_id"] for row in rows]

    def _scope(self, org_id: int, low: int, high: int) -> tuple[object, ...]:
        return org_id, low, high, start_of(self._day), start_of(self._day + DAY), self._day

    async def _fill(self, org_id: int) -> None:
        """Build the rows of an organisation in batches by peer_id; continue after the highest that exists."""
        done = f"select max(peer_id) from {self._building} where org_id = $1"  # noqa: S608
        build = BUILD.format(building=self._building, source=self._source, first=FIRST, last=LAST)
        low = await self._connection.fetchval(done, org_id)
        low = FIRST if low is None else low
        self._progress.expect(1 + await self._connection.fetchval(LEFT, org_id, low) // PEERS)
        while low < LAST:
            high = await self._connection.fetchval(NEXT, org_id, low, PEERS - 1)
            high = LAST if high is None else high
            async with self._connection.transaction():
                await self._connection.execute("set local plan_cache_mode = force_custom_plan")
                await self._connection.execute(build, *self._scope(org_id, low, high))
            self._progress.step()
            low = high

    async def _replace(self) -> bool:
        """Replace the samples by the built table in one transaction; False = the two differ.

        Meanwhile the day accepts no samples, other days do.
        """
        raw, connection = table("sample", self._day), self._connection
        found = COMPACTED.format(table=self._building)
        difference = DIFFERENCE.format(expected=self._source, found=found)
        async with connection.transaction():
            await connection.execute("set local lock_timeout = '2s'")
            await connection.execute("set local plan_cache_mode = force_custom_plan")
            await connection.execute(f"lock table {raw} in share mode")
            for org_id in await self._organisations():
                if await connection.fetchval(difference, *self._scope(org_id, FIRST, LAST)):
                    return False
            await without_waiting(connection, self._switch)
        return True

    async def _switch(self) -> None:
        compacted, connection = table("sample_day", self._day), self._connection
        await connection.execute(f"drop table {table('sample', self._day)}")
        if self._merging:
            await connection.execute(f"drop table {compacted}")
        await connection.execute(f"alter table {self._building} rename to sample_day_{self._day:%Y%m%d}")
        await connection.execute(
            f"alter table argus.sample_day attach partition {compacted} "
            f"for values from ('{self._day}') to ('{self._day + DAY}')"
        )
        await connection.execute(f"alter table {compacted} drop constraint building")
