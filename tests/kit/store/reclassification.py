"""Records of two days, one of them compacted, and a collector that continues to record."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from exporter.instants import DAY, start_of
from exporter.store.database.connection import Connection, close
from exporter.store.database.settings import Target
from exporter.store.maintenance.compaction import compact_before
from exporter.store.progress import Progress
from exporter.store.snapshot.frame import DeviceFrame, Frame, Gap, PeerConfig
from exporter.store.writer.writer import Writer
from tests.kit.gateways import key
from tests.kit.store.history import HOLDER, session
from tests.kit.store.mirror import CONFIG, added, changed, device, frame

T = TypeVar("T")
COMPACTED, RAW = date(2026, 3, 28), date(2026, 3, 29)
NOON = 12 * 3600.0  # of a day
SLOTS = {"wg0": [key(1), key(2)], "wg1": [key(3)]}

# Rows in the default partitions, of days without a partition: one for each gateway or peer.
STRAYS = (
    "insert into argus.snapshot select org_id, gateway_id, '2020-01-01', $1, 1, now(), 1, 1, 1, 0, 0 "
    "from argus.gateway",
    "insert into argus.sample select org_id, peer_id, '2020-01-01', 1, 1, null, 0, true from argus.peer",
    "insert into argus.sample_day select org_id, peer_id, '2020-01-01', 0, 0, 0, 0, 0, '{0}', '{0}', '{0}', "
    "null, null, '{0}', '{}' from argus.peer",
)

TABLES = """
select c.relname as name, array_agg(a.attname::text) as columns
from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
where c.relnamespace = 'argus'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
group by c.relname having 'clearance' = any (array_agg(a.attname::text)) order by 1"""
# A row names the lowest level that it belongs to; the levels above follow from it.
ROWS = """
select o.name, g.name, coalesce(i.name, ''), coalesce(p.public_key, ''), t.clearance, count(*)
from argus.{table} t
join argus.organisation o on o.org_id = t.org_id
left join argus.peer p on p.org_id = t.org_id and p.peer_id = {peer_id}
left join argus.interface i
    on i.org_id = t.org_id and i.interface_id = coalesce(p.interface_id, {interface_id})
