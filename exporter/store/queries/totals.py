"""The bytes that peers received and sent until an instant."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from exporter.instants import DAY, MILLISECOND, start_of
from exporter.instants import instant as as_instant
from exporter.store.database.connection import Connection
from exporter.store.queries.answers import AnswerRow, fetch
from exporter.store.queries.samples import NEAR, any_compacted

LOOKBACK_DAYS = (1, 8, 64, 0)  # how far to look back, in turn; 0 = to the first sample

# $1: org_id; $2: the instant; $3: where the search begins, $4: the day of that; $5: the instant's day, $6:
# its milliseconds in that day; $7: the start of the last minutes; $8: the peers, null = all that were seen by
# then; $9: `any_compacted`. Totals never decrease, so the greatest total is the latest. For an instant after
# the last change of a peer, its row of `peer_state` has the totals.
TOTALS = """
with near as materialized (
    select peer_id, array[max(receive_total), max(transmit_total)] as total
    from argus.sample where org_id = $1 and taken_at > $7 and taken_at <= $2 group by peer_id),
compacted as materialized (
    select distinct on (d.peer_id) d.peer_id,
           case when c.n is null then array[d.receive_last, d.transmit_last]
                else array[d.receive_first + coalesce(d.receive[c.n], d.receive_wide[c.n]),
                           d.transmit_first + coalesce(d.transmit[c.n], d.transmit_wide[c.n])] end as total
    from argus.sample_day d,
         lateral (select case when d.day = $5 and $6::integer < 86399999
                              then width_bucket($6, d.at) end as n offset 0) c
    where $9::boolean and d.org_id = $1 and d.day between $4 and $5 and (c.n > 0 or c.n is null)
      and ($8::integer[] is null or d.peer_id = any ($8))
    order by d.peer_id, d.day desc)
select f.peer_id, f.total[1] as receive, f.total[2] as transmit
from (select p.peer_id, coalesce(
        case when t.peer_id is not null then array[t.receive_total, t.transmit_total] end,
        greatest(c.total, n.total, case when n.total is null then (
            select array[s.receive_total, s.transmit_total] from argus.sample s
            where s.org_id = $1 and s.peer_id = p.peer_id and s.taken_at >= $3 and s.taken_at <= $2
            order by s.taken_at desc limit 1) end)) as total
    from argus.peer p
    left join argus.peer_state t on t.org_id = $1 and t.peer_id = p.peer_id and t.taken_at <= $2
    left join near n on n.peer_id = p.peer_id
    left join compacted c on c.peer_id = p.peer_id
    where p.org_id = $1 and p.first_seen <= $2 and ($8::integer[] is null or p.peer_id = any ($8))
    offset 0) f
"""


class Total(AnswerRow):
    """Bytes since the recording of the peer began; both None = not found."""

    peer_id: int
    receive: int | None
    transmit: int | None


async def totals(
    connection: Connection, org_id: int, instant: float, peers: Sequence[int] | None = None
) -> dict[int, tuple[int, int]]:
    """peer_id → bytes received and sent until an instant, of `peers` or of all that were seen by then."""
    return await totals_at(connection, org_id, as_instant(instant), peers)


async def totals_at(
    connection: Connection, org_id: int, instant: datetime, peers: Sequence[int] | None = None
) -> dict[int, tuple[int, int]]:
    """As `totals`, at a datetime of whole milliseconds.

    Each day has a sample of every peer that was configured on it. So samples since yesterday are enough for
    nearly all peers, and only for the others the search goes further back.
    """
    found: dict[int, tuple[int, int]] = {}
    day = instant.date()
    milliseconds = (instant - start_of(day)) // MILLISECOND
    for back in LOOKBACK_DAYS:
        since = day - DAY * back if back else date(1, 1, 1)
        compacted = await any_compacted(connection, org_id, since, day)
        near = max(instant - NEAR, start_of(since))
        scope = instant, start_of(since), since, day, milliseconds, near, peers, compacted
        rows = await fetch(connection, Total, TOTALS, org_id, *scope)
        found |= {peer_id: (receive, transmit) for peer_id, receive, transmit in rows if receive is not None}
        peers = [peer_id for peer_id, receive, _ in rows if receive is None]
        if not peers:
            break
    return found
