"""Counts answers, refusals and failures of the server. The daemon exports the counts as metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class WebStats:
    """Counters since the start; each only grows."""

    requests: Counter[int] = field(default_factory=Counter)  # answers by HTTP status code
    auth_failures: int = 0  # requests with a wrong user or password
    connections_refused: int = 0  # connections closed because of the limit
    handshake_failures: int = 0  # TLS handshakes that failed, and client certificates without an allowed name
    head_timeouts: int = 0  # connections whose request head did not arrive in time
    write_timeouts: int = 0  # answers whose client read too slowly
