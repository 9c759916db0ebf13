-- Views for frequent questions. They run with the rights of the caller (security_invoker), so row security applies.

-- Samples are stored in the order of time, so a BRIN index of a few kilobytes per day finds those of some minutes.
create index sample_time on argus.sample using brin (org_id, taken_at) with (pages_per_range = 16, autosummarize = on);

-- The samples of a peer, of raw and of compacted days.
create view argus.peer_history with (security_invoker = true) as
select org_id, peer_id, taken_at, receive_total, transmit_total,
       date_trunc('second', taken_at) - handshake_age * interval '1 second' as last_handshake,
       active, clearance
from argus.sample
union all
select d.org_id, d.peer_id, d.day::timestamp at time zone 'UTC' + u.at * interval '1 millisecond',
       d.receive_first + coalesce(u.receive, u.receive_wide),
       d.transmit_first + coalesce(u.transmit, u.transmit_wide),
       d.day::timestamp at time zone 'UTC' + u.handshake * interval '1 second',
       u.at <> all (d.idle), d.clearance
from argus.sample_day d,
     unnest(d.at, d.receive, d.transmit, d.receive_wide, d.transmit_wide, d.handshake)
         as u (at, receive, transmit, receive_wide, transmit_wide, handshake);

-- The last known state and configuration of every peer.
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

-- When every public key was first and last seen, as a peer's or as an interface's own.
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
