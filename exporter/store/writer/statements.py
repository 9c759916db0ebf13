"""The SQL of the writer.

The statements keep to what Citus executes on one shard: the first parameter is always org_id, rows are passed
as arrays to unnest, and only immutable functions are applied to columns (to_timestamp of a number is
immutable; extract and arithmetic with intervals are not).

Columns of numbers are passed as the text of an array. The driver needs 0.3 µs to encode one number; repr of a
list plus parsing by the server needs 0.2 µs. Arrays in `= any(...)` are passed as arrays: the server would
parse the text again for each row it compares.
"""

from __future__ import annotations

# $1 is org_id, except in NUMBERS and PARTITIONS. Where $2 is a time, it is the instant of the snapshot.

NUMBERS = "select nextval('argus.peer_number')::integer from generate_series(1, $1)"
PARTITIONS = "select argus.ensure_partitions($1, 1)"
RECORDED = """
select true from argus.snapshot
where org_id = $1 and taken_at = $2 and gateway_id = $3 and run = $4 and sequence = $5"""
SNAPSHOT_INSERT = """
insert into argus.snapshot
    (org_id, taken_at, gateway_id, run, sequence, interfaces, peers, changed, unread, clearance)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict do nothing returning true"""

# The gateway. held_at is by the server's clock: the clocks of two hosts may differ. The claim updates no row
# while another installation holds the name and wrote in the last ten minutes.
GATEWAY_INSERT = """
insert into argus.gateway (org_id, first_seen, seen_until, name, clearance, holder, held_by, held_at)
values ($1, $2, $2, $3, $4, $5, $6, now()) on conflict (org_id, name) do nothing returning gateway_id"""
GATEWAY_CLAIM = """
update argus.gateway
set seen_until = $2, clearance = greatest(clearance, $4), holder = $5, held_by = $6, held_at = now()
where org_id = $1 and gateway_id = $3 and (holder = $5 or held_at < now() - interval '10 minutes')
returning clearance, reclassified"""
GATEWAY_HOLDER = "select held_by, held_at from argus.gateway where org_id = $1 and gateway_id = $2"

# Interfaces
INTERFACE_INSERT = """
insert into argus.interface (org_id, first_seen, seen_until, gateway_id, name, clearance, instance)
values ($1, $2, $2, $3, $4, $5, $6) returning interface_id"""
INTERFACE_SEEN = """
update argus.interface set seen_until = $2 where org_id = $1 and interface_id = any($3)
returning interface_id, clearance"""
INTERFACE_CHANGE = """
update argus.interface set instance = $3, removed_at = null where org_id = $1 and interface_id = $2"""
# A clearance is raised, never lowered: an administrator may have raised the row further.
INTERFACE_RAISE = """
update argus.interface set clearance = greatest(clearance, $2) where org_id = $1 and interface_id = $3"""
INTERFACE_REMOVE = "update argus.interface set removed_at = $2 where org_id = $1 and interface_id = any($3)"
INTERFACE_CONFIG_RAISE = """
update argus.interface_config set clearance = greatest(clearance, $2)
where org_id = $1 and interface_id = $3 and valid_to is null"""
INTERFACE_CONFIG_CLOSE = """
update argus.interface_config set valid_to = $2
where org_id = $1 and interface_id = any($3) and valid_to is null"""
INTERFACE_CONFIG_INSERT = """
insert into argus.interface_config
    (org_id, valid_from, interface_id, kind, public_key, listen_port, fwmark, clearance)
values ($1, $2, $3, $4, $5, $6, $7, $8)"""

