"""The families of MindFlavor/prometheus_wireguard_exporter 3.6.6 (`src/wireguard.rs`)."""

from __future__ import annotations

from exporter.metrics.declarations.family import Family

SENT_BYTES = Family("wireguard_sent_bytes_total", "counter", "Bytes sent to the peer")
RECEIVED_BYTES = Family("wireguard_received_bytes_total", "counter", "Bytes received from the peer")
LATEST_HANDSHAKE = Family(
    "wireguard_latest_handshake_seconds", "gauge", "UNIX timestamp seconds of the last handshake"
)
HANDSHAKE_DELAY = Family(
    "wireguard_latest_handshake_delay_seconds", "gauge", "Seconds from the last handshake"
)
MINDFLAVOR_FAMILIES = (SENT_BYTES, RECEIVED_BYTES, LATEST_HANDSHAKE, HANDSHAKE_DELAY)
