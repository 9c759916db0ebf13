"""The peers that were active in a range of time."""

from __future__ import annotations

from exporter.instants import EPOCH, MILLISECOND
from exporter.instants import instant as as_instant
from exporter.store.database.connection import Connection
from exporter.store.queries.answers import AnswerRow, fetch
from exporter.store.queries.samples import NEAR, any_compacted

# $1: org_id; $2, $3: the range; $4: the start of its last minutes; $5, $6: its days; $7, $8: the range in
# milliseconds; $9: `any_compacted`.
#
# Two details keep the plan fast (EXPLAIN of PostgreSQL 15):
# - The IN is a hashed SubPlan, executed once for all peers. The sub-selects with LIMIT 1 are plain SubPlans:
#   they look up a peer by the index, and only if the IN does not find it and its state changed since the
#   start of the range. An EXISTS in their place would be a hashed SubPlan that reads all of the range.
# - CASE: from an OR that contains an AND the planner extracts a filter for the scan of `peer`.
#   That filter would execute the SubPlans before the join with `peer_state` shows whether they are needed.
ACTIVE = """
select p.peer_id, p.public_key
from argus.peer p
left join argus.peer_state t on t.org_id = $1 and t.peer_id = p.peer_id and t.taken_at <= $2
where p.org_id = $1 and (
    p.peer_id in (select n.peer_id from argus.sample n
        where n.org_id = $1 and n.taken_at > $4 and n.taken_at <= $3 and n.active)
    or case when t.peer_id is null then
        (select true from argus.sample s
            where s.org_id = $1 and s.peer_id = p.peer_id and s.taken_at > $2 and s.taken_at <= $3
              and s.active
            limit 1)
        or $9::boolean and (select true from argus.sample_day d,
            lateral (select (d.day - date '1970-01-01') * 86400000::bigint as start offset 0) m,
            lateral (select least(greatest($7 - m.start, -1), 86400000)::integer as low,
                            least(greatest($8 - m.start, -1), 86400000)::integer as high offset 0) r
            where d.org_id = $1 and d.peer_id = p.peer_id and d.day between $5 and $6
              and width_bucket(r.high, d.at) - width_bucket(r.low, d.at)
                  > width_bucket(r.high, d.idle) - width_bucket(r.low, d.idle)
            limit 1) end)
"""


class Active(AnswerRow):
    peer_id: int
    public_key: str


async def active(connection: Connection, org_id: int, start: float, end: float) -> list[Active]:
    """The peers whose counters or handshake changed in a range; in no order."""
    low, high = as_instant(start), as_instant(end)
    near = max(low, high - NEAR)
    days = low.date(), high.date()
    milliseconds = (low - EPOCH) // MILLISECOND, (high - EPOCH) // MILLISECOND
    compacted = await any_compacted(connection, org_id, *days)
    scope = low, high, near, *days, *milliseconds, compacted
    return await fetch(connection, Active, ACTIVE, org_id, *scope)
