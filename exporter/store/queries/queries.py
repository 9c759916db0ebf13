"""What readers ask. Every question names its organisation; row-level security has the last word.

A question is asked within `database.scope`, on a reader's connection. Instants are UNIX seconds, rounded to
whole milliseconds, as samples are; a range of them is without its start and with its end, so that ranges side
by side count nothing twice. Days are UTC's. Raw and compacted days are answered alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import TypeVar

from exporter.instants import DAY, EPOCH, MILLISECOND, start_of
from exporter.instants import instant as as_instant
from exporter.store.database.connection import Connection
from exporter.store.queries.answers import (
    Active,
    AnswerRow,
    DayBytes,
    Gap,
    InterfaceConfigRow,
    KeySeen,
    Known,
    Latest,
    PeerConfigRow,
    Rate,
    Sample,
    Total,
)

AnyRow = TypeVar("AnyRow", bound=AnswerRow)

# A live tunnel makes a handshake every two minutes (WireGuard's REKEY_AFTER_TIME), and that is a sample: what
# is asked of all peers is mostly answered by a few minutes' rows, which lie side by side and cost less than a
# look-up for each peer.
NEAR = timedelta(minutes=3)
FIRST = timedelta(minutes=1)  # of a day: all peers are in its first snapshot
LOOKBACK_DAYS = (1, 8, 64, 0)  # 0 = as far as there is anything

LATEST = """
select s.peer_id, g.name as gateway, i.name as interface, p.public_key,
       date_part('epoch', s.last_handshake) as last_handshake, s.receive_total, s.transmit_total,
       date_part('epoch', s.taken_at) as changed_at,
       p.removed_at is not null or i.removed_at is not null as removed
from argus.peer_state s
join argus.peer p on p.org_id = s.org_id and p.peer_id = s.peer_id
join argus.interface i on i.org_id = p.org_id and i.interface_id = p.interface_id
join argus.gateway g on g.org_id = i.org_id and g.gateway_id = i.gateway_id
where s.org_id = $1 and ($2::text is null or g.name = $2) and ($3::text is null or i.name = $3)
"""

KNOWN = """
select peer_id, gateway, interface, public_key, name, site, owner, endpoint, allowed_ips,
       persistent_keepalive, has_preshared_key, date_part('epoch', first_seen) as first_seen,
       date_part('epoch', last_seen) as last_seen, removed, clearance
from argus.peer_latest
where org_id = $1 and ($2::text is null or gateway = $2) and ($3::text is null or interface = $3)
"""

# Whether days $2 to $3 have compacted ones. It goes into the plans of other questions, so that what is not
# there costs nothing.
COMPACTED = "select exists (select from argus.sample_day where org_id = $1 and day between $2 and $3)"

# $2, $3: the range; $4: the start of its last minutes; $5, $6: its days; $7, $8: the range in milliseconds;
# $9: COMPACTED. The first condition is one hashed set for all peers, and the others are for who is not in it
# and has moved since the range began: as an EXISTS, the planner would make sets of them, too, and with AND it
# would look them up before it knows.
ACTIVE = """
select p.peer_id, p.public_key
from argus.peer p
left join argus.peer_state t on t.org_id = $1 and t.peer_id = p.peer_id and t.taken_at <= $2
where p.org_id = $1 and (
    p.peer_id in (select n.peer_id from argus.sample n
        where n.org_id = $1 and n.taken_at > $4 and n.taken_at <= $3 and n.active)
    or case when t.peer_id is null then
        (select true from argus.sample s
            where s.org_id = $1 and s.peer_id = p.peer_id and s.taken_at > $2 and s.taken_at <= $3
              and s.active
            limit 1)
        or $9::boolean and (select true from argus.sample_day d,
            lateral (select (d.day - date '1970-01-01') * 86400000::bigint as start offset 0) m,
            lateral (select least(greatest($7 - m.start, -1), 86400000)::integer as low,
                            least(greatest($8 - m.start, -1), 86400000)::integer as high offset 0) r
            where d.org_id = $1 and d.peer_id = p.peer_id and d.day between $5 and $6
              and width_bucket(r.high, d.at) - width_bucket(r.low, d.at)
                  > width_bucket(r.high, d.idle) - width_bucket(r.low, d.idle)
            limit 1) end)
