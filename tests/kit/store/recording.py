"""A gateway with moving counters, the daemon that records it, and the conservation check of the records."""

from __future__ import annotations

import contextlib
import random
import re
import sqlite3
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from asyncpg import Record

from exporter.store.database.connection import Connection
from exporter.store.database.migrate import bootstrap
from exporter.store.database.settings import Target
from exporter.store.service import make_state_directory
from exporter.store.spool.queue import Spool
from tests.kit import daemon as daemonkit
from tests.kit import hurrieddaemon
from tests.kit.daemon import PATIENCE, Daemon, interface, key
from tests.kit.hurrieddaemon import TICK
from tests.kit.servers.postgres import PostgresServer, database
from tests.kit.store.schema import with_connection

LOGIN = "argus"
NAME = "gw"  # of a gateway
BLUR = 1  # ticks by which the duration of a run is inexact: each snapshot may be up to one tick late
MOST = 1 << 30  # bytes that a peer moves between two answers
Bytes = tuple[int, int]  # received and sent
Identity = tuple[UUID, int]  # run and sequence


class Gateway:
    """A simulated interface wg0. About half of its peers change between two answers."""

    def __init__(self, peers: int = 20) -> None:
        self._now = {key(peer): (0, 0) for peer in range(1, peers + 1)}
        self._before = dict(self._now)  # what was counted before the last reset
        self._totals = defaultdict[str, set[Bytes]](set)
        self._rests = False
        self._lock = threading.Lock()

    def reply(self) -> str:
        with self._lock:
            if not self._rests:
                self._move()
            lines = ["listen_port=51820\n"]
            for peer, (received, sent) in enumerate(self._now.values(), 1):
                lines.append(f"public_key={peer:064x}\nrx_bytes={received}\ntx_bytes={sent}\n")
            return "".join([*lines, "errno=0\n\n"])

    def rest(self) -> None:
        """Stops all counters."""
        with self._lock:
            self._rests = True

    def go_on(self, *, reset: bool = False) -> None:
        """Lets the counters change again; with `reset` they start again from 0."""
        with self._lock:
            self._rests = False
            if reset:
                self._before = self.counted
                self._now = dict.fromkeys(self._now, (0, 0))

    @property
    def counted(self) -> dict[str, Bytes]:
        """The bytes of each peer, through every reset of its counters."""
        return {peer: _sum(self._before[peer], now) for peer, now in self._now.items()}

    def had(self, peer: str, total: Bytes) -> bool:
        """Whether the total of a peer was ever `total`."""
        return total in self._totals[peer]

    def _move(self) -> None:
        for peer, now in self._now.items():
            if random.random() < 0.5:
                self._now[peer] = _sum(now, (random.randrange(MOST), random.randrange(MOST)))
            self._totals[peer].add(_sum(self._before[peer], self._now[peer]))


def _sum(one: Bytes, other: Bytes) -> Bytes:
    return one[0] + other[0], one[1] + other[1]


@dataclass(frozen=True)
class Site:
    """A gateway, the configuration of its daemon, and a superuser who reads its records."""

    folder: Path
    gateway: Gateway
    records: Target

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def database(self) -> str:
        """The section of the configuration."""
        return self.at(self.records.host)

    @property
    def login(self) -> str:
        """The label of the database in metrics."""
        return f"{LOGIN}@{self.records.host}:{self.records.port}/{self.records.database}"

    def at(self, address: str) -> str:
        """The section of the configuration, with another address of the server."""
        return f"database: {{address: {address}, name: {self.records.database}, user: {LOGIN}}}\n"

    @contextlib.contextmanager
    def daemon(
        self, recording: str = "interval: 1s", *, database: str = "", name: str = NAME, hurried: bool = True
    ) -> Iterator[Daemon]:
        """A daemon that is killed with SIGKILL at the end. A hurried one takes a snapshot in every TICK."""
        config = f"gateway: {name}\nrecording: {{{recording}}}\n{database or self.database}"
        program = hurrieddaemon.command if hurried else daemonkit.command
        with daemonkit.daemon(self.folder, config, program=program) as running:
            yield running

    def check(self, *, tick: float | None = TICK, name: str = NAME) -> Counter[str]:
        """Asserts the conservation rules once the counters no longer change and no daemon runs. Returns the
        missing snapshots by reason, as the gaps report them. `tick`: the interval in seconds, if known."""
        records = with_connection(self.records, lambda connection: read(connection, name))
        return conserved(self.gateway, kept_by(self.state), records, tick)


@contextlib.contextmanager
def site(folder: Path, server: PostgresServer, *, peers: int = 20) -> Iterator[Site]:
    """A gateway, and a database without a schema; the daemon's login may create the schema."""
    gateway = Gateway(peers)
    prepare_state(folder / "state")
    with database(server) as target, interface(folder, "wg0", gateway.reply):
        with_connection(target, lambda connection: bootstrap(connection, LOGIN))
        yield Site(folder, gateway, target)


