-- Gateways, their interfaces, the peers on these, and the configurations of each over time.
-- org_id is the first column of every key and foreign key, so no row can refer to another organisation. A gateway
-- that serves several organisations has a row in each of them.

create table argus.gateway (
    org_id       integer     not null references argus.organisation (org_id),
    gateway_id   bigint      not null generated always as identity,
    name         text        not null check (name <> ''),
    clearance    smallint    not null default 0 check (clearance >= 0),
    first_seen   timestamptz not null,
    seen_until   timestamptz not null,  -- when its last snapshot was taken
    holder       uuid        not null,  -- the installation that may write here; see docs/storage.md
    held_by      text        not null,  -- the host name of the holder
    held_at      timestamptz not null,  -- the time of the holder's last write, by this server's clock
    reclassified integer     not null default 0,  -- how often; a collector that sees it change loads its mirror again
    primary key (org_id, gateway_id),
    unique (org_id, name)
);

create table argus.interface (
    org_id       integer     not null,
    interface_id bigint      not null generated always as identity,
    gateway_id   bigint      not null,
    name         text        not null check (name <> ''),  -- wg0, or blue/wg0 in the namespace blue
    clearance    smallint    not null default 0 check (clearance >= 0),
    instance     text        not null,  -- boot ID and index: if it changes, the counters started at zero
    first_seen   timestamptz not null,
    seen_until   timestamptz not null,
    removed_at   timestamptz,           -- null: it exists
    primary key (org_id, interface_id),
    unique (org_id, gateway_id, name),
    foreign key (org_id, gateway_id) references argus.gateway (org_id, gateway_id)
);

create table argus.interface_config (
    org_id       integer     not null,
    interface_id bigint      not null,
    valid_from   timestamptz not null,
    valid_to     timestamptz,           -- null: the present configuration
    kind         text        not null,  -- kernel or userspace
    public_key   text        not null,  -- '': no key
    listen_port  integer     not null,
    fwmark       bigint      not null,
    clearance    smallint    not null check (clearance >= 0),
    primary key (org_id, interface_id, valid_from),
    foreign key (org_id, interface_id) references argus.interface (org_id, interface_id)
);
create unique index interface_config_now on argus.interface_config (org_id, interface_id) where valid_to is null;
create index interface_config_key on argus.interface_config (org_id, public_key);

-- Four bytes, and not the eight of an identity column: every sample and its index contain this number. The collector
-- takes it from the sequence, because Citus would evaluate a default on every node.
create sequence argus.peer_number as integer;
grant usage on sequence argus.peer_number to argus_collector;

create table argus.peer (
    org_id       integer     not null,
    peer_id      integer     not null,
    interface_id bigint      not null,
    public_key   text        not null check (length(public_key) = 44),
    clearance    smallint    not null default 0 check (clearance >= 0),
    first_seen   timestamptz not null,
    removed_at   timestamptz,           -- null: it exists, and was last seen when its interface was
    primary key (org_id, peer_id),
    unique (org_id, interface_id, public_key),
    foreign key (org_id, interface_id) references argus.interface (org_id, interface_id)
);
create index peer_key on argus.peer (org_id, public_key);

create table argus.peer_config (
    org_id               integer     not null,
    peer_id              integer     not null,
    valid_from           timestamptz not null,
    valid_to             timestamptz,           -- null: the present configuration
    endpoint             text        not null,  -- '': unknown
    allowed_ips          text[]      not null,
    persistent_keepalive integer     not null,  -- seconds; 0: off
    has_preshared_key    boolean     not null,
    name                 text        not null,  -- name, site and owner are from the directory
    site                 text        not null,
    owner                text        not null,
    clearance            smallint    not null check (clearance >= 0),
    primary key (org_id, peer_id, valid_from),
    foreign key (org_id, peer_id) references argus.peer (org_id, peer_id)
);
create unique index peer_config_now on argus.peer_config (org_id, peer_id) where valid_to is null;

-- The last known state of each peer. Snapshots update rows but no indexed column, so half of each page is left free
-- for their next versions (HOT updates).
create table argus.peer_state (
    org_id           integer     not null,
    peer_id          integer     not null,
    interface_id     bigint      not null,
    taken_at         timestamptz not null,  -- of the last snapshot that changed the row
    last_handshake   timestamptz,           -- null: never
    receive_counter  bigint      not null,  -- as the interface reports it
    transmit_counter bigint      not null,
    receive_total    bigint      not null,  -- across all resets of the counter; never decreases
    transmit_total   bigint      not null,
    clearance        smallint    not null check (clearance >= 0),
    primary key (org_id, peer_id),
    foreign key (org_id, peer_id) references argus.peer (org_id, peer_id)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

select argus.protect('argus.gateway', '{select,insert,update}', true);
select argus.protect('argus.interface', '{select,insert,update}', true);
select argus.protect('argus.interface_config', '{select,insert,update}', true);
select argus.protect('argus.peer', '{select,insert,update}', true);
select argus.protect('argus.peer_config', '{select,insert,update}', true);
select argus.protect('argus.peer_state', '{select,insert,update}', true);
