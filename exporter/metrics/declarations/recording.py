"""The families about the recording: snapshots, the spool, the database."""

from __future__ import annotations

from exporter.metrics.declarations.family import Family

SNAPSHOTS = Family(
    "wireguard_exporter_snapshots_total",
    "counter",
    "Snapshots by result: spooled (safe on this host), recorded (in the database), lost (the spool was full, "
    "or one was not taken in time) or failed (the gateway could not be read).",
)
INTERVAL = Family(
    "wireguard_exporter_snapshot_interval_seconds", "gauge", "How often a snapshot is to be taken."
)
SPOOLED_AT = Family(
    "wireguard_exporter_snapshot_last_spooled_timestamp_seconds",
    "gauge",
    "UNIX time of the last snapshot that is safe on this host; absent before the first.",
)
RECORDED_AT = Family(
    "wireguard_exporter_snapshot_last_success_timestamp_seconds",
    "gauge",
    "UNIX time of the last snapshot that reached the database; absent before the first.",
)
TAKE_DURATION = Family(
    "wireguard_exporter_snapshot_take_duration_seconds",
    "gauge",
    "How long the last snapshot took from its reading to the spool.",
)
WRITE_DURATION = Family(
    "wireguard_exporter_snapshot_write_duration_seconds",
    "gauge",
    "How long the database took for the last snapshot.",
)
GAPS = Family(
    "wireguard_exporter_snapshot_gaps_total",
    "counter",
    "Times about which nothing is recorded. reason: not-running, read-failed, late, clock, spool-full, "
    "spool-broken or frame-corrupt.",
)
SPOOL_SNAPSHOTS = Family(
    "wireguard_exporter_spool_snapshots", "gauge", "Snapshots on this host that the database has not yet."
)
SPOOL_BYTES = Family("wireguard_exporter_spool_bytes", "gauge", "What the spool takes of its quota.")
SPOOL_QUOTA = Family("wireguard_exporter_spool_quota_bytes", "gauge", "What the spool may take.")
SPOOL_OLDEST = Family(
    "wireguard_exporter_spool_oldest_timestamp_seconds",
    "gauge",
    "UNIX time of the oldest snapshot that the database has not yet; absent when it has all.",
)
SPOOL_FULL = Family(
    "wireguard_exporter_spool_full",
    "gauge",
    "Whether snapshots are being lost because the spool is at its quota or its disk is full (1) or not (0).",
)
SPOOL_BROKEN = Family(
    "wireguard_exporter_spool_broken",
    "gauge",
    "Whether nothing is recorded any more because the spool cannot be trusted (1) or not (0).",
)
DATABASE_UP = Family(
    "wireguard_exporter_database_up", "gauge", "Whether the database could be used last time (1) or not (0)."
)
DATABASE_ERRORS = Family(
    "wireguard_exporter_database_errors_total", "counter", "Tries that the database failed, by reason."
)
DATABASE_FAILING = Family(
    "wireguard_exporter_database_failing",
    "gauge",
    "Present, and 1, while snapshots do not reach the database, or days are not maintained. reason: "
    "unreachable, refused, schema, claimed, embedded, maintenance or failed.",
)
SCHEMA_OK = Family(
    "wireguard_exporter_database_schema_ok",
    "gauge",
    "Whether the schema is the one of this version, as far as is known (1), or not (0).",
)
DEFAULT_ROWS = Family(
    "wireguard_exporter_database_default_partition_rows",
    "gauge",
    "Rows that found no partition of their own; counting stops at 1,000 a table. 0 when all is well.",
)
PARTITIONS_UNTIL = Family(
    "wireguard_exporter_database_partitions_until_timestamp_seconds",
    "gauge",
    "UNIX time up to which partitions are made; absent before they were looked at.",
)
WORK = Family(
    "wireguard_exporter_work_steps",
    "gauge",
    "Long work under way. work: replay, migrate, maintain. state: done, goal.",
)

RECORDING_FAMILIES = (
    SNAPSHOTS,
    INTERVAL,
    SPOOLED_AT,
    RECORDED_AT,
    TAKE_DURATION,
    WRITE_DURATION,
    GAPS,
    SPOOL_SNAPSHOTS,
    SPOOL_BYTES,
    SPOOL_QUOTA,
    SPOOL_OLDEST,
    SPOOL_FULL,
    SPOOL_BROKEN,
    DATABASE_UP,
    DATABASE_ERRORS,
    DATABASE_FAILING,
    SCHEMA_OK,
    DEFAULT_ROWS,
    PARTITIONS_UNTIL,
    WORK,
)
