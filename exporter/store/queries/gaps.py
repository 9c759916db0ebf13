"""The times of which nothing is known."""

from __future__ import annotations

from exporter.instants import instant as as_instant
from exporter.store.database.connection import Connection
from exporter.store.queries.answers import AnswerRow, fetch

GAPS = """
select g.name as gateway, i.name as interface, date_part('epoch', x.started_at) as started_at,
       date_part('epoch', x.ended_at) as ended_at, x.reason, x.snapshots
from argus.gap x
join argus.gateway g on g.org_id = x.org_id and g.gateway_id = x.gateway_id
left join argus.interface i on i.org_id = x.org_id and i.interface_id = x.interface_id
where x.org_id = $1 and x.started_at < $3 and (x.ended_at > $2 or x.ended_at is null)
  and ($4::text is null or g.name = $4)
order by x.started_at, x.gap_id
"""


class Gap(AnswerRow):
    gateway: str
    interface: str | None  # None = the whole gateway
    started_at: float
    ended_at: float | None  # None = the gap is still open
    reason: str
    snapshots: int


async def gaps(
    connection: Connection, org_id: int, start: float, end: float, gateway: str | None = None
) -> list[Gap]:
    """The gaps that overlap a range, of all gateways or of one, ordered by their start."""
    return await fetch(connection, Gap, GAPS, org_id, as_instant(start), as_instant(end), gateway)
