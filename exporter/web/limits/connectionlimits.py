"""Limits on the number of connections and on the time that each may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of the server that hold for every route.

    `head_seconds` is the time limit for the TLS handshake, and for a request's head from its first byte;
    `body_seconds` for a request's body; `write_seconds` for sending a whole reply, or one piece of a stream.
    `keepalive_seconds` is how long a connection may be idle between two requests: longer than a usual scrape
    interval, so that Prometheus keeps its connection.
    """

    connections: int = 128
    head_seconds: float = 10.0
    body_seconds: float = 10.0
    write_seconds: float = 30.0
    keepalive_seconds: float = 150.0
    head_bytes: int = 8190  # of the request line, and of each header
