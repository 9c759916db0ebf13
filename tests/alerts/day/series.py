"""Series of samples, and their notation in promtool's test files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

STEP = 30  # seconds between two scrapes
STALE = float("inf")  # a stale marker: the series has ended


@dataclass(frozen=True)
class Series:
    """One sample for each step: a number, `STALE`, or None for none."""

    name: str
    labels: Mapping[str, str]
    values: Sequence[float | None]

    @property
    def selector(self) -> str:
        labels = ", ".join(f'{name}="{value}"' for name, value in self.labels.items())
        return f"{self.name}{{{labels}}}"

    @property
    def notation(self) -> str:
        """The values in promtool's notation: `5` and a difference for each run of equal differences."""
        return " ".join(_runs(self.values))


def _runs(values: Sequence[float | None]) -> Iterator[str]:
    at = 0
    while at < len(values):
        first = values[at]
        end = at + 1
        if first is None or first == STALE:
            while end < len(values) and values[end] == first:
                end += 1
            yield f"_x{end - at}" if first is None else "stale"
            if first == STALE and end - at > 1:
                yield f"_x{end - at - 1}"
        else:
            difference = _difference(values, at)
            while end < len(values) and difference is not None and _difference(values, end - 1) == difference:
                end += 1
            yield f"{first:.0f}{difference or 0:+.0f}x{end - at - 1}" if end - at > 1 else f"{first:.0f}"
        at = end


def _difference(values: Sequence[float | None], at: int) -> float | None:
    """The difference to the next value, if both are numbers."""
    if at + 1 >= len(values):
        return None
    here, there = values[at], values[at + 1]
    if here is None or there is None or STALE in (here, there):
        return None
    return there - here
