"""Where a public key was seen."""

from __future__ import annotations

from exporter.store.database.connection import Connection
from exporter.store.queries.answers import AnswerRow, fetch

KEY_SEEN = """
select k.role, g.name as gateway, i.name as interface, date_part('epoch', k.first_seen) as first_seen,
       date_part('epoch', k.last_seen) as last_seen
from argus.key_seen k
join argus.interface i on i.org_id = k.org_id and i.interface_id = k.interface_id
join argus.gateway g on g.org_id = i.org_id and g.gateway_id = i.gateway_id
where k.org_id = $1 and k.public_key = $2 order by k.first_seen, i.interface_id
"""


class KeySeen(AnswerRow):
    role: str  # "peer", or "interface" for its own key
    gateway: str
    interface: str
    first_seen: float
    last_seen: float


async def key_seen(connection: Connection, org_id: int, public_key: str) -> list[KeySeen]:
    """Where a public key was seen, first and last: as a peer's, or as an interface's own."""
    return await fetch(connection, KeySeen, KEY_SEEN, org_id, public_key)
