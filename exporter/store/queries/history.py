"""The samples of a peer."""

from __future__ import annotations

from exporter.instants import DAY
from exporter.instants import instant as as_instant
from exporter.store.database.connection import Connection
from exporter.store.queries.answers import AnswerRow

# $1: org_id; $2: the peer; $3, $4: the range; $5, $6: its days; $7: at most so many rows.
HISTORY = """
select date_part('epoch', h.taken_at) as taken_at, h.receive_total, h.transmit_total,
       date_part('epoch', h.last_handshake) as last_handshake, h.active
from (
    (select taken_at, receive_total, transmit_total,
            date_trunc('second', taken_at) - handshake_age * interval '1 second' as last_handshake, active
        from argus.sample
        where org_id = $1 and peer_id = $2 and taken_at > $3 and taken_at <= $4
        order by taken_at limit $7)
    union all
    (select c.start + u.at * interval '1 millisecond', d.receive_first + coalesce(u.receive, u.receive_wide),
            d.transmit_first + coalesce(u.transmit, u.transmit_wide),
            c.start + u.handshake * interval '1 second', u.at <> all (d.idle)
        from argus.sample_day d,
             lateral (select d.day::timestamp at time zone 'UTC' as start offset 0) c,
             unnest(d.at, d.receive, d.transmit, d.receive_wide, d.transmit_wide, d.handshake)
                 as u (at, receive, transmit, receive_wide, transmit_wide, handshake)
        where d.org_id = $1 and d.peer_id = $2 and d.day between $5 and $6
          and c.start + u.at * interval '1 millisecond' > $3
          and c.start + u.at * interval '1 millisecond' <= $4)) h
order by h.taken_at limit $7
"""


class Sample(AnswerRow):
    taken_at: float
    receive_total: int
    transmit_total: int
    last_handshake: float | None
    active: bool


async def history(
    connection: Connection, org_id: int, peer_id: int, start: float, end: float, limit: int = 10_000
) -> list[Sample]:
    """The samples of a peer in a range, oldest first, at most `limit`.

    If `limit` samples are returned, continue with `start` = `taken_at` of the last one. The range is read in
    pieces, each twice as long as the previous one, so that no day far beyond the limit is unpacked.
    """
    low, stop, piece = as_instant(start), as_instant(end), DAY
    found: list[Sample] = []
    while low < stop and len(found) < limit:
        high = min(low + piece, stop)
        scope = low, high, low.date(), high.date(), limit - len(found)
        found += await connection.fetch(HISTORY, org_id, peer_id, *scope, record_class=Sample)
        low, piece = high, piece * 2
    return found