left join argus.gateway g on g.org_id = t.org_id and g.gateway_id = coalesce(i.gateway_id, {gateway_id})
group by 1, 2, 3, 4, 5"""


class Place(NamedTuple):
    """The object that rows belong to, and their clearance; "" for the levels below it."""

    organisation: str
    gateway: str
    interface: str
    peer: str
    clearance: int


def at(day: date, second: float) -> float:
    """The instant `second` seconds after noon of a day; UNIX seconds."""
    return start_of(day).timestamp() + NOON + second


def moved(number: int, *more: Sequence[tuple[int, PeerConfig]], port: int = 0) -> list[DeviceFrame]:
    """Both interfaces with new counters of all their peers, for the frame with this number."""
    handshake, configured = int(at(COMPACTED, 0)) + number, [*more, (), ()]
    return [
        device(port=port, peers=2, configured=configured[0], **_counted(number, handshake, 0, 1)),
        device(label="wg1", peers=1, configured=configured[1], **_counted(number, handshake, 0)),
    ]


def _counted(number: int, handshake: int, *slots: int) -> dict[str, Any]:
    return changed(*((slot, handshake, 100 * number, 10 * number) for slot in slots))


def story(gateway: str, organisation: str) -> list[Frame]:
    """Peers 1 and 2 on wg0 and 3 on wg1, with rows in every table.

    Peer 2 has clearance 2, peer 1 gets 1 on the second day. wg1 is not read at the end.
    """
    config = replace(CONFIG, organisation=organisation)
    secret, later = replace(config, clearance=2), replace(config, endpoint="192.0.2.9:9")
    first = added((1, 0, 1, 1), (2, 0, 1, 1), config=config)
    wg0 = device(peers=2, **first | {"configured": [(0, config), (1, secret)]})
    wg1 = device(label="wg1", peers=1, **added((3, 0, 1, 1), config=config))
    away, gap = [("wg1", "timeout")], Gap(at(COMPACTED, 60), at(COMPACTED, 120), "late", 1)
    frames = [
        frame(1, wg0, wg1, at=at(COMPACTED, 30)),
        frame(2, *moved(2, [(0, later)], [(0, later)], port=51821), at=at(COMPACTED, 60)),
        frame(3, moved(3, port=51821)[0], unread=away, gaps=[gap], at=at(COMPACTED, 120)),
        frame(4, *moved(4, port=51821), at=at(COMPACTED, 150)),
        frame(5, *moved(5, [(0, replace(later, clearance=1))], port=51821), at=at(RAW, 0)),
        frame(6, moved(6, port=51821)[0], unread=away, at=at(RAW, 30)),
    ]
    return [replace(each, gateway=gateway, organisation=organisation) for each in frames]


async def keys() -> Mapping[str, Sequence[str]]:
    """The slots of a story, after its first frame was written."""
    return SLOTS


async def recorded(login: Target) -> None:
    """Record two gateways of acme and one of beta, compact the first day, and add rows to the default
    partitions."""
    async with session(login, "argus_collector") as collector:
        for gateway, organisation in (("gw", "acme"), ("other", "acme"), ("gw", "beta")):
            writer = Writer(HOLDER, "host")
            for each in story(gateway, organisation):
                await writer.write(collector, each, keys)
    async with session(login) as owner:
        await compact_before(owner, COMPACTED + DAY, Progress())
        await owner.execute(STRAYS[0], UUID(int=1))
        for statement in STRAYS[1:]:
            await owner.execute(statement)


async def tables(connection: Connection) -> dict[str, list[str]]:
    """Table → its columns, for every table of the catalogue with a clearance."""
    return {row["name"]: row["columns"] for row in await connection.fetch(TABLES)}


async def places(owner: Connection) -> dict[str, dict[Place, int]]:
    """Table → place → the number of its rows. Audit events belong to no place."""
    found = {}
    for table, columns in (await tables(owner)).items():
        if table != "audit_event":
            names = ("gateway_id", "interface_id", "peer_id")
            given = {name: f"t.{name}" if name in columns else "null" for name in names}
            rows = await owner.fetch(ROWS.format(table=table, **given))
            found[table] = {Place(*row[:5]): row[5] for row in rows}
    return found


class Collector:
    """A gateway that continues to record after its story, in its own thread; any thread may use it."""

    def __init__(self, login: Target, gateway: str = "gw") -> None:
        self._login = login
        self._gateway = gateway
        self._writer = Writer(HOLDER, "host")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.sequence = 6

    @contextmanager
    def running(self) -> Iterator[Collector]:
        self._thread.start()
        manager = session(self._login, "argus_collector")
        self._connection = self._await(manager.__aenter__())
        try:
            yield self
        finally:
            self._await(close(self._connection))
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def write(self, *devices: DeviceFrame, clearance: int = 0, unread: Sequence[str] = ()) -> float:
        """Write the next frame, with these interfaces or with all of `moved`; its instant."""
        self.sequence += 1
        taken_at = at(RAW, 30.0 * self.sequence)
        frames = devices or moved(self.sequence, port=51821)
        reasons = [(label, "timeout") for label in unread]
        made = frame(self.sequence, *frames, at=taken_at, clearance=clearance, unread=reasons)
        self._await(self._writer.write(self._connection, replace(made, gateway=self._gateway), keys))
        return taken_at

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


class Steps(Progress):
    """Calls `then` after each step, when no transaction is open; `said`: the reported sentences."""

    def __init__(self, then: Any = lambda: None) -> None:
        self.said: list[str] = []
        super().__init__(say=self.said.append)
        self._then = then

    def step(self, name: str = "", steps: int = 1) -> None:
        super().step(name, steps)
        self._then()
