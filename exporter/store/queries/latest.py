"""The last known state of peers."""

from __future__ import annotations

from exporter.store.database.connection import Connection
from exporter.store.queries.answers import AnswerRow, fetch

LATEST = """
select s.peer_id, g.name as gateway, i.name as interface, p.public_key,
       date_part('epoch', s.last_handshake) as last_handshake, s.receive_total, s.transmit_total,
       date_part('epoch', s.taken_at) as changed_at,
       p.removed_at is not null or i.removed_at is not null as removed
from argus.peer_state s
join argus.peer p on p.org_id = s.org_id and p.peer_id = s.peer_id
join argus.interface i on i.org_id = p.org_id and i.interface_id = p.interface_id
join argus.gateway g on g.org_id = i.org_id and g.gateway_id = i.gateway_id
where s.org_id = $1 and ($2::text is null or g.name = $2) and ($3::text is null or i.name = $3)
"""


class Latest(AnswerRow):
    peer_id: int
    gateway: str
    interface: str
    public_key: str
    last_handshake: float | None  # None = never
    receive_total: int
    transmit_total: int
    changed_at: float
    removed: bool


async def latest(
    connection: Connection, org_id: int, gateway: str | None = None, interface: str | None = None
) -> list[Latest]:
    """The last known state of all peers, of those of a gateway, or of an interface; in no order."""
    return await fetch(connection, Latest, LATEST, org_id, gateway, interface)
