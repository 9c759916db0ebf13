"""The rows that one frame adds to one organisation, written in the transaction that is open."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import TypeVar
from uuid import UUID

from exporter.instants import instant
from exporter.store.database.connection import Connection
from exporter.store.errors import GatewayClaimed
from exporter.store.snapshot.frame import Frame, PeerConfig
from exporter.store.storable import storable
from exporter.store.writer import statements as sql
from exporter.store.writer.changeset import Batch, Changeset
from exporter.store.writer.mirror import Member, Mirror, Place

CHUNK = 10_000  # rows to a statement: no bind holds the event loop for long

T = TypeVar("T")


class Outdated(Exception):
    """The database holds something else than the mirror: someone else wrote."""


class RowWriter:
    """`merge`: samples of this instant may be there. Raises GatewayClaimed, Outdated, what asyncpg raises."""

    def __init__(
        self,
        connection: Connection,
        mirror: Mirror,
        frame: Frame,
        installation: UUID,
        host: str,
        merge: bool,
    ) -> None:
        self._connection = connection
        self._mirror = mirror
        self._peers = mirror.peers
        self._frame = frame
        self._at = instant(frame.taken_at)
        self._installation = installation
        self._host = host
        self._merge = merge

    async def write(self, member: Member, rows: Changeset) -> None:
        """As the organisation whose rows they are: see `set_organisation`."""
        await self._gateway(member, rows)
        await self._interfaces(member, rows)
        await self._ledger(member, rows)
        await self._dimension(member.org_id, rows)
        for batch, numbers in rows.batches.items():
            for chunk in _chunks(numbers):
                await self._batch(member.org_id, batch, chunk)
        await self._remove(member.org_id, rows.removed)
        await self._gaps(member, rows)

    # The gateway

    async def _gateway(self, member: Member, rows: Changeset) -> None:
        run, name = self._connection, storable(self._mirror.gateway)
        who = self._installation, self._host
        if not member.gateway_id:
            member.gateway_id = await run.fetchval(
                sql.GATEWAY_INSERT, member.org_id, self._at, name, member.clearance, *who
            )
            if not member.gateway_id:
                raise Outdated
            return
        found = await run.fetchrow(
            sql.GATEWAY_CLAIM, member.org_id, self._at, member.gateway_id, member.clearance, *who
        )
        if found is None:
            raise await self._claimed(member)
        if tuple(found) != (member.clearance, member.reclassified):
            raise Outdated
        if member.holder:
            await self._audit(member, "gateway-claimed", name, {"from": member.holder, "to": self._host})
            member.holder = ""
        if rows.raised_gateway:
            await self._audit(member, "clearance-raised", name, {"clearance": member.clearance})

    async def _claimed(self, member: Member) -> Exception:
        row = await self._connection.fetchrow(sql.GATEWAY_HOLDER, member.org_id, member.gateway_id)
        if row is None:
            return Outdated()
        name = self._mirror.gateway
        return GatewayClaimed(
            f"gateway {name}: {row['held_by']} records under this name in organisation "
            f"{member.organisation}, the last time at {row['held_at']:%Y-%m-%d %H:%M:%S} UTC; give one of "
            "the two another gateway name. If that host is no more, the name is taken over ten minutes later"
        )

    async def _audit(self, member: Member, action: str, subject: str, detail: dict[str, object]) -> None:
        actor, text = f"argus-wg on {self._host}", json.dumps(detail)
        await self._connection.execute(
            sql.AUDIT, member.org_id, actor, action, subject, text, member.clearance
        )

    # Interfaces

    async def _interfaces(self, member: Member, rows: Changeset) -> None:
        run, org, at = self._connection.execute, member.org_id, self._at
        gateway = storable(self._mirror.gateway)
        for place in rows.new_places:
            place.interface_id = await self._connection.fetchval(
                sql.INTERFACE_INSERT,
                *(org, at, member.gateway_id, place.label, place.clearance, place.instance),
            )
        for place in rows.changed_places:
            await run(sql.INTERFACE_CHANGE, org, place.interface_id, place.instance)
        for place in rows.raised_places:
            await run(sql.INTERFACE_RAISE, org, place.clearance, place.interface_id)
            await run(sql.INTERFACE_CONFIG_RAISE, org, place.clearance, place.interface_id)
            detail: dict[str, object] = {"clearance": place.clearance}
            await self._audit(member, "clearance-raised", f"{gateway}/{place.label}", detail)
        await self._seen(member, rows.seen)
        if rows.closed_interfaces:
            await run(sql.INTERFACE_CONFIG_CLOSE, org, at, _ids(rows.closed_interfaces))
        for place, config in rows.opened_interfaces:
            await run(
                sql.INTERFACE_CONFIG_INSERT,
                *(org, at, place.interface_id, config.kind, config.public_key),
                *(config.listen_port, config.fwmark, place.clearance),
            )
        if rows.removed_places:
            await run(sql.INTERFACE_REMOVE, org, at, _ids(rows.removed_places))
            await run(sql.INTERFACE_CONFIG_CLOSE, org, at, _ids(rows.removed_places))

    async def _seen(self, member: Member, places: Sequence[Place]) -> None:
        found = await self._connection.fetch(sql.INTERFACE_SEEN, member.org_id, self._at, _ids(places))
        if {tuple(row) for row in found} != {(place.interface_id, place.clearance) for place in places}:
            raise Outdated

    async def _ledger(self, member: Member, rows: Changeset) -> None:
        frame = self._frame
        recorded = await self._connection.fetchval(
            sql.LEDGER,
            *(member.org_id, self._at, member.gateway_id, frame.run, frame.sequence),
            *(rows.interfaces, rows.peers, rows.changed, rows.unread, member.clearance),
        )
        if not recorded:
            raise Outdated

    # Peers

    async def _dimension(self, org: int, rows: Changeset) -> None:
        run, at, peers = self._connection.execute, self._at, self._peers
        for chunk in _chunks(rows.new):
            keys = [peers.key[row] for row in chunk]
            clearances = _column(peers.clearance, chunk)
            await run(
                sql.PEER_INSERT, org, at, self._ids(chunk), self._interface_ids(chunk), keys, clearances
            )
        for chunk in _chunks(rows.returned):
            await run(sql.PEER_RETURN, org, self._numbers(chunk))
        for (clearance, label), numbers in rows.raised.items():
            await self._raise(self._peers.place[numbers[0]].member, label, clearance, numbers)
        for chunk in _chunks(rows.closed):
            await run(sql.CONFIG_CLOSE, org, at, self._numbers(chunk))
        for opened in _chunks(rows.opened):
            await self._configs(org, opened)

    async def _raise(self, member: Member, label: str, clearance: int, numbers: Sequence[int]) -> None:
        for chunk in _chunks(numbers):
            for statement in sql.PEER_RAISE:
                await self._connection.execute(statement, member.org_id, clearance, self._numbers(chunk))
        keys = [self._peers.key[row] for row in numbers]
        subject = f"{storable(self._mirror.gateway)}/{label}"
        await self._audit(member, "clearance-raised", subject, {"clearance": clearance, "peers": keys})

    async def _configs(self, org: int, opened: Sequence[tuple[int, PeerConfig]]) -> None:
        configs = [config for _, config in opened]

        def column(name: str) -> list[object]:
            return list(map(attrgetter(name), configs))

        await self._connection.execute(
            sql.CONFIG_INSERT,
            *(org, self._at, self._ids([row for row, _ in opened]), column("endpoint")),
            [",".join(config.allowed_ips) for config in configs],
            *(_text(column("persistent_keepalive")), column("has_preshared_key")),
            *(column("name"), column("site"), column("owner"), _text(column("clearance"))),
        )

    async def _batch(self, org: int, batch: Batch, rows: Sequence[int]) -> None:
        run, at, peers = self._connection.execute, self._at, self._peers
        numbers = self._numbers(rows)
        columns = [_text(numbers)]
        columns += (
            _column(values, rows) for values in (peers.handshake, peers.receive_total, peers.transmit_total)
        )
        scope = org, at, batch.clearance
        if batch.fresh is None:
            count = await self._connection.fetchval(sql.STATE_COUNT, org, batch.clearance, numbers)
        else:
            counters = _column(peers.receive, rows), _column(peers.transmit, rows)
            if batch.fresh:
                status = await run(sql.STATE_INSERT, *scope, *columns, *counters, self._interface_ids(rows))
            else:
                span = min(numbers), max(numbers)
                status = await run(sql.STATE_UPDATE, *scope, *columns, *counters, *span)
            count = int(status.rpartition(" ")[2])
        if count != len(rows):
            raise Outdated
        statement = sql.SAMPLE_INSERT + (sql.SAMPLE_MERGE if self._merge else "")
        await run(statement, *scope, *columns, batch.active, int(self._frame.taken_at))

    async def _remove(self, org: int, rows: Sequence[int]) -> None:
        for chunk in _chunks(rows):
            await self._connection.execute(sql.PEER_REMOVE, org, self._at, self._numbers(chunk))
            await self._connection.execute(sql.CONFIG_CLOSE, org, self._at, self._numbers(chunk))

    # Gaps

    async def _gaps(self, member: Member, rows: Changeset) -> None:
        org, gateway = member.org_id, member.gateway_id
        for lost in self._frame.lost:
            start, end = instant(lost.started_at), instant(lost.ended_at)
            told = None, start, end, lost.reason, lost.snapshots, member.clearance
            await self._connection.execute(sql.GAP_INSERT, org, gateway, *told)
        for place, reason in rows.gaps_opened:
            opened = place.interface_id, instant(place.gap), None, reason, 1, place.clearance
            await self._connection.execute(sql.GAP_INSERT, org, gateway, *opened)
        for place, start_seconds in rows.gaps_closed:
            span = instant(start_seconds), self._at
            count = await self._connection.fetchval(sql.GAP_SNAPSHOTS, org, gateway, *span)
            await self._connection.execute(sql.GAP_CLOSE, org, self._at, place.interface_id, count)

    def _numbers(self, rows: Iterable[int]) -> list[int]:
        return list(map(self._peers.peer_id.__getitem__, rows))

    def _ids(self, rows: Iterable[int]) -> str:
        return _column(self._peers.peer_id, rows)

    def _interface_ids(self, rows: Iterable[int]) -> str:
        return _text([self._peers.place[row].interface_id for row in rows])


def _column(values: Sequence[int], rows: Iterable[int]) -> str:
    return _text(list(map(values.__getitem__, rows)))


def _text(numbers: Sequence[object]) -> str:
    """An array of integers as PostgreSQL reads it."""
    return f"{{{repr(numbers)[1:-1]}}}"


def _ids(places: Iterable[Place]) -> list[int]:
    return [place.interface_id for place in places]


def _chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]
