"""What is expected of a peer: the directory's word, or what its keepalive suggests."""

from __future__ import annotations

from exporter.directory.entry import Entry
from exporter.liveness import Expected, default_expected, default_window
from exporter.model import Peer


def expected_of(peer: Peer, entry: Entry | None) -> Expected:
    return entry.expected if entry and entry.expected else default_expected(peer.persistent_keepalive)


def window_of(peer: Peer, entry: Entry | None) -> int:
    """Seconds from which the peer's handshake is stale."""
    return entry.stale_after if entry and entry.stale_after else default_window(peer.persistent_keepalive)
