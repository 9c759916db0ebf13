"""The families of the native schema about interfaces."""

from __future__ import annotations

from exporter.metrics.declarations.family import Family

INTERFACE_INFO = Family("wireguard_interface_info", "info", "A WireGuard interface; always 1.")
INTERFACE_UP = Family(
    "wireguard_interface_up", "gauge", "Whether the link is administratively up (1) or not (0)."
)
LISTEN_PORT = Family(
    "wireguard_interface_listen_port", "gauge", "UDP port on which the interface listens; 0 = none."
)
INTERFACE_PEERS = Family(
    "wireguard_interface_peers",
    "gauge",
    "Peers of the interface by state: never, active, idle, stale, one-way, clock-skew; unobserved if the "
    "interface could not be read.",
)

_LINK_COUNTERS = (
    ("receive_bytes", "Bytes received on the link"),
    ("transmit_bytes", "Bytes sent on the link"),
    ("receive_packets", "Packets received on the link"),
    ("transmit_packets", "Packets sent on the link"),
    ("receive_errors", "Receive errors of the link"),
    ("transmit_errors", "Transmit errors of the link"),
    ("receive_drops", "Received packets that the link dropped"),
    ("transmit_drops", "Packets to send that the link dropped"),
)
# By the name of the counter of a link.
LINK_FAMILIES = {
    name: Family(f"wireguard_interface_{name}_total", "counter", f"{text}, as `ip -s link` shows them.")
    for name, text in _LINK_COUNTERS
}

INTERFACE_FAMILIES = (INTERFACE_INFO, INTERFACE_UP, LISTEN_PORT, INTERFACE_PEERS, *LINK_FAMILIES.values())
