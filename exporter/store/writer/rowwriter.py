"""Writes one organisation's changes of one frame, in the transaction that is open."""

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
from exporter.store.writer.mirror import GatewayRow, InterfaceRow, Mirror

CHUNK = 10_000  # rows per statement: encoding more would block the event loop for too long

T = TypeVar("T")


class MirrorOutdated(Exception):
    """The database differs from the mirror: another session wrote."""


class RowWriter:
    """Writes changesets of one frame. `merge`: samples of the same instant may exist already.

    Raises GatewayClaimed, MirrorOutdated and the driver's errors.
    """

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

    async def write(self, gateway: GatewayRow, changes: Changeset) -> None:
        """Writes the changes. The connection must be set to the gateway's organisation."""
        await self._write_gateway(gateway, changes)
        await self._write_interfaces(gateway, changes)
        await self._write_snapshot(gateway, changes)
        await self._write_peers(gateway, changes)
        for batch, indices in changes.batches.items():
            for chunk in _chunks(indices):
                await self._write_batch(gateway.org_id, batch, chunk)
        await self._remove_peers(gateway.org_id, changes.removed_peers)
        await self._write_gaps(gateway, changes)

    # The gateway

    async def _write_gateway(self, gateway: GatewayRow, changes: Changeset) -> None:
        org, name = gateway.org_id, storable(self._mirror.gateway)
        holder = self._installation, self._host
        if not gateway.gateway_id:
            gateway.gateway_id = await self._connection.fetchval(
                sql.GATEWAY_INSERT, org, self._at, name, gateway.clearance, *holder
            )
            if not gateway.gateway_id:
                raise MirrorOutdated
            return
        claimed = await self._connection.fetchrow(
            sql.GATEWAY_CLAIM, org, self._at, gateway.gateway_id, gateway.clearance, *holder
        )
        if claimed is None:
            raise await self._refusal(gateway)
        if tuple(claimed) != (gateway.clearance, gateway.reclassified):
            raise MirrorOutdated
        if gateway.previous_holder:
            detail: dict[str, object] = {"from": gateway.previous_holder, "to": self._host}
            await self._audit(gateway, "gateway-claimed", name, detail)
            gateway.previous_holder = ""
        if changes.raised_gateway:
            await self._audit(gateway, "clearance-raised", name, {"clearance": gateway.clearance})

    async def _refusal(self, gateway: GatewayRow) -> Exception:
        """Why the gateway's row could not be claimed."""
        row = await self._connection.fetchrow(sql.GATEWAY_HOLDER, gateway.org_id, gateway.gateway_id)
        if row is None:
            return MirrorOutdated()
        return GatewayClaimed(
            f"gateway {self._mirror.gateway}: {row['held_by']} records under this name in organisation "
            f"{gateway.organisation}, last at {row['held_at']:%Y-%m-%d %H:%M:%S} UTC",
            "set another gateway name on one of the two hosts; if the other host no longer exists, this host "
            "takes the name over ten minutes after the other's last snapshot",
        )

    async def _audit(self, gateway: GatewayRow, action: str, subject: str, detail: dict[str, object]) -> None:
        actor, text = f"argus-wg on {self._host}", json.dumps(detail)
        await self._connection.execute(
            sql.AUDIT, gateway.org_id, actor, action, subject, text, gateway.clearance
        )

    # Interfaces

    async def _write_interfaces(self, gateway: GatewayRow, changes: Changeset) -> None:
        run, org = self._connection.execute, gateway.org_id
        for row in changes.new_interfaces:
            row.interface_id = await self._connection.fetchval(
                sql.INTERFACE_INSERT,
                *(org, self._at, gateway.gateway_id, row.label, row.clearance, row.instance),
            )
        for row in changes.changed_interfaces:
            await run(sql.INTERFACE_CHANGE, org, row.interface_id, row.instance)
        for row in changes.raised_interfaces:
            await run(sql.INTERFACE_RAISE, org, row.clearance, row.interface_id)
            await run(sql.INTERFACE_CONFIG_RAISE, org, row.clearance, row.interface_id)
            subject = f"{storable(self._mirror.gateway)}/{row.label}"
            await self._audit(gateway, "clearance-raised", subject, {"clearance": row.clearance})
        await self._mark_read(org, changes.read_interfaces)
        await self._write_interface_configs(org, changes)
        if changes.removed_interfaces:
            removed = _interface_ids(changes.removed_interfaces)
            await run(sql.INTERFACE_REMOVE, org, self._at, removed)
            await run(sql.INTERFACE_CONFIG_CLOSE, org, self._at, removed)

    async def _mark_read(self, org: int, rows: Sequence[InterfaceRow]) -> None:
        found = await self._connection.fetch(sql.INTERFACE_SEEN, org, self._at, _interface_ids(rows))
        if {tuple(each) for each in found} != {(row.interface_id, row.clearance) for row in rows}:
            raise MirrorOutdated

    async def _write_interface_configs(self, org: int, changes: Changeset) -> None:
        run = self._connection.execute
        if changes.closed_interface_configs:
            closed = _interface_ids(changes.closed_interface_configs)
            await run(sql.INTERFACE_CONFIG_CLOSE, org, self._at, closed)
        for row, config in changes.opened_interface_configs:
            await run(
                sql.INTERFACE_CONFIG_INSERT,
                *(org, self._at, row.interface_id, config.kind, config.public_key),
                *(config.listen_port, config.fwmark, row.clearance),
            )

    async def _write_snapshot(self, gateway: GatewayRow, changes: Changeset) -> None:
        is_new = await self._connection.fetchval(
            sql.SNAPSHOT_INSERT,
            *(gateway.org_id, self._at, gateway.gateway_id, self._frame.run, self._frame.sequence),
            *(changes.interfaces_read, changes.peers_present, changes.peers_changed),
            *(changes.interfaces_unread, gateway.clearance),
        )
        if not is_new:
            raise MirrorOutdated

    # Peers

    async def _write_peers(self, gateway: GatewayRow, changes: Changeset) -> None:
        run, org, at, peers = self._connection.execute, gateway.org_id, self._at, self._peers
        for chunk in _chunks(changes.new_peers):
            keys = [peers.key[index] for index in chunk]
            columns = self._peer_id_text(chunk), self._interface_id_text(chunk), keys
            await run(sql.PEER_INSERT, org, at, *columns, _column(peers.clearance, chunk))
        for chunk in _chunks(changes.returned_peers):
            await run(sql.PEER_RETURN, org, self._peer_ids(chunk))
        for (clearance, label), indices in changes.raised_peers.items():
            await self._raise_peers(gateway, label, clearance, indices)
        for chunk in _chunks(changes.closed_configs):
            await run(sql.CONFIG_CLOSE, org, at, self._peer_ids(chunk))
        for opened in _chunks(changes.opened_configs):
            await self._open_configs(org, opened)

    async def _raise_peers(
        self, gateway: GatewayRow, label: str, clearance: int, indices: Sequence[int]
    ) -> None:
        for chunk in _chunks(indices):
            for statement in sql.PEER_RAISE:
                await self._connection.execute(statement, gateway.org_id, clearance, self._peer_ids(chunk))
        keys = [self._peers.key[index] for index in indices]
        subject = f"{storable(self._mirror.gateway)}/{label}"
        await self._audit(gateway, "clearance-raised", subject, {"clearance": clearance, "peers": keys})

    async def _open_configs(self, org: int, opened: Sequence[tuple[int, PeerConfig]]) -> None:
        configs = [config for _, config in opened]

        def column(name: str) -> list[object]:
            return list(map(attrgetter(name), configs))

        await self._connection.execute(
            sql.CONFIG_INSERT,
            *(org, self._at, self._peer_id_text([index for index, _ in opened]), column("endpoint")),
            [",".join(config.allowed_ips) for config in configs],
            *(_array_text(column("persistent_keepalive")), column("has_preshared_key")),
            *(column("name"), column("site"), column("owner"), _array_text(column("clearance"))),
        )

    async def _write_batch(self, org: int, batch: Batch, indices: Sequence[int]) -> None:
        """Writes states and samples. A state that is missing, or has another clearance, is not counted by the
        server: then another session wrote."""
        run, peers, peer_ids = self._connection.execute, self._peers, self._peer_ids(indices)
        columns = [_array_text(peer_ids)]
        columns += (
            _column(values, indices)
            for values in (peers.handshake, peers.receive_total, peers.transmit_total)
        )
        common = org, self._at, batch.clearance
        if batch.state == "keep":
            count = await self._connection.fetchval(sql.STATE_COUNT, org, batch.clearance, peer_ids)
        else:
            counters = _column(peers.receive, indices), _column(peers.transmit, indices)
            if batch.state == "insert":
                interface_ids = self._interface_id_text(indices)
                status = await run(sql.STATE_INSERT, *common, *columns, *counters, interface_ids)
            else:
                bounds = min(peer_ids), max(peer_ids)
                status = await run(sql.STATE_UPDATE, *common, *columns, *counters, *bounds)
            count = int(status.rpartition(" ")[2])  # "UPDATE 17", "INSERT 0 17"
        if count != len(indices):
            raise MirrorOutdated
        statement = sql.SAMPLE_INSERT + (sql.SAMPLE_MERGE if self._merge else "")
        await run(statement, *common, *columns, batch.active, int(self._frame.taken_at))

    async def _remove_peers(self, org: int, indices: Sequence[int]) -> None:
        for chunk in _chunks(indices):
            peer_ids = self._peer_ids(chunk)
            await self._connection.execute(sql.PEER_REMOVE, org, self._at, peer_ids)
            await self._connection.execute(sql.CONFIG_CLOSE, org, self._at, peer_ids)

    # Gaps

    async def _write_gaps(self, gateway: GatewayRow, changes: Changeset) -> None:
        run, org, gateway_id = self._connection.execute, gateway.org_id, gateway.gateway_id
        for gap in self._frame.gaps:
            start, end = instant(gap.started_at), instant(gap.ended_at)
            values = None, start, end, gap.reason, gap.snapshots, gateway.clearance
            await run(sql.GAP_INSERT, org, gateway_id, *values)
        for row, reason in changes.opened_gaps:
            opened = row.interface_id, instant(row.gap_start), None, reason, 1, row.clearance
            await run(sql.GAP_INSERT, org, gateway_id, *opened)
        for row, started_at in changes.closed_gaps:
            span = instant(started_at), self._at
            count = await self._connection.fetchval(sql.GAP_SNAPSHOTS, org, gateway_id, *span)
            await run(sql.GAP_CLOSE, org, self._at, row.interface_id, count)

    def _peer_ids(self, indices: Iterable[int]) -> list[int]:
        return list(map(self._peers.peer_id.__getitem__, indices))

    def _peer_id_text(self, indices: Iterable[int]) -> str:
        return _column(self._peers.peer_id, indices)

    def _interface_id_text(self, indices: Iterable[int]) -> str:
        return _array_text([self._peers.interface[index].interface_id for index in indices])


def _column(values: Sequence[int], indices: Iterable[int]) -> str:
    return _array_text(list(map(values.__getitem__, indices)))


def _array_text(numbers: Sequence[object]) -> str:
    """Integers as the text of a PostgreSQL array, "{1, 2}": see statements.py for the reason."""
    return f"{{{repr(numbers)[1:-1]}}}"


def _interface_ids(rows: Iterable[InterfaceRow]) -> list[int]:
    return [row.interface_id for row in rows]


def _chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]
