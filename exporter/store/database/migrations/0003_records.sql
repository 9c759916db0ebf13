-- Snapshots, samples, gaps and audit events. Snapshots and samples are partitioned by day (UTC).

-- One row per recorded snapshot. Its identity is (gateway, run, sequence), which determines taken_at.
create table argus.snapshot (
    org_id      integer     not null,
    gateway_id  bigint      not null,
    taken_at    timestamptz not null,
    run         uuid        not null,  -- of the daemon: new at each start
    sequence    bigint      not null,  -- within the run, from 1
    recorded_at timestamptz not null default clock_timestamp(),
    interfaces  integer     not null,
    peers       integer     not null,
    changed     integer     not null,  -- peers with an active sample
    unread      integer     not null,  -- interfaces that could not be read
    clearance   smallint    not null check (clearance >= 0),
    primary key (org_id, gateway_id, taken_at, run, sequence)
) partition by range (taken_at);

-- The totals of a peer at an instant, written when they changed. The first sample of each day is also written without
-- a change (active = false), so that the partition of a day can be read without earlier ones. Rows are 64 bytes long
-- with the columns in this order.
create table argus.sample (
    org_id         integer     not null,
    peer_id        integer     not null,
    taken_at       timestamptz not null,  -- whole milliseconds
    receive_total  bigint      not null,
    transmit_total bigint      not null,
    handshake_age  integer,               -- seconds from the last handshake to taken_at, each truncated to seconds; null: never
    clearance      smallint    not null check (clearance >= 0),
    active         boolean     not null,  -- counters or handshake changed since the peer's previous sample
    primary key (org_id, peer_id, taken_at)
) partition by range (taken_at);

-- A compacted day, one row per peer: its samples as arrays, in the order of time. Totals that grew by less than 2 GiB
-- on the day, which are nearly all, take four bytes per sample in `receive` and `transmit`; others are in the _wide
-- column, and then the narrow column is null.
create table argus.sample_day (
    org_id         integer   not null,
    peer_id        integer   not null,
    day            date      not null,
    clearance      smallint  not null check (clearance >= 0),  -- the highest of the samples
    receive_first  bigint    not null,
    transmit_first bigint    not null,
    receive_last   bigint    not null,
    transmit_last  bigint    not null,
    at             integer[] not null,  -- milliseconds since the start of the day
    receive        integer[],           -- minus receive_first
    transmit       integer[],           -- minus transmit_first
    receive_wide   bigint[],
    transmit_wide  bigint[],
    handshake      integer[] not null,  -- the last handshake: seconds since the start of the day; null: never
    idle           integer[] not null,  -- the values of `at` whose sample is not active
    check ((receive is null) <> (receive_wide is null)),
    check ((transmit is null) <> (transmit_wide is null)),
    primary key (org_id, peer_id, day)
) partition by range (day);

do $$
declare
    col text;
begin
    if 'lz4' = any (array(select unnest(enumvals) from pg_settings where name = 'default_toast_compression')) then
        foreach col in array '{at,receive,transmit,receive_wide,transmit_wide,handshake}'::text[] loop
            execute format('alter table argus.sample_day alter column %I set compression lz4', col);
        end loop;
    end if;
end
$$;

create table argus.snapshot_default partition of argus.snapshot default;
create table argus.sample_default partition of argus.sample default;
create table argus.sample_day_default partition of argus.sample_day default;

-- A time of which nothing is known, and the reason: a peer that was not observed was neither up nor down.
create table argus.gap (
    org_id       integer     not null,
    gap_id       bigint      not null generated always as identity,
    gateway_id   bigint      not null,
    interface_id bigint,                -- null: the whole gateway
    started_at   timestamptz not null,  -- the last known instant before the gap
    ended_at     timestamptz,           -- the first known instant after it; null: it is still open
    reason       text        not null,  -- see docs/storage.md
    snapshots    bigint      not null,  -- the number of missing snapshots
    clearance    smallint    not null check (clearance >= 0),
    primary key (org_id, gap_id),
    foreign key (org_id, gateway_id) references argus.gateway (org_id, gateway_id),
    foreign key (org_id, interface_id) references argus.interface (org_id, interface_id)
);
create index gap_time on argus.gap (org_id, gateway_id, started_at);
create unique index gap_open on argus.gap (org_id, interface_id) where ended_at is null;

-- Audit events: actions and who performed them. No role can change or delete a row.
create table argus.audit_event (
    org_id    integer     not null,
    event_id  bigint      not null generated always as identity,
    at        timestamptz not null default clock_timestamp(),
    actor     text        not null,
    action    text        not null,
    subject   text        not null,
    detail    jsonb       not null default '{}',
    clearance smallint    not null default 0 check (clearance >= 0),
    primary key (org_id, event_id)
);
create index audit_event_time on argus.audit_event (org_id, at);

select argus.protect('argus.snapshot', '{select,insert}', true);
select argus.protect('argus.sample', '{select,insert,update}', true);
select argus.protect('argus.sample_day', '{}', true);
select argus.protect('argus.gap', '{select,insert,update}', true);
select argus.protect('argus.audit_event', '{insert}', true);
select argus.protect('argus.snapshot_default', '{}', false);
select argus.protect('argus.sample_default', '{}', false);
select argus.protect('argus.sample_day_default', '{}', false);

-- The owner can only add audit events as well.
drop policy owner on argus.audit_event;
create policy owner_select on argus.audit_event for select to argus_owner using (true);
create policy owner_insert on argus.audit_event for insert to argus_owner with check (true);
