"""A token bucket: `rate_limit` of the web configuration file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RateLimit:
    """One request every `interval` seconds on average, and up to `burst` requests at once."""

    interval: float
    burst: int


class TokenBucket:
    """Starts full. The caller brings the clock: `now` is in seconds and never goes back."""

    def __init__(self, limit: RateLimit, now: float) -> None:
        self.limit = limit
        self._tokens = float(limit.burst)
        self._filled = now

    def take(self, now: float) -> bool:
        """Takes one token; False = the bucket is empty."""
        gained = (now - self._filled) / self.limit.interval
        self._tokens = min(self._tokens + gained, float(self.limit.burst))
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
