"""The contenders that write snapshots: Argus's writer, and one wide row per peer.

Preparing a snapshot is not timed; writing it is, including the commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import uuid4

from bench.store.server import Database
from exporter.directory.entry import Directory
from exporter.model import Snapshot
from exporter.store.snapshot.codec import decode, encode
from exporter.store.snapshot.frame import Frame
from exporter.store.snapshot.tracker import Tracker
from exporter.store.writer.writer import Writer

PRODUCT, WIDE = "product", "wide"
ORGANISATION = "bench"


class Frames:
    """Makes frames of snapshots, as they come out of the spool."""

    def __init__(self) -> None:
        self._tracker = Tracker("bench", ORGANISATION, 0, uuid4(), "bench-boot")
        self._directory = Directory()

    def next(self, snapshot: Snapshot) -> Frame:
        frame = self._tracker.take(snapshot, self._directory, 0, snapshot.taken_at)
        self._tracker.confirm(frame)
        return decode(encode(frame))


async def no_keys() -> Mapping[str, Sequence[str]]:
    """The slots of an epoch that another process began: never needed here."""
    raise LookupError


class Product:
    """Writes frames with the writer, in the role of a collector, under row-level security."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection = database.connect(database.collector, "argus_collector")
        self._writer = Writer(uuid4(), "bench")
        self._frames = Frames()

    def prepare(self, snapshot: Snapshot) -> None:
        self._frame = self._frames.next(snapshot)

    def write(self) -> float:
        return self._database.timed(lambda: self._writer.write(self._connection, self._frame, no_keys))


class WideRows:
    """Writes one row with everything about a peer, per peer and snapshot, by COPY, which is the fastest way
    to insert rows. It writes as the table's owner without row-level security, which COPY does not support."""

    TABLE = """
    create table public.wide (
        organisation text not null, gateway text not null, interface text not null,
        public_key text not null, taken_at timestamptz not null, endpoint text not null,
        allowed_ips text[] not null, persistent_keepalive integer not null,
        has_preshared_key boolean not null, last_handshake timestamptz,
        receive_bytes bigint not null, transmit_bytes bigint not null,
        primary key (gateway, interface, public_key, taken_at))"""
    INDEX = "create index on public.wide (organisation, taken_at)"

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection = database.connect(database.superuser)
        for statement in (self.TABLE, self.INDEX):
            database.run(self._connection.execute(statement))

    def prepare(self, snapshot: Snapshot) -> None:
        taken_at = datetime.fromtimestamp(snapshot.taken_at, UTC)
        self._rows = [
            (
                *(ORGANISATION, snapshot.gateway, device.label, peer.public_key, taken_at, peer.endpoint),
                *(peer.allowed_ips, peer.persistent_keepalive, peer.has_preshared_key),
                *(datetime.fromtimestamp(handshake, UTC) if handshake else None, received, sent),
            )
            for device in snapshot.devices
            for peer, handshake, received, sent in zip(
                device.peers, device.last_handshake, device.receive_bytes, device.transmit_bytes, strict=True
            )
        ]

    def write(self) -> float:
        return self._database.timed(
            lambda: self._connection.copy_records_to_table("wide", schema_name="public", records=self._rows)
        )
