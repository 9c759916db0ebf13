"""Argus WireGuard: exports every peer of a WireGuard gateway to Prometheus, and records snapshots of it."""

__version__ = "0.2.0"
