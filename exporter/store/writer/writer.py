"""Frames into the database, each exactly once."""

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
from exporter.store.writer.apply import fold, organisations
from exporter.store.writer.changeset import Changeset
from exporter.store.writer.load import load
from exporter.store.writer.mirror import InterfaceTotals, Mirror
from exporter.store.writer.rowwriter import Outdated, RowWriter

Keys = Callable[[], Awaitable[Mapping[str, Sequence[str]]]]

TRIES = 3  # of one frame, with a mirror that was just loaded


class Writer:
    """Frames in their order. `totals` is what the database holds, by interface: any thread may read it.

    `installation` is who may write under the gateway's name, `host` is its name for people. Needs one
    connection at a time, as a collector; after a failure another one will do.
    """

    totals: Mapping[str, InterfaceTotals]

    def __init__(self, installation: UUID, host: str) -> None:
        self.totals = {}
        self._installation = installation
        self._host = host
        self._names = set[str]()  # of organisations, all that were ever told
        self._days = set[date]()
        self.forget()

    def forget(self) -> None:
        """What the mirror says may be wrong: it is loaded again."""
        self._mirror: Mirror | None = None
        self._apart = True

    def skip(self) -> None:
        """A frame is left out: those to come do not follow the last."""
        self._apart = True

    async def write(self, connection: Connection, frame: Frame, keys: Keys) -> bool:
        """Writes a frame in one transaction; False = the database had it already.

        `keys` gives the public keys of its slots, as they were before it: it is called unless the frame
        before was written just now. Raises GatewayClaimed, StoreError, what `keys` and the driver do;
        ValueError, LookupError and ArithmeticError for a frame that can never be written.
        """
        merge = False
        for _ in range(TRIES):
            try:
                return await self._write(connection, frame, keys, merge)
            except Outdated:
                self.forget()
            except asyncpg.UniqueViolationError as error:
                self.forget()
                if merge or not (error.table_name or "").startswith("sample"):
                    raise
                merge = True  # the clock was set back by more than a day, and two instants are one
            except BaseException:
                self.forget()
                raise
        raise StoreError(
            f"gateway {frame.gateway}: someone else changes the rows of its peers all the time; the snapshot "
            "is written when that ends"
        )

    async def _write(self, connection: Connection, frame: Frame, keys: Keys, merge: bool) -> bool:
        await self._make_partitions(connection, frame)
        mirror = await self._loaded(connection, frame)
        if self._apart:
            if await self._is_recorded(connection, mirror, frame):
                return False
            mirror.seed({} if frame.keyframe else await keys())
        rows = fold(mirror, frame)
        await self._number(connection, mirror, rows)
        rows_writer = RowWriter(connection, mirror, frame, self._installation, self._host, merge)
        async with connection.transaction():
            # A plan that does not know how many rows arrive may well join each of them with each peer.
            await connection.execute("set local plan_cache_mode = force_custom_plan")
            for name in sorted(rows, key=lambda name: mirror.members[name].org_id):
                await set_organisation(connection, mirror.members[name].org_id)
                await rows_writer.write(mirror.members[name], rows[name])
        self._apart = False
        self.totals = mirror.totals()
        return True

    async def _make_partitions(self, connection: Connection, frame: Frame) -> None:
        day = instant(frame.taken_at).date()
        if day not in self._days:
            await connection.execute(sql.PARTITIONS, day)
            self._days.add(day)

    async def _loaded(self, connection: Connection, frame: Frame) -> Mirror:
        mirror, names = self._mirror, organisations(frame)
        if mirror is None or mirror.gateway != frame.gateway or not names <= mirror.members.keys():
            self.forget()
            self._names |= names
            mirror = await load(connection, frame.gateway, self._names, self._installation, frame.clearance)
            self._mirror = mirror
            self._names |= mirror.members.keys()
        return mirror

    async def _is_recorded(self, connection: Connection, mirror: Mirror, frame: Frame) -> bool:
        member = mirror.members[storable(frame.organisation)]
        async with scope(connection, member.org_id):
            identity = instant(frame.taken_at), member.gateway_id, frame.run, frame.sequence
            return bool(await connection.fetchval(sql.RECORDED, member.org_id, *identity))

    async def _number(self, connection: Connection, mirror: Mirror, rows: Mapping[str, Changeset]) -> None:
        """Gives every new peer its number."""
        new = [row for each in rows.values() for row in each.new]
        if new:
            numbers = await connection.fetch(sql.NUMBERS, len(new))
            for row, (number,) in zip(new, numbers, strict=True):
                mirror.peers.peer_id[row] = number
