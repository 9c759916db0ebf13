"""The records of a gateway: a writer for tests, the rows in the database, and a plain model of these rows."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from exporter.store.database.connection import Connection, close, connect
from exporter.store.database.settings import Target
from exporter.store.errors import StoreError
from exporter.store.snapshot.codec import decode, encode
from exporter.store.snapshot.frame import Frame, PeerConfig
from exporter.store.writer.writer import Writer
from tests.kit.store.frames import START, Moment, RandomGateway, State, Witness
from tests.kit.store.mirror import Run
from tests.kit.store.schema import ask, with_connection

T = TypeVar("T")
HERE, ELSEWHERE = UUID(int=1), UUID(int=2)  # installations
PASSING_ERRORS = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    StoreError,
)

Peer = tuple[str, str]  # label of the interface, public key


class Recorder:
    """A writer with its connection, and with the slots that the spool would know."""

    def __init__(self, target: Target, installation: UUID = HERE, host: str = "here") -> None:
        self._target = target
        self._installation = installation
        self._host = host
        self._connection: Connection | None = None
        self._keys = defaultdict[str, list[str]](list)
        self.restart()

    def restart(self) -> None:
        """A new writer, as after a restart of the daemon: everything in memory is lost."""
        self.writer = Writer(self._installation, self._host)

    async def write(self, made: Frame) -> bool:
        before = {} if made.keyframe else {label: list(keys) for label, keys in self._keys.items()}

        async def keys() -> Mapping[str, Sequence[str]]:
            return before

        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._target, application="test", role="argus_collector")
        is_new = await self.writer.write(self._connection, made, keys)
        if is_new:
            self._keys.clear()
            self._keys.update(before)
            for device in made.devices:
                self._keys[device.label] = [*self._keys[device.label], *device.added]
        return is_new

    async def write_with_retries(self, made: Frame) -> bool:
        """Writes a frame with up to 21 attempts, for connections that are cut by the test."""
        for _ in range(20):
            try:
                return await self.write(made)
            except PASSING_ERRORS:
                await self.close()
        return await self.write(made)

    async def terminate(self) -> None:
        """Makes the server close the connection."""
        if self._connection:
            pid = self._connection.get_server_pid()
            await asyncio.to_thread(ask, self._target, "select pg_terminate_backend($1)", pid)

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection and not connection.is_closed():
            if connection.is_in_transaction():
                connection.terminate()
            else:
                await close(connection)


def recording(target: Target, work: Callable[[Recorder], Awaitable[T]]) -> T:
    """Runs `work` with a new recorder, and returns its result."""

    async def run() -> T:
        recorder = Recorder(target)
        try:
            return await work(recorder)
        finally:
            await recorder.close()

    return asyncio.run(run())


def history(seed: random.Random, count: int) -> Iterator[tuple[Moment, Frame]]:
    """A random history of a gateway: snapshots 15 minutes apart, with their frames. Its daemon restarts at
    times."""
    gateway, run = RandomGateway(seed), Run()
    for number in range(count):
        moment = gateway.next()
        snapshot = replace(moment.snapshot, taken_at=START + number * 900.0)
        whole = all(each.ok for each in snapshot.readings) and all(each.link for each in snapshot.devices)
        if number and whole and seed.random() < 0.1:
            run = Run()
        moment = replace(moment, snapshot=snapshot)
        yield moment, decode(encode(run.frame(moment)))


@dataclass(frozen=True, slots=True)
class Sample:
    receive: int
    transmit: int
    age: int | None
    active: bool


@dataclass(slots=True)
class Records:
    """The rows of a gateway in one organisation. Instants are UNIX milliseconds; an end of None = still
    valid."""

    # Run, sequence, instant; number of interfaces read, peers present, interfaces unread.
    ledger: list[tuple[UUID, int, int, int, int, int]] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)  # number of changed peers, for each row of the ledger
    totals: dict[Peer, tuple[int, int]] = field(default_factory=dict)
    states: dict[Peer, tuple[int, int, int]] = field(
        default_factory=dict
    )  # of present peers: handshake, counters
    samples: dict[Peer, dict[int, Sample]] = field(default_factory=dict)
    configs: dict[Peer, list[tuple[int, int | None, PeerConfig]]] = field(default_factory=dict)
    removed: dict[Peer, int | None] = field(default_factory=dict)
    interfaces: dict[str, tuple[int, int | None]] = field(default_factory=dict)  # last read, removed
    gaps: dict[str, list[tuple[int, int | None, str, int]]] = field(default_factory=dict)


class Expected:
    """The plain model: the rows that a gateway must have, made from its snapshots peer by peer."""

    def __init__(self, organisation: str, clearance: int = 1) -> None:
        self._witness = Witness(organisation, clearance)
        self._clearances = dict[Peer, int]()
        self._last = dict[Peer, tuple[int, ...]]()  # handshake, counters, totals
        self.records = Records()

    def record(self, moment: Moment, frame: Frame) -> None:
        """Adds a snapshot with its frame. Every snapshot must be added."""
        self._witness.see(moment)
        at = round(frame.taken_at * 1000)
        present = {
            (label, public_key): state
            for label, peers in self._witness.present.items()
            for public_key, state in peers.items()
        }
        read = {device.label for device in moment.snapshot.devices}
        unread = self._witness.unread
        counts = len(read), len(present), len(unread.keys() - {""})
        self.records.ledger.append((frame.run, frame.sequence, at, *counts))
        self.records.changed.append(sum(self._sample(label, at, present) for label in read))
        self.records.totals = dict(self._witness.totals)
        self._configure(at, present)
        for label in self._witness.present.keys() | self.records.interfaces.keys():
            self._see(label, at, unread.get(label, ""))

    def _sample(self, label: str, at: int, present: Mapping[Peer, State]) -> int:
        """Adds the samples of an interface that was read: for changed and new peers, and on a new day for
        every peer. Returns the number of changed peers."""
        changed = 0
        last_read = self.records.interfaces.get(label, (0, None))[0]
        is_new_day = last_read // 86_400_000 != at // 86_400_000
        for peer, (_, handshake, *counters) in present.items():
            if peer[0] != label:
                continue
            totals = self._witness.totals[peer]
            now = (handshake, *counters, *totals)
            active = now != self._last.get(peer, (0,) * 5)
            changed += active
            is_new = self.records.removed.get(peer, 0) is not None
            if active or is_new or is_new_day:
                age = at // 1000 - handshake if handshake else None
                self.records.samples.setdefault(peer, {})[at] = Sample(*totals, age, active)
            self._last[peer] = now
            self.records.states[peer] = handshake, counters[0], counters[1]
        return changed

    def _configure(self, at: int, present: Mapping[Peer, State]) -> None:
        for peer, (config, *_) in present.items():
            clearance = max(config.clearance, self._clearances.get(peer, 0))
            self._clearances[peer] = clearance
            now = replace(config, clearance=clearance)
            history = self.records.configs.setdefault(peer, [])
            start, end, before = history[-1] if history else (0, 0, None)
            if before and end is None:
                raised = replace(before, clearance=clearance)
                history[-1] = start, None if raised == now else at, raised
                if raised == now:
                    continue
            history.append((at, None, now))
        for peer, history in self.records.configs.items():
            start, end, config = history[-1]
            if peer not in present and end is None:
                history[-1] = start, at, config
                self.records.removed[peer] = at
                self.records.states.pop(peer)
        self.records.removed |= dict.fromkeys(present)

    def _see(self, label: str, at: int, reason: str) -> None:
        """Updates an interface: when it was last read, whether it was removed, and its gaps."""
        is_present = label in self._witness.present
        read, removed = self.records.interfaces.get(label, (at, None))
        gaps = self.records.gaps.setdefault(label, [])
        is_open = bool(gaps) and gaps[-1][1] is None
        if is_present and reason and not is_open:
            gaps.append((read, None, reason, 1))
        elif is_open and not (is_present and reason):
            start, _, why, _ = gaps[-1]
            between = sum(start < instant < at for _, _, instant, *_ in self.records.ledger)
            gaps[-1] = start, at, why, between
        if not is_present and removed is None:
            removed = at
        elif is_present:
            removed = None
        self.records.interfaces[label] = at if is_present and not reason else read, removed


async def read(owner: Connection, gateway: str, organisation: str) -> Records:
    """Reads the rows of a gateway in one organisation. `owner`: in the role argus_owner, or a superuser."""
    found = Records()
    ids = await owner.fetchrow(
        "select g.org_id, gateway_id from argus.gateway g join argus.organisation o using (org_id) "
        "where g.name = $1 and o.name = $2",
        *(gateway, organisation),
    )
    if ids is None:
        return found

    async def rows(query: str) -> list[list[Any]]:
        return [list(map(_plain, row)) for row in await owner.fetch(query, *ids)]

    for *entry, changed in await rows(_LEDGER):
        found.ledger.append((entry[0], entry[1], entry[2], entry[3], entry[4], entry[5]))
        found.changed.append(changed)
    for label, seen, removed in await rows(_INTERFACES):
        found.interfaces[label] = seen, removed
        found.gaps[label] = []
    for label, start, end, reason, snapshots in await rows(_GAPS):
        found.gaps[label].append((start, end, reason, snapshots))
    for label, key, removed, handshake, receive, transmit, *totals in await rows(_PEERS):
        found.removed[label, key] = removed
        found.totals[label, key] = totals[0], totals[1]
        if removed is None:
            found.states[label, key] = (handshake or 0) // 1000, receive, transmit
    for label, key, at, *values in await rows(_SAMPLES):
        found.samples.setdefault((label, key), {})[at] = Sample(*values)
    for label, key, start, end, endpoint, allowed_ips, keepalive, preshared, *rest in await rows(_CONFIGS):
        config = PeerConfig(endpoint, tuple(allowed_ips), keepalive, preshared, organisation, *rest)
        found.configs.setdefault((label, key), []).append((start, end, config))
    return found


def _plain(value: object) -> object:
    return round(value.timestamp() * 1000) if isinstance(value, datetime) else value


def records(target: Target, gateway: str = "gw", organisation: str = "acme") -> Records:
    """Reads the rows of a gateway with a login that is a member of argus_owner."""
    return with_connection(target, lambda connection: read(connection, gateway, organisation))


_LEDGER = """
select run, sequence, taken_at, interfaces, peers, unread, changed from argus.snapshot
where org_id = $1 and gateway_id = $2 order by taken_at"""
_INTERFACES = """
select name, seen_until, removed_at from argus.interface where org_id = $1 and gateway_id = $2"""
_GAPS = """
select i.name, started_at, ended_at, reason, snapshots from argus.gap g
join argus.interface i using (org_id, interface_id) where org_id = $1 and g.gateway_id = $2
order by started_at, gap_id"""
_PEERS = """
select i.name, p.public_key, p.removed_at, last_handshake, receive_counter, transmit_counter, receive_total,
       transmit_total
from argus.peer p join argus.interface i using (org_id, interface_id)
join argus.peer_state s using (org_id, peer_id) where org_id = $1 and gateway_id = $2"""
_SAMPLES = """
select i.name, p.public_key, taken_at, receive_total, transmit_total, handshake_age, active
from argus.peer p join argus.interface i using (org_id, interface_id)
join argus.sample s using (org_id, peer_id) where org_id = $1 and gateway_id = $2 order by taken_at"""
_CONFIGS = """
select i.name, p.public_key, valid_from, valid_to, endpoint, allowed_ips, persistent_keepalive,
       has_preshared_key, c.clearance, c.name, site, owner
from argus.peer p join argus.interface i using (org_id, interface_id)
join argus.peer_config c using (org_id, peer_id) where org_id = $1 and gateway_id = $2 order by valid_from"""