# Peers
PEER_INSERT = """
insert into argus.peer (org_id, first_seen, peer_id, interface_id, public_key, clearance)
select $1, $2, p, i, k, c
from unnest($3::text::integer[], $4::text::bigint[], $5::text[], $6::text::smallint[]) u (p, i, k, c)"""
PEER_RETURN = """
update argus.peer set removed_at = null where org_id = $1 and peer_id = any($2::integer[])"""
PEER_REMOVE = """
update argus.peer set removed_at = $2 where org_id = $1 and peer_id = any($3::integer[])"""
_RAISE_PEERS = "set clearance = greatest(clearance, $2) where org_id = $1 and peer_id = any($3::integer[])"
PEER_RAISE = (
    f"update argus.peer {_RAISE_PEERS}",
    f"update argus.peer_state {_RAISE_PEERS}",
    f"update argus.peer_config {_RAISE_PEERS} and valid_to is null",
)
CONFIG_CLOSE = """
update argus.peer_config set valid_to = $2
where org_id = $1 and peer_id = any($3::integer[]) and valid_to is null"""
CONFIG_INSERT = """
insert into argus.peer_config (org_id, valid_from, peer_id, endpoint, allowed_ips, persistent_keepalive,
                               has_preshared_key, name, site, owner, clearance)
select $1, $2, p, endpoint, string_to_array(allowed, ','), keepalive, preshared, name, site, owner, clearance
from unnest($3::text::integer[], $4::text[], $5::text[], $6::text::integer[], $7::boolean[], $8::text[],
            $9::text[], $10::text[], $11::text::smallint[])
     u (p, endpoint, allowed, keepalive, preshared, name, site, owner, clearance)"""

# $3 is the clearance that the mirror has: if another session changed a row's, fewer rows are updated than
# sent, and the writer loads the mirror again. greatest: readers rely on no sample of a peer being later than
# its state, also after the clock was set back. $10 and $11 are the smallest and the largest of $4: with them
# the planner reads a range of the index, and not all states of the organisation for each chunk.
STATE_UPDATE = """
update argus.peer_state s
set taken_at = greatest(s.taken_at, $2), last_handshake = to_timestamp(nullif(h, 0)),
    receive_counter = r, transmit_counter = t, receive_total = rt, transmit_total = tt
from unnest($4::text::integer[], $5::text::bigint[], $6::text::bigint[], $7::text::bigint[],
            $8::text::bigint[], $9::text::bigint[]) u (p, h, rt, tt, r, t)
where s.org_id = $1 and s.peer_id = p and s.peer_id between $10 and $11 and s.clearance = $3"""
STATE_INSERT = """
insert into argus.peer_state (org_id, taken_at, clearance, peer_id, last_handshake, receive_total,
                              transmit_total, receive_counter, transmit_counter, interface_id)
select $1, $2, $3, p, to_timestamp(nullif(h, 0)), rt, tt, r, t, i
from unnest($4::text::integer[], $5::text::bigint[], $6::text::bigint[], $7::text::bigint[],
            $8::text::bigint[], $9::text::bigint[], $10::text::bigint[]) u (p, h, rt, tt, r, t, i)"""
STATE_COUNT = """
select count(*) from argus.peer_state
where org_id = $1 and clearance = $2 and peer_id = any($3::integer[])"""
# $8 is `active`, $9 the instant of the snapshot in whole seconds.
SAMPLE_INSERT = """
insert into argus.sample as s
    (org_id, taken_at, clearance, peer_id, receive_total, transmit_total, handshake_age, active)
select $1, $2, $3, p, rt, tt,
       case when h <> 0 then greatest(least($9::bigint - h, 2147483647), -2147483648)::integer end, $8
from unnest($4::text::integer[], $5::text::bigint[], $6::text::bigint[], $7::text::bigint[])
     u (p, h, rt, tt)"""
# Appended after the clock was set back by days, when a snapshot has the same instant as an older one.
SAMPLE_MERGE = """
on conflict (org_id, peer_id, taken_at) do update
set receive_total = greatest(s.receive_total, excluded.receive_total),
    transmit_total = greatest(s.transmit_total, excluded.transmit_total),
    handshake_age = excluded.handshake_age, active = s.active or excluded.active,
    clearance = greatest(s.clearance, excluded.clearance)"""

# Gaps and audit
GAP_INSERT = """
insert into argus.gap (org_id, gateway_id, interface_id, started_at, ended_at, reason, snapshots, clearance)
values ($1, $2, $3, $4, $5, $6, $7, $8)"""
GAP_SNAPSHOTS = """
select count(*) from argus.snapshot
where org_id = $1 and gateway_id = $2 and taken_at > $3 and taken_at < $4"""
GAP_CLOSE = """
update argus.gap set ended_at = $2, snapshots = $4
where org_id = $1 and interface_id = $3 and ended_at is null"""
AUDIT = """
insert into argus.audit_event (org_id, actor, action, subject, detail, clearance)
values ($1, $2, $3, $4, $5::text::jsonb, $6)"""
