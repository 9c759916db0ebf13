"""Argus WireGuard: what every peer of a WireGuard gateway is doing, told to Prometheus."""

__version__ = "0.2.0"
