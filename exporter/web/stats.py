"""What the server counts about itself, for the daemon to make metrics of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class WebStats:
    """Counters since the start; every one only grows."""

    requests: Counter[int] = field(default_factory=Counter)  # answers by HTTP status code
    auth_failures: int = 0  # credentials that were given and are wrong
    connections_refused: int = 0  # more at once than the limit
    handshake_failures: int = 0  # TLS handshakes, and client certificates without an allowed name
    head_timeouts: int = 0  # connections whose request head did not come in time
    write_timeouts: int = 0  # answers whose reader was too slow