"""

# $2: the instant; $3: where to begin to look, $4 the day of that; $5: the instant's day, $6 its milliseconds
# in that day; $7: the start of its last minutes; $8: the peers, null for all that were there; $9: COMPACTED.
# Totals only grow, so that the last one is the greatest; after the last change it is the peer's state.
TOTALS = """
with near as materialized (
    select peer_id, array[max(receive_total), max(transmit_total)] as total
    from argus.sample where org_id = $1 and taken_at > $7 and taken_at <= $2 group by peer_id),
compacted as materialized (
    select distinct on (d.peer_id) d.peer_id,
           case when c.n is null then array[d.receive_last, d.transmit_last]
                else array[d.receive_first + coalesce(d.receive[c.n], d.receive_wide[c.n]),
                           d.transmit_first + coalesce(d.transmit[c.n], d.transmit_wide[c.n])] end as total
    from argus.sample_day d,
         lateral (select case when d.day = $5 and $6::integer < 86399999
                              then width_bucket($6, d.at) end as n offset 0) c
    where $9::boolean and d.org_id = $1 and d.day between $4 and $5 and (c.n > 0 or c.n is null)
      and ($8::integer[] is null or d.peer_id = any ($8))
    order by d.peer_id, d.day desc)
select f.peer_id, f.total[1] as receive, f.total[2] as transmit
from (select p.peer_id, coalesce(
        case when t.peer_id is not null then array[t.receive_total, t.transmit_total] end,
        greatest(c.total, n.total, case when n.total is null then (
            select array[s.receive_total, s.transmit_total] from argus.sample s
            where s.org_id = $1 and s.peer_id = p.peer_id and s.taken_at >= $3 and s.taken_at <= $2
            order by s.taken_at desc limit 1) end)) as total
    from argus.peer p
    left join argus.peer_state t on t.org_id = $1 and t.peer_id = p.peer_id and t.taken_at <= $2
    left join near n on n.peer_id = p.peer_id
    left join compacted c on c.peer_id = p.peer_id
    where p.org_id = $1 and p.first_seen <= $2 and ($8::integer[] is null or p.peer_id = any ($8))
    offset 0) f
"""

# The first totals in a day of peers $4, null for all: $2 its start, $3 its end, $5 its date, $6 the end of
# its first minute; $7: COMPACTED. Null: not found.
FIRSTS = """
with near as materialized (
    select peer_id, array[min(receive_total), min(transmit_total)] as total
    from argus.sample where org_id = $1 and taken_at >= $2 and taken_at < $6 group by peer_id)
select f.peer_id, f.total[1] as receive, f.total[2] as transmit
from (select p.peer_id, least(
        case when d.peer_id is not null then array[d.receive_first, d.transmit_first] end,
        n.total, case when n.total is null then (
            select array[s.receive_total, s.transmit_total] from argus.sample s
            where s.org_id = $1 and s.peer_id = p.peer_id and s.taken_at >= $2 and s.taken_at < $3
            order by s.taken_at limit 1) end) as total
    from argus.peer p
    left join argus.sample_day d on $7::boolean and d.org_id = $1 and d.peer_id = p.peer_id and d.day = $5
    left join near n on n.peer_id = p.peer_id
    where p.org_id = $1 and ($4::integer[] is null or p.peer_id = any ($4))
    offset 0) f
"""

# $3, $4: the range; $5, $6: its days; $7: at most so many.
HISTORY = """
select date_part('epoch', h.taken_at) as taken_at, h.receive_total, h.transmit_total,
       date_part('epoch', h.last_handshake) as last_handshake, h.active
