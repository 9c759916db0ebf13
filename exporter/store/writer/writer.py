"""Writes frames into the database, each exactly once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date
from uuid import UUID

import asyncpg

from exporter.instants import instant
from exporter.store.database.connection import Connection, scope, set_organisation
from exporter.store.errors import StoreError
from exporter.store.snapshot.frame import Frame
from exporter.store.storable import storable
from exporter.store.writer import statements as sql
from exporter.store.writer.apply import apply_frame, organisations
from exporter.store.writer.changeset import Changeset
from exporter.store.writer.load import load
from exporter.store.writer.mirror import InterfaceTotals, Mirror
from exporter.store.writer.rowwriter import MirrorOutdated, RowWriter

Keys = Callable[[], Awaitable[Mapping[str, Sequence[str]]]]

ATTEMPTS = 3  # to write a frame; a later attempt loads the mirror again first


class Writer:
    """Writes the frames of one gateway in order.

    `installation` is the identity of the state directory, the only one that may write under the gateway's
    name; `host` is for messages. `totals` has the totals in the database, by interface; any thread may read
    it. The writer uses one connection at a time, in the role of a collector; after a failure it can
    be given another one.
    """

    totals: Mapping[str, InterfaceTotals]

    def __init__(self, installation: UUID, host: str) -> None:
        self.totals = {}
        self._installation = installation
        self._host = host
        self._organisations = set[str]()  # every organisation of the gateway so far
        self._days = set[date]()  # days whose partitions exist
        self.forget()

    def forget(self) -> None:
        """The mirror may be wrong: load it again before the next frame."""
        self._mirror: Mirror | None = None
        self._continues = False

    def skip(self) -> None:
        """A frame was left out: the next frame does not follow the last one written."""
        self._continues = False

    async def write(self, connection: Connection, frame: Frame, keys: Keys) -> bool:
        """Writes a frame in one transaction. Returns False if the database already had the frame.

        `keys` returns the public key of each slot before this frame, by interface. It is called only if the
        previous frame was not written by this writer. Raises GatewayClaimed, StoreError, whatever `keys` and
        the driver raise; ValueError, LookupError and ArithmeticError for a frame that can never be written.
        """
        merge = False
        for _ in range(ATTEMPTS):
            try:
                return await self._write(connection, frame, keys, merge)
            except MirrorOutdated:
                self.forget()
            except asyncpg.UniqueViolationError as error:
                self.forget()
                if merge or not (error.table_name or "").startswith("sample"):
                    raise
                merge = True  # the clock was set back by days, and two snapshots have the same instant
            except BaseException:
                self.forget()
                raise
        raise StoreError(
            f"gateway {frame.gateway}: another session keeps changing the rows of its peers",
            "find and end that session; the snapshot is written as soon as the changes stop",
        )

    async def _write(self, connection: Connection, frame: Frame, keys: Keys, merge: bool) -> bool:
        await self._make_partitions(connection, frame)
        mirror = await self._load_if_needed(connection, frame)
        if not self._continues:
            if await self._is_recorded(connection, mirror, frame):
                return False
            mirror.set_slots({} if frame.keyframe else await keys())
        changes = apply_frame(mirror, frame)
        await self._number_new_peers(connection, mirror, changes)
        rows = RowWriter(connection, mirror, frame, self._installation, self._host, merge)
        async with connection.transaction():
            # A generic plan is made without knowing how many rows arrive; it may compare each with each peer.
            await connection.execute("set local plan_cache_mode = force_custom_plan")
            for name in sorted(changes, key=lambda name: mirror.gateways[name].org_id):
                await set_organisation(connection, mirror.gateways[name].org_id)
                await rows.write(mirror.gateways[name], changes[name])
        self._continues = True
        self.totals = mirror.totals()
        return True

    async def _make_partitions(self, connection: Connection, frame: Frame) -> None:
        day = instant(frame.taken_at).date()
        if day not in self._days:
            await connection.execute(sql.PARTITIONS, day)
            self._days.add(day)

    async def _load_if_needed(self, connection: Connection, frame: Frame) -> Mirror:
        """Loads the mirror if there is none for this gateway with all of the frame's organisations."""
        mirror, names = self._mirror, organisations(frame)
        if mirror is None or mirror.gateway != frame.gateway or not names <= mirror.gateways.keys():
            self.forget()
            self._organisations |= names
            mirror = self._mirror = await load(
                connection, frame.gateway, self._organisations, self._installation, frame.clearance
            )
        return mirror

    async def _is_recorded(self, connection: Connection, mirror: Mirror, frame: Frame) -> bool:
        gateway = mirror.gateways[storable(frame.organisation)]
        async with scope(connection, gateway.org_id):
            identity = instant(frame.taken_at), gateway.gateway_id, frame.run, frame.sequence
            return bool(await connection.fetchval(sql.RECORDED, gateway.org_id, *identity))

    async def _number_new_peers(
        self, connection: Connection, mirror: Mirror, changes: Mapping[str, Changeset]
    ) -> None:
        new = [index for each in changes.values() for index in each.new_peers]
        if new:
            numbers = await connection.fetch(sql.NUMBERS, len(new))
            for index, (number,) in zip(new, numbers, strict=True):
                mirror.peers.peer_id[index] = number
