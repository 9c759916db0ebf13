-- What is asked often. Views run with the rights of who asks (security_invoker): row security stays in force.

-- A peer's samples, raw days and compacted ones alike.
create view argus.peer_history with (security_invoker = true) as
select org_id, peer_id, taken_at, receive_total, transmit_total,
       date_trunc('second', taken_at) - make_interval(secs => handshake_age) as last_handshake,
       active, clearance
from argus.sample
union all
select d.org_id, d.peer_id, s.taken_at, d.receive_first + s.receive, d.transmit_first + s.transmit,
       date_trunc('second', s.taken_at) - make_interval(secs => s.handshake_age),
       s.active, d.clearance
from argus.sample_day d,
     lateral (select d.day::timestamp at time zone 'UTC' + u.at * interval '1 millisecond' as taken_at,
                     u.receive, u.transmit, u.handshake_age, u.active
              from unnest(d.at, d.receive, d.transmit, d.handshake_age, d.active)
                   as u (at, receive, transmit, handshake_age, active)) s;

-- Every peer as it was last seen.
create view argus.peer_latest with (security_invoker = true) as
select p.org_id, p.peer_id, g.name as gateway, i.name as interface, p.public_key,
       c.name, c.site, c.owner, c.endpoint, c.allowed_ips, c.persistent_keepalive, c.has_preshared_key,
       s.last_handshake, s.receive_total, s.transmit_total, s.taken_at as changed_at,
       p.first_seen, coalesce(p.removed_at, i.removed_at, i.seen_until) as last_seen,
       p.removed_at is not null or i.removed_at is not null as removed, s.clearance
from argus.peer_state s
join argus.peer p on p.org_id = s.org_id and p.peer_id = s.peer_id
join argus.interface i on i.org_id = p.org_id and i.interface_id = p.interface_id
join argus.gateway g on g.org_id = i.org_id and g.gateway_id = i.gateway_id
left join argus.peer_config c on c.org_id = p.org_id and c.peer_id = p.peer_id and c.valid_to is null;

-- First and last seen of every public key, a peer's or an interface's own.
create view argus.key_seen with (security_invoker = true) as
select p.org_id, p.public_key, 'peer' as role, p.interface_id, p.first_seen,
       coalesce(p.removed_at, i.seen_until) as last_seen
from argus.peer p
join argus.interface i on i.org_id = p.org_id and i.interface_id = p.interface_id
union all
select c.org_id, c.public_key, 'interface', c.interface_id, min(c.valid_from),
       max(coalesce(c.valid_to, i.seen_until))
from argus.interface_config c
join argus.interface i on i.org_id = c.org_id and i.interface_id = c.interface_id
where c.public_key <> ''
group by c.org_id, c.public_key, c.interface_id;

grant select on argus.peer_history, argus.peer_latest, argus.key_seen to argus_reader;
