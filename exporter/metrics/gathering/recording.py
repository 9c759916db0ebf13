"""The samples of the families about the recording."""

from __future__ import annotations

from exporter.metrics.declarations.content import Samples, Tables
from exporter.metrics.declarations.recording import (
    DATABASE_ERRORS,
    DATABASE_FAILING,
    DATABASE_UP,
    DEFAULT_ROWS,
    GAPS,
    INTERVAL,
    PARTITIONS_UNTIL,
    RECORDED_AT,
    SCHEMA_OK,
    SNAPSHOTS,
    SPOOL_BROKEN,
    SPOOL_BYTES,
    SPOOL_FULL,
    SPOOL_OLDEST,
    SPOOL_QUOTA,
    SPOOL_SNAPSHOTS,
    SPOOLED_AT,
    TAKE_DURATION,
    WORK,
    WRITE_DURATION,
)
from exporter.recording import RecordingState

RESULTS = ("spooled", "recorded", "lost", "failed")


def recording_samples(recording: RecordingState) -> Tables:
    """The samples of all families about the recording.

    The store's thread may change the state meanwhile, so each map is copied first.
    """
    database = {"database": recording.database}

    def once(value: float) -> Samples:
        return [({}, value)]

    def if_known(instant: float) -> Samples:
        return once(round(instant, 3)) if instant else []

    return {
        SNAPSHOTS: [({"result": result}, recording.snapshots[result]) for result in RESULTS],
        INTERVAL: once(recording.interval),
        SPOOLED_AT: if_known(recording.spooled_at),
        RECORDED_AT: if_known(recording.recorded_at),
        TAKE_DURATION: once(round(recording.take_duration, 6)),
        WRITE_DURATION: once(round(recording.write_duration, 6)),
        GAPS: [({"reason": reason}, count) for reason, count in sorted(recording.gaps.copy().items())],
        SPOOL_SNAPSHOTS: once(recording.spool_snapshots),
        SPOOL_BYTES: once(recording.spool_bytes),
        SPOOL_QUOTA: once(recording.spool_quota),
        SPOOL_OLDEST: if_known(recording.spool_oldest),
        SPOOL_FULL: once(recording.spool_full),
        SPOOL_BROKEN: once(bool(recording.spool_broken)),
        DATABASE_UP: [(database, int(recording.database_up))],
        DATABASE_ERRORS: [
            ({"reason": reason}, count) for reason, count in sorted(recording.database_errors.copy().items())
        ],
        DATABASE_FAILING: [({"reason": reason}, 1) for reason in sorted(recording.failing.copy())],
        SCHEMA_OK: once(not recording.schema),
        DEFAULT_ROWS: once(recording.default_rows),
        PARTITIONS_UNTIL: if_known(recording.partitions_until),
        WORK: [
            ({"work": name, "state": state}, steps)
            for name, work in sorted(recording.work.copy().items())
            for state, steps in (("done", work.done), ("goal", work.goal))
        ],
    }
