"""Loads a mirror from the database."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from exporter.store.database.connection import Connection, scope
from exporter.store.snapshot.frame import PeerConfig
from exporter.store.storable import storable
from exporter.store.writer.mirror import GatewayRow, Interface, InterfaceConfig, InterfaceRow, Mirror

CHUNK = 5000  # peers per fetch; the event loop runs between two fetches

_ORGANISATION = "select argus.organisation_id($1)"
_GATEWAY = """
select gateway_id, clearance, reclassified, holder, held_by from argus.gateway
where org_id = $1 and name = $2"""
_INTERFACES = """
select i.interface_id, i.name, i.clearance, i.instance, extract(epoch from i.seen_until)::float8 as seen,
       i.removed_at is not null as removed, c.kind, c.public_key, c.listen_port, c.fwmark,
       extract(epoch from g.started_at)::float8 as gap
from argus.interface i
left join argus.interface_config c
    on c.org_id = i.org_id and c.interface_id = i.interface_id and c.valid_to is null
left join argus.gap g on g.org_id = i.org_id and g.interface_id = i.interface_id and g.ended_at is null
where i.org_id = $1 and i.gateway_id = $2"""
# A peer whose state was deleted by hand gets a new one, with totals of zero.
_STATES = """
insert into argus.peer_state (org_id, peer_id, interface_id, taken_at, receive_counter, transmit_counter,
                              receive_total, transmit_total, clearance)
select p.org_id, p.peer_id, p.interface_id, p.first_seen, 0, 0, 0, 0, p.clearance
from argus.peer p
where p.org_id = $1 and p.interface_id = any($2)
  and not exists (select from argus.peer_state s where s.org_id = p.org_id and s.peer_id = p.peer_id)"""
_PEERS = """
select p.interface_id, p.public_key, p.removed_at is null as present,
       p.removed_at = i.removed_at as removed_with_it, s.clearance, s.peer_id,
       coalesce(extract(epoch from s.last_handshake)::bigint, 0) as handshake, s.receive_counter,
       s.transmit_counter, s.receive_total, s.transmit_total, c.endpoint, c.allowed_ips,
       c.persistent_keepalive, c.has_preshared_key, c.clearance as config_clearance, c.name, c.site, c.owner,
       extract(epoch from p.first_seen)::bigint as first_seen
from argus.peer p
join argus.interface i on i.org_id = p.org_id and i.interface_id = p.interface_id
join argus.peer_state s on s.org_id = p.org_id and s.peer_id = p.peer_id
left join argus.peer_config c on c.org_id = p.org_id and c.peer_id = p.peer_id and c.valid_to is null
where p.org_id = $1 and p.interface_id = any($2)"""


async def load(
    connection: Connection, gateway: str, organisations: Iterable[str], installation: UUID, clearance: int
) -> Mirror:
    """Loads the mirror of a gateway in the named organisations. Organisations that do not exist are created.

    `installation` is the identity of this state directory, `clearance` that of a gateway without a row.
    Raises the driver's errors.
    """
    mirror = Mirror(gateway)
    for name in sorted(organisations):
        org_id = await connection.fetchval(_ORGANISATION, name)
        row = mirror.gateways[name] = GatewayRow(name, org_id, clearance)
        async with scope(connection, org_id):
            await _load_organisation(connection, mirror, row, installation)
    return mirror


async def _load_organisation(
    connection: Connection, mirror: Mirror, gateway: GatewayRow, installation: UUID
) -> None:
    found = await connection.fetchrow(_GATEWAY, gateway.org_id, storable(mirror.gateway))
    if found is None:
        return
    gateway.gateway_id, gateway.clearance = found["gateway_id"], found["clearance"]
    gateway.reclassified = found["reclassified"]
    gateway.previous_holder = "" if found["holder"] == installation else found["held_by"]
    rows = {}
    for record in await connection.fetch(_INTERFACES, gateway.org_id, gateway.gateway_id):
        row = rows[record["interface_id"]] = _interface_row(gateway, record)
        mirror.interfaces.setdefault(row.label, Interface()).rows[gateway.organisation] = row
    await connection.execute(_STATES, gateway.org_id, list(rows))
    async for record in connection.cursor(_PEERS, gateway.org_id, list(rows), prefetch=CHUNK):
        _add_peer(mirror, rows[record["interface_id"]], record)


def _interface_row(gateway: GatewayRow, record: Any) -> InterfaceRow:
    config = None
    if record["kind"] is not None:
        config = InterfaceConfig(
            record["kind"], record["public_key"], record["listen_port"], record["fwmark"]
        )
    return InterfaceRow(
        label=record["name"],
        gateway=gateway,
        clearance=record["clearance"],
        instance=record["instance"],
        read_at=record["seen"],
        interface_id=record["interface_id"],
        removed=record["removed"],
        config=config,
        gap_start=record["gap"] or 0.0,
    )


def _add_peer(mirror: Mirror, row: InterfaceRow, record: Any) -> None:
    """`record` is a row of `_PEERS`; its columns are taken by position, which is faster than by name."""
    _, key, present, removed_with_it, clearance = record[:5]
    endpoint, allowed_ips, keepalive, preshared, config_clearance, *names, first_seen = record[11:]
    config = None
    if present and endpoint is not None:
        network = endpoint, tuple(allowed_ips), keepalive, preshared
        config = PeerConfig(*network, row.gateway.organisation, config_clearance, *names)
    index = mirror.peers.add(row, key, clearance, config, record[5:11], first_seen)
    if removed_with_it:
        row.removed_with_it.add(index)
    if present:
        row.present += 1
        _mark_present(mirror, row, key, index)


def _mark_present(mirror: Mirror, row: InterfaceRow, key: str, index: int) -> None:
    """A peer that is present in two organisations belongs to the one whose row was read last."""
    present = mirror.interfaces[row.label].present
    other = present.setdefault(key, index)
    if other != index:
        duplicate, present[key] = sorted(
            (other, index), key=lambda each: mirror.peers.interface[each].read_at
        )
        mirror.duplicates.append(duplicate)