from (
    (select taken_at, receive_total, transmit_total,
            date_trunc('second', taken_at) - handshake_age * interval '1 second' as last_handshake, active
        from argus.sample
        where org_id = $1 and peer_id = $2 and taken_at > $3 and taken_at <= $4
        order by taken_at limit $7)
    union all
    (select c.start + u.at * interval '1 millisecond', d.receive_first + coalesce(u.receive, u.receive_wide),
            d.transmit_first + coalesce(u.transmit, u.transmit_wide),
            c.start + u.handshake * interval '1 second', u.at <> all (d.idle)
        from argus.sample_day d,
             lateral (select d.day::timestamp at time zone 'UTC' as start offset 0) c,
             unnest(d.at, d.receive, d.transmit, d.receive_wide, d.transmit_wide, d.handshake)
                 as u (at, receive, transmit, receive_wide, transmit_wide, handshake)
        where d.org_id = $1 and d.peer_id = $2 and d.day between $5 and $6
          and c.start + u.at * interval '1 millisecond' > $3
          and c.start + u.at * interval '1 millisecond' <= $4)) h
order by h.taken_at limit $7
"""

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

GAPS = """
select g.name as gateway, i.name as interface, date_part('epoch', x.started_at) as started_at,
       date_part('epoch', x.ended_at) as ended_at, x.reason, x.snapshots
from argus.gap x
join argus.gateway g on g.org_id = x.org_id and g.gateway_id = x.gateway_id
left join argus.interface i on i.org_id = x.org_id and i.interface_id = x.interface_id
where x.org_id = $1 and x.started_at < $3 and (x.ended_at > $2 or x.ended_at is null)
  and ($4::text is null or g.name = $4)
order by x.started_at, x.gap_id
"""

KEY_SEEN = """
select k.role, g.name as gateway, i.name as interface, date_part('epoch', k.first_seen) as first_seen,
       date_part('epoch', k.last_seen) as last_seen
