"""The families about the recording: snapshots, the spool, the database."""

from __future__ import annotations

from exporter.metrics.declarations.family import Family

SNAPSHOTS = Family(
    "wireguard_exporter_snapshots_total",
    "counter",
    "Snapshots by result: spooled (safe on this host), recorded (in the database), lost (the spool was full, "
    "or it was not taken in time) or failed (the gateway could not be read).",
)
INTERVAL = Family(
    "wireguard_exporter_snapshot_interval_seconds", "gauge", "Configured time between two snapshots."
)
SPOOLED_AT = Family(
    "wireguard_exporter_snapshot_last_spooled_timestamp_seconds",
    "gauge",
    "UNIX time of the last snapshot that was written to the spool; absent before the first.",
)
RECORDED_AT = Family(
    "wireguard_exporter_snapshot_last_success_timestamp_seconds",
    "gauge",
    "UNIX time of the last snapshot that was written to the database; absent before the first.",
)
TAKE_DURATION = Family(
    "wireguard_exporter_snapshot_take_duration_seconds",
    "gauge",
    "Time to read the gateway and write the last snapshot to the spool.",
)
WRITE_DURATION = Family(
    "wireguard_exporter_snapshot_write_duration_seconds",
    "gauge",
    "Time to write the last snapshot to the database.",
)
GAPS = Family(
    "wireguard_exporter_snapshot_gaps_total",
    "counter",
    "Gaps in the recording. reason: not-running, read-failed, late, clock, spool-full, "
    "spool-broken or frame-corrupt.",
)
SPOOL_SNAPSHOTS = Family(
    "wireguard_exporter_spool_snapshots", "gauge", "Snapshots in the spool, which wait for the database."
)
SPOOL_BYTES = Family("wireguard_exporter_spool_bytes", "gauge", "Disk space that the spool uses.")
SPOOL_QUOTA = Family(
    "wireguard_exporter_spool_quota_bytes", "gauge", "Disk space that the spool is allowed to use."
)
SPOOL_OLDEST = Family(
    "wireguard_exporter_spool_oldest_timestamp_seconds",
    "gauge",
    "UNIX time of the oldest snapshot in the spool; absent if the spool is empty.",
)
SPOOL_FULL = Family(
    "wireguard_exporter_spool_full",
    "gauge",
    "Whether snapshots are lost because the spool is at its quota or its disk is full (1) or not (0).",
)
SPOOL_BROKEN = Family(
    "wireguard_exporter_spool_broken",
    "gauge",
    "Whether recording has stopped because the spool cannot be trusted (1) or not (0).",
)
DATABASE_UP = Family(
    "wireguard_exporter_database_up",
    "gauge",
    "Whether the last use of the database succeeded (1) or failed (0).",
)
DATABASE_ERRORS = Family(
    "wireguard_exporter_database_errors_total", "counter", "Failed attempts to use the database, by reason."
)
DATABASE_FAILING = Family(
    "wireguard_exporter_database_failing",
    "gauge",
    "1 while snapshots do not reach the database or partitions are not maintained, otherwise absent. reason: "
    "unreachable, refused, schema, claimed, embedded, maintenance or failed.",
)
SCHEMA_OK = Family(
    "wireguard_exporter_database_schema_ok",
    "gauge",
    "Whether the database schema fits this version (1) or not (0); 1 before the first check.",
)
DEFAULT_ROWS = Family(
    "wireguard_exporter_database_default_partition_rows",
    "gauge",
    "Rows in default partitions, counted up to 1,000 per table; more than 0 is a fault.",
)
PARTITIONS_UNTIL = Family(
    "wireguard_exporter_database_partitions_until_timestamp_seconds",
    "gauge",
    "UNIX time up to which partitions exist; absent before the first check.",
)
WORK = Family(
    "wireguard_exporter_work_steps",
    "gauge",
    "Steps of a long task in progress. work: replay, migrate, maintain. state: done, goal.",
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
