"""Sizes of the tables on disk, including their indexes."""

from __future__ import annotations

from bench.store.server import Database
from exporter.store.database.connection import Connection

SAMPLES, COMPACTED, WIDE, EVERYTHING = "samples", "compacted", "wide", "everything"
WRITTEN = SAMPLES, WIDE, EVERYTHING  # measured before the compaction
TABLES = {SAMPLES: "argus.sample", COMPACTED: "argus.sample_day", WIDE: "public.wide"}

TABLE = """
select pg_total_relation_size($1::text::regclass)
    + coalesce(sum(pg_total_relation_size(inhrelid)), 0)::bigint
from pg_inherits where inhparent = $1::text::regclass"""
SCHEMA = """
select sum(pg_total_relation_size(oid))::bigint from pg_class
where relnamespace = 'argus'::regnamespace and relkind = 'r'"""


def size(database: Database, superuser: Connection, what: str) -> int:
    """The bytes of a table with its partitions; EVERYTHING is the whole schema."""
    query = superuser.fetchval(SCHEMA) if what == EVERYTHING else superuser.fetchval(TABLE, TABLES[what])
    return int(database.run(query))
