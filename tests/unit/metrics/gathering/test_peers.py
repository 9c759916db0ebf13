"""The columns of peers that change with each reading."""

from __future__ import annotations

import pytest

from exporter.metrics.declarations.peers import HANDSHAKE_AGE
from exporter.metrics.gathering.peers import reading_columns
from exporter.model import Peer
from tests.kit.gateways import NOW, Row, key, with_peers
from tests.unit.metrics.gathering.kit import WG0, observed


@pytest.mark.parametrize(
    ("handshake", "now", "age"),
    [(0, NOW, None), (90, 100.99, 10), (100, 100.0, 0), (105, 100.0, 0), (0, 0.0, None)],
)
def test_handshake_age(handshake: int, now: float, age: int | None) -> None:
    """The age is whole seconds, 0 for a handshake in the future, and absent without a handshake."""
    rows: list[Row] = [(Peer(key(1)), handshake, 0, 0), (Peer(key(2)), 50, 0, 0)]
    device = with_peers(WG0, rows)
    columns = reading_columns(device, observed(device), now)
    assert columns[HANDSHAKE_AGE][0] == age
