"""The bytes of peers on each day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

from exporter.instants import DAY, MILLISECOND, start_of
from exporter.store.database.connection import Connection
from exporter.store.queries.answers import fetch
from exporter.store.queries.samples import any_compacted
from exporter.store.queries.totals import Total, totals_at

FIRST = timedelta(minutes=1)  # of a day: its first snapshot has a sample of every peer

# The first totals of peers in a day. $1: org_id; $2: its start, $3: its end; $4: the peers, null = all; $5:
# its date; $6: the end of its first minute; $7: `any_compacted`. Null totals: the peer has no sample.
FIRSTS = """
with near as materialized (
    select peer_id, array[min(receive_total), min(transmit_total)] as total
    from argus.sample where org_id = $1 and taken_at >= $2 and taken_at < $6 group by peer_id)
select f.peer_id, f.total[1] as receive, f.total[2] as transmit
from (select p.peer_id, least(
        case when d.peer_id is not null then array[d.receive_first, d.transmit_first] end,
        n.total, case when n.total is null then (
            select array[s.receive_total, s.transmit_total] from argus.sample s
            where s.org_id = $1 and s.peer_id = p.peer_id and s.taken_at >= $2 and s.taken_at < $3
            order by s.taken_at limit 1) end) as total
    from argus.peer p
    left join argus.sample_day d on $7::boolean and d.org_id = $1 and d.peer_id = p.peer_id and d.day = $5
    left join near n on n.peer_id = p.peer_id
    where p.org_id = $1 and ($4::integer[] is null or p.peer_id = any ($4))
    offset 0) f
"""


class DayBytes(NamedTuple):
    """The bytes that a peer received and sent on a day."""

    peer_id: int
    day: date
    receive: int
    transmit: int


async def bytes_per_day(connection: Connection, org_id: int, first: date, last: date) -> list[DayBytes]:
    """Bytes of each peer on each day from `first` to `last`; no row for a peer without traffic.

    Bytes that were counted before a peer's first sample belong to no day. Bytes around midnight belong to the
    day of the sample that contains them.
    """
    before = await totals_at(connection, org_id, start_of(first) - MILLISECOND)
    found = []
    for day in (first + DAY * number for number in range((last - first).days + 1)):
        after = await totals_at(connection, org_id, start_of(day + DAY) - MILLISECOND)
        if not after.keys() <= before.keys():
            new = sorted(after.keys() - before.keys()) if before else None
            before |= await _firsts(connection, org_id, day, new)
        for peer_id, (receive, transmit) in after.items():
            received, sent = before.get(peer_id, (receive, transmit))
            if receive > received or transmit > sent:
                found.append(DayBytes(peer_id, day, receive - received, transmit - sent))
        before |= after
    return found


async def _firsts(
    connection: Connection, org_id: int, day: date, peers: Sequence[int] | None
) -> dict[int, tuple[int, int]]:
    """peer_id → its first totals in a day."""
    start = start_of(day)
    compacted = await any_compacted(connection, org_id, day, day)
    scope = start, start + DAY, peers, day, start + FIRST, compacted
    rows = await fetch(connection, Total, FIRSTS, org_id, *scope)
    return {peer_id: (receive, transmit) for peer_id, receive, transmit in rows if receive is not None}
