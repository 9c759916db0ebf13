"""Measures writing snapshots by each contender in turn, their size, and queries before and after
compaction."""

from __future__ import annotations

import gc
from datetime import UTC, datetime

from bench.contest import Contender, after, interleave
from bench.store import sizes
from bench.store.figures import COMPACTED, RAW, Records, Times
from bench.store.reading import Reader
from bench.store.server import Database, running
from bench.store.snapshots import INTERVAL, START, BusyGateway
from bench.store.writing import ORGANISATION, PRODUCT, WIDE, Product, WideRows
from exporter.instants import DAY
from exporter.store.maintenance.compaction import compact_before
from exporter.store.progress import Progress

SAMPLES = "select count(*) from argus.sample"
ORG_ID = "select org_id from argus.organisation where name = $1"


def measure(peers: int, busy: float, rounds: int, snapshots: int) -> Records:
    """Measures on a private server. Raises RuntimeError if a query's answer differs after compaction."""
    with running() as database:
        first, writes = write(database, BusyGateway(peers, busy), snapshots)
        superuser = database.connect(database.superuser)
        found = {name: sizes.size(database, superuser, name) for name in sizes.WRITTEN}
        samples = database.run(superuser.fetchval(SAMPLES))
        database.run(superuser.execute("vacuum (analyze)"))  # autovacuum does this within a minute
        org_id = database.run(superuser.fetchval(ORG_ID, ORGANISATION))
        reader = Reader(database, org_id, START, START + (snapshots - 1) * INTERVAL)
        reads, answers = {RAW: reader.times(rounds)}, reader.answers()
        compaction = compact(database)
        found[sizes.COMPACTED] = sizes.size(database, superuser, sizes.COMPACTED)
        reads[COMPACTED] = reader.times(rounds)
        if reader.answers() != answers:
            raise RuntimeError("after compaction, a query gives another answer than before")
        version = str(database.run(superuser.fetchval("show server_version"))).split()[0]
    return Records(
        peers, snapshots, busy, version, first, writes, found, samples, compaction=compaction, reads=reads
    )


def write(database: Database, gateway: BusyGateway, snapshots: int) -> tuple[dict[str, float], Times]:
    """Writes snapshots; returns by contender the seconds of the first snapshot, and of each later one."""
    product, wide = Product(database), WideRows(database)

    def advance() -> None:
        snapshot = gateway.next()
        product.prepare(snapshot)
        wide.prepare(snapshot)

    contenders: dict[str, Contender] = {PRODUCT: after(advance, product.write), WIDE: wide.write}
    first = interleave(contenders, 1)
    gc.freeze()  # as the daemon does after its first reading
    writes = interleave(contenders, snapshots - 1)
    return {name: times[0] for name, times in first.items()}, writes


def compact(database: Database) -> float:
    """Compacts the day, and returns the seconds that this took."""
    owner = database.connect(database.collector, "argus_owner")
    tomorrow = datetime.fromtimestamp(START, UTC).date() + DAY
    return database.timed(lambda: compact_before(owner, tomorrow, Progress()))
