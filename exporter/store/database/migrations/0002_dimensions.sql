-- What there is: gateways, their interfaces, the peers on them, and how each was configured over time.
-- org_id comes first in every key, and every reference carries it: a reference cannot reach into another
-- organisation. A gateway that serves several organisations has a row in each.

create table argus.gateway (
    org_id       integer     not null references argus.organisation (org_id),
    gateway_id   bigint      not null generated always as identity,
    name         text        not null check (name <> ''),
    clearance    smallint    not null default 0 check (clearance >= 0),
    first_seen   timestamptz not null,
    seen_until   timestamptz not null,  -- when the last snapshot was taken
    holder       uuid        not null,  -- the installation that may write here; see claims in docs/storage.md
    held_by      text        not null,  -- its host, for people
    held_at      timestamptz not null,  -- this server's clock at its last write
    reclassified integer     not null default 0,  -- how often: what a collector knew before is void
    primary key (org_id, gateway_id),
    unique (org_id, name)
);

create table argus.interface (
    org_id       integer     not null,
    interface_id bigint      not null generated always as identity,
    gateway_id   bigint      not null,
    name         text        not null check (name <> ''),  -- wg0, or blue/wg0 in the namespace blue
    clearance    smallint    not null default 0 check (clearance >= 0),
    instance     text        not null,  -- boot and index: with another one its counters began anew
    first_seen   timestamptz not null,
    seen_until   timestamptz not null,
    removed_at   timestamptz,           -- null: it is there
    primary key (org_id, interface_id),
    unique (org_id, gateway_id, name),
    foreign key (org_id, gateway_id) references argus.gateway (org_id, gateway_id)
);

create table argus.interface_config (
    org_id       integer     not null,
    interface_id bigint      not null,
    valid_from   timestamptz not null,
    valid_to     timestamptz,           -- null: as it is now
    kind         text        not null,  -- kernel or userspace
    public_key   text        not null,  -- '': none
    listen_port  integer     not null,
    fwmark       bigint      not null,
    clearance    smallint    not null check (clearance >= 0),
    primary key (org_id, interface_id, valid_from),
    foreign key (org_id, interface_id) references argus.interface (org_id, interface_id)
);
create unique index interface_config_now on argus.interface_config (org_id, interface_id) where valid_to is null;
create index interface_config_key on argus.interface_config (org_id, public_key);

-- Four bytes a peer, and not an identity's eight: this number stands in each sample and its index. It is drawn
-- by the collector (Citus would draw a default's on every node).
create sequence argus.peer_number as integer;
grant usage on sequence argus.peer_number to argus_collector;

create table argus.peer (
    org_id       integer     not null,
    peer_id      integer     not null,
    interface_id bigint      not null,
    public_key   text        not null check (length(public_key) = 44),
    clearance    smallint    not null default 0 check (clearance >= 0),
    first_seen   timestamptz not null,
    removed_at   timestamptz,           -- null: it is there, and was last seen when its interface was
    primary key (org_id, peer_id),
    unique (org_id, interface_id, public_key),
    foreign key (org_id, interface_id) references argus.interface (org_id, interface_id)
);
create index peer_key on argus.peer (org_id, public_key);

create table argus.peer_config (
    org_id               integer     not null,
    peer_id              integer     not null,
    valid_from           timestamptz not null,
    valid_to             timestamptz,           -- null: as it is now
    endpoint             text        not null,  -- '': not known
    allowed_ips          text[]      not null,
    persistent_keepalive integer     not null,  -- seconds; 0: off
    has_preshared_key    boolean     not null,
    name                 text        not null,  -- these three: what the directory said
    site                 text        not null,
    owner                text        not null,
    clearance            smallint    not null check (clearance >= 0),
    primary key (org_id, peer_id, valid_from),
    foreign key (org_id, peer_id) references argus.peer (org_id, peer_id)
);
create unique index peer_config_now on argus.peer_config (org_id, peer_id) where valid_to is null;

-- The last known state. Rows change with every snapshot and no indexed column does, so there is room on the
-- page for the next version (HOT).
create table argus.peer_state (
    org_id           integer     not null,
    peer_id          integer     not null,
    interface_id     bigint      not null,
    taken_at         timestamptz not null,  -- of the snapshot that changed it last
    last_handshake   timestamptz,           -- null: never
    receive_counter  bigint      not null,  -- as the interface counts
    transmit_counter bigint      not null,
    receive_total    bigint      not null,  -- through every restart of the counter; never goes back
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
