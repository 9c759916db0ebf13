"""How peers and interfaces were configured over time."""

from __future__ import annotations

from exporter.store.database.connection import Connection
from exporter.store.queries.answers import AnswerRow, fetch

PEER_CONFIGS = """
select date_part('epoch', valid_from) as valid_from, date_part('epoch', valid_to) as valid_to, endpoint,
       allowed_ips, persistent_keepalive, has_preshared_key, name, site, owner
from argus.peer_config where org_id = $1 and peer_id = $2 order by peer_config.valid_from
"""
INTERFACE_CONFIGS = """
select date_part('epoch', c.valid_from) as valid_from, date_part('epoch', c.valid_to) as valid_to, c.kind,
       c.public_key, c.listen_port, c.fwmark
from argus.interface_config c
join argus.interface i on i.org_id = c.org_id and i.interface_id = c.interface_id
join argus.gateway g on g.org_id = i.org_id and g.gateway_id = i.gateway_id
where c.org_id = $1 and g.name = $2 and i.name = $3 order by c.valid_from
"""


class PeerConfigRow(AnswerRow):
    valid_from: float
    valid_to: float | None  # None = still valid
    endpoint: str
    allowed_ips: list[str]
    persistent_keepalive: int
    has_preshared_key: bool
    name: str
    site: str
    owner: str


class InterfaceConfigRow(AnswerRow):
    valid_from: float
    valid_to: float | None
    kind: str
    public_key: str
    listen_port: int
    fwmark: int


async def peer_configs(connection: Connection, org_id: int, peer_id: int) -> list[PeerConfigRow]:
    """The configurations of a peer, oldest first."""
    return await fetch(connection, PeerConfigRow, PEER_CONFIGS, org_id, peer_id)


async def interface_configs(
    connection: Connection, org_id: int, gateway: str, interface: str
) -> list[InterfaceConfigRow]:
    """The configurations of an interface, oldest first."""
    return await fetch(connection, InterfaceConfigRow, INTERFACE_CONFIGS, org_id, gateway, interface)
