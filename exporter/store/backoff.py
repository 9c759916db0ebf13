"""How long to wait before the next try."""

from __future__ import annotations

import random


class Backoff:
    """Exponential, with full jitter: a thousand gateways that lost one server do not come back at one time.

    `first` and `most`: seconds, longest first and longest of all. `rng`: the source of the jitter.
    """

    def __init__(self, first: float = 1.0, most: float = 60.0, rng: random.Random | None = None) -> None:
        self._first = first
        self._most = most
        self._rng = rng or random.Random()  # noqa: S311 - no secret
        self._bound = first

    def next(self) -> float:
        """Seconds to wait now: at least a tenth of the bound, which doubles with each call."""
        wait = self._rng.uniform(self._bound / 10, self._bound)
        self._bound = min(self._bound * 2, self._most)
        return wait

    def reset(self) -> None:
        """It worked."""
        self._bound = self._first