def until(condition: Callable[[], bool]) -> None:
    """Polls slowly, because each look costs the daemon a reading."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(2 * TICK)


def come_to_rest(gateway: Gateway, running: Daemon) -> None:
    """Stops the counters, and waits until the database has everything."""
    gateway.rest()
    now = time.time()
    until(lambda: value(running, "snapshot_last_success_timestamp_seconds") > now)


def value(running: Daemon, series: str) -> float:
    """The value of a metric `wireguard_exporter_…`; NaN if there is none."""
    found = re.findall(rf"^wireguard_exporter_{re.escape(series)} (\S+)$", running.metrics(), re.MULTILINE)
    return float(found[0]) if found else float("nan")


# What was kept


@dataclass(frozen=True)
class Kept:
    """All snapshots that were ever in the spool, in order, and those that still are."""

    frames: Sequence[tuple[UUID, int, int]]  # run, sequence, UNIX milliseconds
    waiting: set[Identity]


def prepare_state(state: Path) -> None:
    """A state directory whose spool logs each frame in the transaction that keeps the frame."""
    make_state_directory(state)
    path = state / "spool.sqlite"
    Spool(path, 1 << 20).close()
    with contextlib.closing(sqlite3.connect(path)) as spool:
        spool.executescript(
            """
            create table kept (run blob, sequence integer, taken_at integer);
            create trigger keep after insert on frame begin
                insert into kept select run, new.sequence, new.taken_at from epoch where id = new.epoch;
            end"""
        )


def kept_by(state: Path) -> Kept:
    """Of a daemon that is stopped."""
    with contextlib.closing(sqlite3.connect(state / "spool.sqlite")) as spool:
        frames = spool.execute("select run, sequence, taken_at from kept order by rowid").fetchall()
        query = "select e.run, f.sequence from frame f join epoch e on e.id = f.epoch"
        waiting = {(UUID(bytes=run), sequence) for run, sequence in spool.execute(query)}
    return Kept([(UUID(bytes=run), sequence, at) for run, sequence, at in frames], waiting)


# What was recorded


@dataclass(frozen=True)
class Records:
    snapshots: list[Record]
    gaps: list[Record]
    samples: list[Record]
    totals: dict[str, Bytes]


async def read(connection: Connection, gateway: str = NAME) -> Records:
    """Everything that the database holds of a gateway. `connection` is a superuser's."""
    of_it = "where gateway_id in (select gateway_id from argus.gateway where name = $1)"
    totals = await connection.fetch("select * from argus.peer_latest where gateway = $1", gateway)
    return Records(
        await connection.fetch(f"select * from argus.snapshot {of_it} order by taken_at, sequence", gateway),
        await connection.fetch(f"select * from argus.gap {of_it} order by gap_id", gateway),
        await connection.fetch(
            "select s.*, p.public_key from argus.sample s join argus.peer p using (org_id, peer_id) "
            f"join argus.interface i using (org_id, interface_id) {of_it} order by taken_at",
            gateway,
        ),
        {row["public_key"]: (row["receive_total"], row["transmit_total"]) for row in totals},
    )


def conserved(gateway: Gateway, kept: Kept, records: Records, tick: float | None) -> Counter[str]:
    """See `Site.check`."""
    missing = Counter[str]()
    for gap in records.gaps:
        if gap["ended_at"] > records.snapshots[0]["taken_at"]:
            missing[gap["reason"]] += gap["snapshots"]
    every_snapshot_once(kept, records)
    every_sequence_reported(records, missing)
    if tick:
        every_interval_reported(records, missing, tick)
    every_byte_counted(gateway, records)
    return missing


def every_snapshot_once(kept: Kept, records: Records) -> None:
    """Every kept snapshot is in the database once and unchanged, or, the last ones, still in the spool."""
    recorded = [(row["run"], row["sequence"], _milliseconds(row["taken_at"])) for row in records.snapshots]
    assert recorded
    assert sorted(recorded) == sorted(kept.frames[: len(recorded)])
    assert {(run, sequence) for run, sequence, _ in kept.frames[len(recorded) :]} <= kept.waiting


def every_sequence_reported(records: Records, missing: Counter[str]) -> None:
    """The number of missing sequence numbers equals the snapshots of the gaps."""
    last = {row["run"]: row["sequence"] for row in sorted(records.snapshots, key=lambda row: row["sequence"])}
    assert sum(last.values()) == len(records.snapshots) + missing["spool-full"] + missing["frame-corrupt"]


def every_interval_reported(records: Records, missing: Counter[str], tick: float) -> None:
    """Snapshots and gaps cover the whole time."""
    first, last = records.snapshots[0]["taken_at"], records.snapshots[-1]["taken_at"]
    runs = len({row["run"] for row in records.snapshots})
    ticks = (last - first).total_seconds() / tick + 1
    assert abs(ticks - len(records.snapshots) - missing.total()) <= BLUR * runs


def every_byte_counted(gateway: Gateway, records: Records) -> None:
    """The last totals are the gateway's, earlier ones are totals that it had, and none decreases. An instant
    has all of its samples or none."""
    assert records.totals == gateway.counted
    last: dict[str, Bytes] = {}
    active = Counter[datetime]()
    for row in records.samples:
        peer, total = row["public_key"], (row["receive_total"], row["transmit_total"])
        assert gateway.had(peer, total)
        before = last.get(peer, (0, 0))
        assert total[0] >= before[0]
        assert total[1] >= before[1]
        last[peer] = total
        active[row["taken_at"]] += row["active"]
    assert last == records.totals
    assert +active == +Counter({row["taken_at"]: row["changed"] for row in records.snapshots})


def _milliseconds(instant: datetime) -> int:
    return round(instant.timestamp() * 1000)