from argus.key_seen k
join argus.interface i on i.org_id = k.org_id and i.interface_id = k.interface_id
join argus.gateway g on g.org_id = i.org_id and g.gateway_id = i.gateway_id
where k.org_id = $1 and k.public_key = $2 order by k.first_seen, i.interface_id
"""


async def latest(
    connection: Connection, org_id: int, gateway: str | None = None, interface: str | None = None
) -> list[Latest]:
    """The last known state of all peers, or of a gateway's, or of an interface's. In no order."""
    return await _fetch(connection, Latest, LATEST, org_id, gateway, interface)


async def known(
    connection: Connection, org_id: int, gateway: str | None = None, interface: str | None = None
) -> list[Known]:
    """All peers with their present configuration, and when they were seen. In no order."""
    return await _fetch(connection, Known, KNOWN, org_id, gateway, interface)


async def active(connection: Connection, org_id: int, start: float, end: float) -> list[Active]:
    """The peers whose counters or handshake moved in a range. In no order."""
    low, high = as_instant(start), as_instant(end)
    near = max(low, high - NEAR)
    days = low.date(), high.date()
    milliseconds = (low - EPOCH) // MILLISECOND, (high - EPOCH) // MILLISECOND
    compacted = await connection.fetchval(COMPACTED, org_id, *days)
    scope = low, high, near, *days, *milliseconds, compacted
    return await _fetch(connection, Active, ACTIVE, org_id, *scope)


async def totals(
    connection: Connection, org_id: int, instant: float, peers: Sequence[int] | None = None
) -> dict[int, tuple[int, int]]:
    """Bytes received and sent until an instant by each peer that was seen by then, or each of `peers`."""
    return await _totals(connection, org_id, as_instant(instant), peers)


async def bytes_per_day(connection: Connection, org_id: int, first: date, last: date) -> list[DayBytes]:
    """Bytes of each peer on each day from `first` to `last`; no row where there were none.

    What was counted before a peer's first sample belongs to no day. What a peer did around midnight belongs
    to the day of the sample that says so.
    """
    before = await _totals(connection, org_id, start_of(first) - MILLISECOND, None)
    found = []
    for day in (first + DAY * number for number in range((last - first).days + 1)):
        after = await _totals(connection, org_id, start_of(day + DAY) - MILLISECOND, None)
        if not after.keys() <= before.keys():
            new = sorted(after.keys() - before.keys()) if before else None
            before |= await _firsts(connection, org_id, day, new)
        for peer_id, (receive, transmit) in after.items():
            received, sent = before.get(peer_id, (receive, transmit))
            if receive > received or transmit > sent:
                found.append(DayBytes(peer_id, day, receive - received, transmit - sent))
        before |= after
    return found


async def history(
    connection: Connection, org_id: int, peer_id: int, start: float, end: float, limit: int = 10_000
) -> list[Sample]:
    """A peer's samples of a range, oldest first. When there are `limit`, the next ones start at the last's
    `taken_at`.

    It is asked for piece by piece, each twice as long: no day is unpacked that is far beyond the limit.
    """
    low, stop, piece = as_instant(start), as_instant(end), DAY
    found: list[Sample] = []
    while low < stop and len(found) < limit:
        high = min(low + piece, stop)
        scope = low, high, low.date(), high.date(), limit - len(found)
        found += await connection.fetch(HISTORY, org_id, peer_id, *scope, record_class=Sample)
        low, piece = high, piece * 2
    return found


def rates(samples: Sequence[Sample]) -> Iterator[Rate]:
    """The mean throughput between each two samples of a history."""
    for one, other in pairwise(samples):
        duration = round(other.taken_at - one.taken_at, 3)
        yield Rate(
            one.taken_at,
            other.taken_at,
            (other.receive_total - one.receive_total) / duration,
            (other.transmit_total - one.transmit_total) / duration,
        )


async def peer_configs(connection: Connection, org_id: int, peer_id: int) -> list[PeerConfigRow]:
    """How a peer was configured, oldest first."""
    return await _fetch(connection, PeerConfigRow, PEER_CONFIGS, org_id, peer_id)


async def interface_configs(
    connection: Connection, org_id: int, gateway: str, interface: str
) -> list[InterfaceConfigRow]:
    """How an interface was configured, oldest first."""
    return await _fetch(connection, InterfaceConfigRow, INTERFACE_CONFIGS, org_id, gateway, interface)


async def gaps(
    connection: Connection, org_id: int, start: float, end: float, gateway: str | None = None
) -> list[Gap]:
    """The times within a range about which nothing is known, by their start."""
    return await _fetch(connection, Gap, GAPS, org_id, as_instant(start), as_instant(end), gateway)


async def key_seen(connection: Connection, org_id: int, public_key: str) -> list[KeySeen]:
    """Where a public key was seen, first and last: as a peer's, or as an interface's own."""
    return await _fetch(connection, KeySeen, KEY_SEEN, org_id, public_key)


async def _fetch(
    connection: Connection, answer: type[AnyRow], query: str, *arguments: object
) -> list[AnyRow]:
    """A plan for any range of time cannot know whether to look up each peer or to read a few minutes of all:
    after five questions the server would settle on one that takes five times as long."""
    await connection.execute("set local plan_cache_mode = force_custom_plan")
    return await connection.fetch(query, *arguments, record_class=answer)


async def _totals(
    connection: Connection, org_id: int, instant: datetime, peers: Sequence[int] | None
) -> dict[int, tuple[int, int]]:
    """There is a sample on every day on which the gateway was there: yesterday has nearly all of them, and
    only for the others it is worth to look further back."""
    found: dict[int, tuple[int, int]] = {}
    day = instant.date()
    milliseconds = (instant - start_of(day)) // MILLISECOND
    for back in LOOKBACK_DAYS:
        since = day - DAY * back if back else date(1, 1, 1)
        compacted = await connection.fetchval(COMPACTED, org_id, since, day)
        near = max(instant - NEAR, start_of(since))
        scope = instant, start_of(since), since, day, milliseconds, near, peers, compacted
        rows = await _fetch(connection, Total, TOTALS, org_id, *scope)
        found |= {peer_id: (receive, transmit) for peer_id, receive, transmit in rows if receive is not None}
        peers = [peer_id for peer_id, receive, _ in rows if receive is None]
        if not peers:
            break
    return found


async def _firsts(
    connection: Connection, org_id: int, day: date, peers: Sequence[int] | None
) -> dict[int, tuple[int, int]]:
    start = start_of(day)
    compacted = await connection.fetchval(COMPACTED, org_id, day, day)
    scope = start, start + DAY, peers, day, start + FIRST, compacted
    rows = await _fetch(connection, Total, FIRSTS, org_id, *scope)
    return {peer_id: (receive, transmit) for peer_id, receive, transmit in rows if receive is not None}
