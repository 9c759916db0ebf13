"""The families of mdlayher/wireguard_exporter (`collector.go`), without those about its own Go process.

In the order of their names, in which the registry of client_golang prints them.
"""

from __future__ import annotations

from exporter.metrics.declarations.family import Family

DEVICE_INFO = Family("wireguard_device_info", "gauge", "Metadata about a device.")
ALLOWED_IPS_INFO = Family(
    "wireguard_peer_allowed_ips_info",
    "gauge",
    "Metadata about each of a peer's allowed IP subnets for a given device.",
)
PEER_INFO = Family(
    "wireguard_peer_info",
    "gauge",
    "Metadata about a peer. The public_key label on peer metrics refers to the peer's public key; "
    "not the device's public key.",
)
LAST_HANDSHAKE = Family(
    "wireguard_peer_last_handshake_seconds",
    "gauge",
    "UNIX timestamp for the last handshake with a given peer.",
)
RECEIVED_BYTES = Family(
    "wireguard_peer_receive_bytes_total", "counter", "Number of bytes received from a given peer."
)
TRANSMITTED_BYTES = Family(
    "wireguard_peer_transmit_bytes_total", "counter", "Number of bytes transmitted to a given peer."
)
MDLAYHER_FAMILIES = (
    DEVICE_INFO,
    ALLOWED_IPS_INFO,
    PEER_INFO,
    LAST_HANDSHAKE,
    RECEIVED_BYTES,
    TRANSMITTED_BYTES,
)
