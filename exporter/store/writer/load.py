"""The mirror as the database has it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from exporter.store.database.connection import Connection, scope
from exporter.store.snapshot.frame import PeerConfig
from exporter.store.storable import storable
from exporter.store.writer.mirror import Interface, InterfaceConfig, Member, Mirror, Place

CHUNK = 5000  # peers to a fetch: between two the event loop goes on

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
_STATES = """
insert into argus.peer_state (org_id, peer_id, interface_id, taken_at, receive_counter, transmit_counter,
                              receive_total, transmit_total, clearance)
select p.org_id, p.peer_id, p.interface_id, p.first_seen, 0, 0, 0, 0, p.clearance
from argus.peer p
where p.org_id = $1 and p.interface_id = any($2)
  and not exists (select from argus.peer_state s where s.org_id = p.org_id and s.peer_id = p.peer_id)"""
_PEERS = """
select p.interface_id, p.public_key, p.removed_at is null as present,
       p.removed_at = i.removed_at as has_left, s.clearance, s.peer_id,
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
    connection: Connection, gateway: str, names: Iterable[str], installation: UUID, clearance: int
) -> Mirror:
    """The mirror of a gateway, in the organisations of these names; those that are new are made.

    A peer whose state somebody deleted begins anew. Raises what the driver does.
    """
    mirror = Mirror(gateway)
    for name in sorted(names):
        org_id = await connection.fetchval(_ORGANISATION, name)
        member = mirror.members[name] = Member(name, org_id, clearance)
        async with scope(connection, org_id):
            await _load_member(connection, mirror, member, installation)
    return mirror


async def _load_member(connection: Connection, mirror: Mirror, member: Member, installation: UUID) -> None:
    gateway = await connection.fetchrow(_GATEWAY, member.org_id, storable(mirror.gateway))
    if gateway is None:
        return
    member.gateway_id, member.clearance = gateway["gateway_id"], gateway["clearance"]
    member.reclassified = gateway["reclassified"]
    member.holder = "" if gateway["holder"] == installation else gateway["held_by"]
    places = {}
    for row in await connection.fetch(_INTERFACES, member.org_id, member.gateway_id):
        place = places[row["interface_id"]] = _place(member, row)
        interface = mirror.interfaces.setdefault(place.label, Interface())
        interface.places[member.organisation] = place
    await connection.execute(_STATES, member.org_id, list(places))
    async for row in connection.cursor(_PEERS, member.org_id, list(places), prefetch=CHUNK):
        _add_peer(mirror, places[row["interface_id"]], row)


def _place(member: Member, row: Any) -> Place:
    return Place(
        label=row["name"],
        member=member,
        clearance=row["clearance"],
        instance=row["instance"],
        seen=row["seen"],
        interface_id=row["interface_id"],
        removed=row["removed"],
        config=None
        if row["kind"] is None
        else InterfaceConfig(row["kind"], row["public_key"], row["listen_port"], row["fwmark"]),
        gap=row["gap"] or 0.0,
    )


def _add_peer(mirror: Mirror, place: Place, row: Any) -> None:
    _, key, present, has_left, clearance = row[:5]
    endpoint, allowed_ips, keepalive, preshared, config_clearance, *names, first_seen = row[11:]
    config = None
    if present and endpoint is not None:
        told = endpoint, tuple(allowed_ips), keepalive, preshared
        config = PeerConfig(*told, place.member.organisation, config_clearance, *names)
    number = mirror.peers.add(place, key, clearance, config, row[5:11], first_seen)
    if has_left:
        place.left.add(number)
    if present:
        place.present += 1
        _enter(mirror, place, key, number)


def _enter(mirror: Mirror, place: Place, key: str, number: int) -> None:
    """Who moved to another organisation while the daemon did not run is still in both."""
    present = mirror.interfaces[place.label].present
    other = present.setdefault(key, number)
    if other != number:
        stray, present[key] = sorted((other, number), key=lambda row: mirror.peers.place[row].seen)
        mirror.strays.append(stray)
