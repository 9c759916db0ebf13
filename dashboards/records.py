"""SQL queries of panels. Row-level security in PostgreSQL decides which rows they can read."""

from __future__ import annotations

PEER = "gateway in (${gateway:sqlstring}) and public_key in (${peer:sqlstring})"

# The last total of each day minus that of the previous day. For the first day, minus its own first total.
VOLUME_PER_DAY = f"""
select day as time, sum(received) as received, sum(sent) as sent
from (
  select peer_id, date_trunc('day', taken_at, 'UTC') as day,
    max(receive_total) - coalesce(lag(max(receive_total)) over days, min(receive_total)) as received,
    max(transmit_total) - coalesce(lag(max(transmit_total)) over days, min(transmit_total)) as sent
  from argus.peer_history
  where $__timeFilter(taken_at) and peer_id in (select peer_id from argus.peer_latest where {PEER})
  group by peer_id, date_trunc('day', taken_at, 'UTC')
  window days as (partition by peer_id order by date_trunc('day', taken_at, 'UTC'))
) daily
group by day order by day"""

CONFIGURATIONS = f"""
select c.valid_from, c.valid_to, c.endpoint, array_to_string(c.allowed_ips, ', ') as allowed_ips,
  c.persistent_keepalive, c.has_preshared_key
from argus.peer_config c
join argus.peer_latest p using (org_id, peer_id)
where c.valid_from <= $__timeTo() and coalesce(c.valid_to, 'infinity') >= $__timeFrom() and {PEER}
order by c.valid_from desc limit 200"""

# All keys that peers with this name had. A newer key of the same name is a key rotation.
KEYS_OF_NAME = f"""
select name, public_key, gateway, interface, first_seen, last_seen, removed
from argus.peer_latest
where name <> '' and name in (select name from argus.peer_latest where {PEER})
order by first_seen desc limit 200"""

GATEWAYS = "gateway in (${gateway:sqlstring})"

INTERFACE_KEY_AGES = """
select g.name as gateway, i.name as interface, extract(epoch from now() - k.first_seen) as age, k.public_key
from argus.key_seen k
join argus.interface i using (org_id, interface_id)
join argus.gateway g using (org_id, gateway_id)
where k.role = 'interface' and i.removed_at is null and k.last_seen >= i.seen_until
  and g.name in (${gateway:sqlstring})
order by k.first_seen limit 200"""

WITHOUT_PRESHARED_KEY = f"""
select name, site, gateway, interface, public_key
from argus.peer_latest where not removed and not has_preshared_key and {GATEWAYS}
order by name limit 200"""


def changes(before: str, after: str) -> str:
    """Changes of a peer's configuration from the previous one, `o`, to the next one, `c`."""
    return f"""
select c.valid_from as time, p.name, p.gateway, p.interface, {before} as before, {after} as after,
  p.public_key
from argus.peer_config c
join argus.peer_config o on (o.org_id, o.peer_id, o.valid_to) = (c.org_id, c.peer_id, c.valid_from)
join argus.peer_latest p on (p.org_id, p.peer_id) = (c.org_id, c.peer_id)
where $__timeFilter(c.valid_from) and {before} <> {after} and {GATEWAYS}
order by c.valid_from desc limit 200"""


ALLOWED_IP_CHANGES = changes("array_to_string(o.allowed_ips, ', ')", "array_to_string(c.allowed_ips, ', ')")
ENDPOINT_CHANGES = changes("o.endpoint", "c.endpoint")

ADDED_AND_REMOVED = f"""
select time, happened, name, site, gateway, interface, public_key
from argus.peer_latest,
lateral (values (first_seen, 'new'), (case when removed then last_seen end, 'removed')) event (time, happened)
where $__timeFilter(time) and {GATEWAYS}
order by time desc limit 200"""
