"""Peers by state, counted in bulk."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.directory.entry import Directory
from exporter.liveness import State, judge
from exporter.metrics.gathering.states import states
from exporter.model import Peer
from tests.kit.gateways import DIRECTORIES, HANDSHAKES, NOW, PEERS, history, key, with_peers
from tests.unit.metrics.gathering.kit import NOBODY, WG0, blocks_of, observed

BYTES = st.integers(0, 1)
TIMES = HANDSHAKES | st.integers(0, 200) | st.integers(int(NOW) - 700, int(NOW) + 10)
TWO_READINGS = st.lists(
    st.tuples(PEERS, TIMES, BYTES, BYTES, BYTES, BYTES), unique_by=lambda row: row[0].public_key, max_size=8
)
CLOCKS = st.sampled_from((0.0, 100.0, NOW)) | st.floats(
    NOW - 400, NOW + 400
)  # 1970: the clock is not set yet


@given(TWO_READINGS, DIRECTORIES, CLOCKS, st.integers(1, 20))
def test_states_in_bulk_are_each_peers_state(
    rows: list[tuple[Peer, int, int, int, int, int]], directory: Directory, now: float, size: int
) -> None:
    """Counting by blocks gives the same states as judging each peer, whatever the clock is."""
    before = with_peers(WG0, [(peer, then, received, sent) for peer, then, received, sent, _, _ in rows])
    after = with_peers(
        WG0, [(peer, then, received + more, sent + most) for peer, then, received, sent, more, most in rows]
    )
    seen = observed(before, after)
    blocks = blocks_of(after, directory, size)
    windows = [window for block in blocks for window in block.windows]
    expected = [word for block in blocks for word in block.expected]
    alone = Counter(
        judge(then, now, window, word, unanswered=most > 0 and more == 0)
        for (_, then, _, _, more, most), window, word in zip(rows, windows, expected, strict=True)
    )
    assert states(after.last_handshake, blocks, seen, now) == alone


@pytest.mark.parametrize(
    ("handshakes", "now", "expected"),
    [
        ((0, 90), 100.0, {State.NEVER: 1, State.ACTIVE: 1}),  # a clock that starts in 1970
        ((int(NOW) - 320, int(NOW) - 10), NOW, {State.STALE: 1, State.ACTIVE: 1}),
        ((int(NOW) + 6, int(NOW) + 5), NOW, {State.CLOCK_SKEW: 1, State.ACTIVE: 1}),
    ],
)
def test_one_block_with_several_states(
    handshakes: tuple[int, int], now: float, expected: dict[State, int]
) -> None:
    """Peers of one block that differ in window or state are counted separately."""
    short, long = Peer(key(1), persistent_keepalive=25), Peer(key(2), persistent_keepalive=500)
    device = with_peers(WG0, [(short, handshakes[0], 0, 0), (long, handshakes[1], 0, 0)])
    assert states(device.last_handshake, blocks_of(device, NOBODY, 2), observed(device), now) == expected


def test_states_of_everything() -> None:
    """The gateway that has everything has peers in all states but unobserved."""
    before, after = (snapshot.devices[0] for snapshot in history())
    counts = states(after.last_handshake, blocks_of(after, NOBODY, 3), observed(before, after), NOW)
    assert {state for state, count in counts.items() if count} == {*State} - {State.UNOBSERVED}
