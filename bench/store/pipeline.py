"""Measures each stage of recording a snapshot, from the reading to the commit."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

from bench.store.figures import Pipeline
from bench.store.server import DISK, Database, running
from bench.store.snapshots import BusyGateway
from bench.store.writing import ORGANISATION, no_keys
from exporter.directory.entry import Directory
from exporter.model import Snapshot
from exporter.store.snapshot.codec import decode, encode
from exporter.store.snapshot.tracker import Tracker
from exporter.store.spool.queue import Spool
from exporter.store.writer.writer import Writer

TRACK, ENCODE, KEEP, FETCH, WRITE, CONFIRM = "track", "encode", "keep", "fetch", "write", "confirm"
STAGES = TRACK, ENCODE, KEEP, FETCH, WRITE, CONFIRM
QUOTA = 1 << 30  # bytes


def measure(peers: int, busy: float, rounds: int) -> Pipeline:
    """Records the first snapshot of a gateway and `rounds` more, with a database and a spool on this host's
    disk."""
    with (
        running() as database,
        tempfile.TemporaryDirectory(prefix="argus-bench-", dir=DISK) as folder,
        closing(Spool(Path(folder) / "spool.sqlite", QUOTA)) as spool,
    ):
        gateway, recorder = BusyGateway(peers, busy), StagedRecorder(database, spool)
        first = recorder.record(gateway.next())
        superuser = database.connect(database.superuser)
        database.run(superuser.execute("vacuum (analyze)"))  # autovacuum does this within a minute
        gc.freeze()  # as the daemon does after its first reading
        times = [recorder.record(gateway.next()) for _ in range(rounds)]
    stages = {stage: [each[stage] for each in times] for stage in STAGES}
    return Pipeline(peers, busy, first, stages, recorder.frame_bytes)


class StagedRecorder:
    """Does the work of the recorder and of the drain for one snapshot, stage by stage, in one thread."""

    def __init__(self, database: Database, spool: Spool) -> None:
        self._database = database
        self._spool = spool
        self._connection = database.connect(database.collector, "argus_collector")
        self._tracker = Tracker("bench", ORGANISATION, 0, uuid4(), "bench-boot")
        self._writer = Writer(spool.installation, "bench")
        self._directory = Directory()
        self.frame_bytes = 0

    def record(self, snapshot: Snapshot) -> dict[str, float]:
        """Records a snapshot, and returns the seconds of each stage."""
        times: dict[str, float] = {}

        @contextmanager
        def clocked(stage: str) -> Iterator[None]:
            started = time.perf_counter()
            yield
            times[stage] = time.perf_counter() - started

        with clocked(TRACK):
            frame = self._tracker.take(snapshot, self._directory, 0, snapshot.taken_at)
        with clocked(ENCODE):
            data = encode(frame)
        with clocked(KEEP):
            self._spool.append(data, frame)
            self._tracker.confirm(frame)
        with clocked(FETCH):
            (entry,) = self._spool.first(1)
            fetched = decode(entry.data)
        with clocked(WRITE):
            self._database.run(self._writer.write(self._connection, fetched, no_keys))
        with clocked(CONFIRM):
            self._spool.confirm_through(entry.id)
        self.frame_bytes = len(data)
        return times
