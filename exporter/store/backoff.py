"""The waiting time before the next try."""

from __future__ import annotations

import random


class Backoff:
    """Exponential backoff with jitter, so that many gateways that lost one server do not return at once.

    `first` and `most` bound the first and every waiting time, in seconds. `rng` is the source of the jitter.
    """

    def __init__(self, first: float = 1.0, most: float = 60.0, rng: random.Random | None = None) -> None:
        self._first = first
        self._most = most
        self._rng = rng or random.Random()  # noqa: S311 (no secret)
        self._bound = first

    def next(self) -> float:
        """Seconds to wait: between a tenth of the bound and the bound, which doubles with each call."""
        wait = self._rng.uniform(self._bound / 10, self._bound)
        self._bound = min(self._bound * 2, self._most)
        return wait

    def reset(self) -> None:
        """Starts again with the first bound, after a success."""
        self._bound = self._first
