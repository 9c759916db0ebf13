"""Conversions of instants and days: UNIX seconds in Python, `timestamptz` in SQL, days in UTC.

Instants are rounded to whole milliseconds, the resolution of snapshots: 1.0004 s and 0.9996 s are both 1 s.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

MILLISECOND = timedelta(milliseconds=1)
DAY = timedelta(days=1)
DAY_SECONDS = 86_400
DAY_MILLISECONDS = 86_400_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(seconds: float) -> datetime:
    """UNIX seconds as the database takes them, to the millisecond."""
    return EPOCH + MILLISECOND * round(seconds * 1000)


def start_of(day: date) -> datetime:
    """The first instant of a day."""
    return datetime.combine(day, time.min, UTC)
