"""How much room the records take on the disk, indexes included."""

from __future__ import annotations

from bench.store.server import Database
from exporter.store.database.connection import Connection

SAMPLES, COMPACTED, WIDE, EVERYTHING = "samples", "compacted", "wide", "everything"
WRITTEN = SAMPLES, WIDE, EVERYTHING  # there before a day is compacted
TABLES = {SAMPLES: "argus.sample", COMPACTED: "argus.sample_day", WIDE: "public.wide"}

TABLE = """
select pg_total_relation_size($1::text::regclass)
    + coalesce(sum(pg_total_relation_size(inhrelid)), 0)::bigint
from pg_inherits where inhparent = $1::text::regclass"""
SCHEMA = """
select sum(pg_total_relation_size(oid))::bigint from pg_class
where relnamespace = 'argus'::regnamespace and relkind = 'r'"""


def size(database: Database, superuser: Connection, what: str) -> int:
    """Bytes of a table with its partitions; EVERYTHING is all of the schema."""
    asked = superuser.fetchval(SCHEMA) if what == EVERYTHING else superuser.fetchval(TABLE, TABLES[what])
    return int(database.run(asked))
