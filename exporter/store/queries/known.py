"""The peers with their present configuration."""

from __future__ import annotations

from exporter.store.database.connection import Connection
from exporter.store.queries.answers import AnswerRow, fetch

KNOWN = """
select peer_id, gateway, interface, public_key, name, site, owner, endpoint, allowed_ips,
       persistent_keepalive, has_preshared_key, date_part('epoch', first_seen) as first_seen,
       date_part('epoch', last_seen) as last_seen, removed, clearance
from argus.peer_latest
where org_id = $1 and ($2::text is null or gateway = $2) and ($3::text is null or interface = $3)
"""


class Known(AnswerRow):
    """A peer with its present configuration, whose fields are None if the peer was removed."""

    peer_id: int
    gateway: str
    interface: str
    public_key: str
    name: str | None
    site: str | None
    owner: str | None
    endpoint: str | None
    allowed_ips: list[str] | None
    persistent_keepalive: int | None
    has_preshared_key: bool | None
    first_seen: float
    last_seen: float
    removed: bool
    clearance: int


async def known(
    connection: Connection, org_id: int, gateway: str | None = None, interface: str | None = None
) -> list[Known]:
    """All peers, also removed ones; in no order."""
    return await fetch(connection, Known, KNOWN, org_id, gateway, interface)
