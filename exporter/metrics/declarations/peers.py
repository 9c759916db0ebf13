"""The families of the native schema about peers.

Each series has the labels `interface` and `public_key`. Only `wireguard_peer_info` has more, and queries
join with it. If other families had more labels, each change of a label would end a series and start another.
"""

from __future__ import annotations

from exporter.metrics.declarations.family import Family

PEER_INFO = Family(
    "wireguard_peer_info",
    "info",
    "Name, site, role and expectation of the peer, from the directory; always 1.",
)
RECEIVED_BYTES = Family(
    "wireguard_peer_receive_bytes_total",
    "counter",
    "Bytes received from the peer, handshakes and keepalives included.",
)
TRANSMITTED_BYTES = Family(
    "wireguard_peer_transmit_bytes_total",
    "counter",
    "Bytes sent to the peer, handshakes and keepalives included.",
)
LAST_HANDSHAKE = Family(
    "wireguard_peer_last_handshake_timestamp_seconds",
    "gauge",
    "UNIX time of the peer's last handshake; 0 = never.",
)
HANDSHAKE_AGE = Family(
    "wireguard_peer_handshake_age_seconds",
    "gauge",
    "Seconds since the peer's last handshake, not below 0; absent if there was none.",
)
STALE_AFTER = Family(
    "wireguard_peer_stale_after_seconds",
    "gauge",
    "Handshake age above which the peer is stale: stale_after of the directory, or a default that depends "
    "on the keepalive.",
)
KEEPALIVE = Family(
    "wireguard_peer_persistent_keepalive_seconds",
    "gauge",
    "Interval of keepalives sent to the peer; 0 = off.",
)
ALLOWED_IPS = Family("wireguard_peer_allowed_ips", "gauge", "Number of allowed IPs of the peer.")
HANDSHAKES = Family(
    "wireguard_peer_handshakes_total",
    "counter",
    "Handshakes seen with the peer since the exporter started; several between two readings count once.",
)
ENDPOINT_CHANGES = Family(
    "wireguard_peer_endpoint_changes_total",
    "counter",
    "Changes of the peer's endpoint seen since the exporter started.",
)
PEER_FAMILIES = (
    PEER_INFO,
    RECEIVED_BYTES,
    TRANSMITTED_BYTES,
    LAST_HANDSHAKE,
    HANDSHAKE_AGE,
    STALE_AFTER,
    KEEPALIVE,
    ALLOWED_IPS,
    HANDSHAKES,
    ENDPOINT_CHANGES,
)

# While the gateway is recorded.
FIRST_SEEN = Family(
    "wireguard_peer_first_seen_timestamp_seconds",
    "gauge",
    "UNIX time at which the peer was first recorded on this interface.",
)

# With `recording.lifetime_counters`.
LIFETIME_RECEIVED_BYTES = Family(
    "wireguard_peer_lifetime_receive_bytes_total",
    "counter",
    "Bytes received from the peer across all counter resets, up to the last snapshot in the database.",
)
LIFETIME_TRANSMITTED_BYTES = Family(
    "wireguard_peer_lifetime_transmit_bytes_total",
    "counter",
    "Bytes sent to the peer across all counter resets, up to the last snapshot in the database.",
)
LIFETIME_FAMILIES = (LIFETIME_RECEIVED_BYTES, LIFETIME_TRANSMITTED_BYTES)

# With series for a few peers only.
UNKNOWN = Family(
    "wireguard_peer_unknown",
    "gauge",
    "1 for a peer that is in no directory file, if any file lists peers; otherwise absent.",
)
ALLOWED_IPS_CHANGED = Family(
    "wireguard_peer_allowed_ips_changed_timestamp_seconds",
    "gauge",
    "UNIX time of the last change of the peer's allowed IPs since the exporter started, if any.",
)
ENDPOINT_ADDRESS_CHANGES = Family(
    "wireguard_peer_endpoint_address_changes_total",
    "counter",
    "Changes of the address of the peer's endpoint since the exporter started, if the endpoint changed.",
)
ENDPOINT_RETURNS = Family(
    "wireguard_peer_endpoint_returns_total",
    "counter",
    "Changes of the peer's endpoint back to the previous one since the exporter started, if it changed.",
)
SOME_PEERS_FAMILIES = (UNKNOWN, ALLOWED_IPS_CHANGED, ENDPOINT_ADDRESS_CHANGES, ENDPOINT_RETURNS)
