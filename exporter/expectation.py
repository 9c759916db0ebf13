"""The expectation and the window of a peer: from the directory, or else from its keepalive."""

from __future__ import annotations

from exporter.directory.entry import Entry
from exporter.liveness import Expected, default_expected, default_window
from exporter.model import Peer


def expected_of(peer: Peer, entry: Entry | None) -> Expected:
    """The directory's `expected`, or a default that depends on the keepalive."""
    return entry.expected if entry and entry.expected else default_expected(peer.persistent_keepalive)


def window_of(peer: Peer, entry: Entry | None) -> int:
    """The directory's `stale_after`, or a default that depends on the keepalive; seconds."""
    return entry.stale_after if entry and entry.stale_after else default_window(peer.persistent_keepalive)
