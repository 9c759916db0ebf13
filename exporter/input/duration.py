"""Durations as they are written in files and on the command line."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?", re.ASCII)
_DURATION = re.compile(
    r"(?:([0-9]+)w)?(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?(?:([0-9]+)ms)?", re.ASCII
)
_UNITS = (604800.0, 86400.0, 3600.0, 60.0, 1.0, 0.001)


def duration(text: str) -> float | None:
    """Seconds in `300`, `0.5`, `5m`, `1h30m`, `250ms` (w d h m s ms, largest first); None = no duration."""
    if _NUMBER.fullmatch(text):
        return float(text)
    match = _DURATION.fullmatch(text)
    if not text or not match:
        return None
    return sum(int(count[:16]) * unit for count, unit in zip(match.groups("0"), _UNITS, strict=True))
