"""The samples of interfaces and their links."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics.declarations.interfaces import INTERFACE_PEERS, INTERFACE_UP, LINK_FAMILIES
from exporter.metrics.gathering.interfaces import interface_samples
from exporter.model import Link, Snapshot
from tests.kit.gateways import MOST, NOW
from tests.unit.metrics.gathering.kit import WG0


def test_interface_without_a_link() -> None:
    """If the link could not be read, its families are absent, and all others have samples."""
    samples = interface_samples(Snapshot("gw", NOW, (WG0,)), {"wg0": Counter()}, {}, "")
    unknown = {INTERFACE_UP, *LINK_FAMILIES.values()}
    assert {family for family, found in samples.items() if not found} == unknown


@given(st.builds(Link, st.booleans(), *[st.integers(0, MOST)] * 8))
def test_link_counters(link: Link) -> None:
    """Each counter of the link is in the family with its name."""
    device = replace(WG0, link=link)
    samples = interface_samples(Snapshot("gw", NOW, (device,)), {"wg0": Counter()}, {}, "")
    own_labels = {"interface": "wg0"}
    for field in ("receive", "transmit"):
        for what in ("bytes", "packets", "errors", "drops"):
            value = getattr(link, f"{field}_{what}")
            assert samples[LINK_FAMILIES[f"{field}_{what}"]] == [(own_labels, value)]
    assert samples[INTERFACE_UP] == [(own_labels, int(link.up))]


def test_unread_interface_has_unobserved_peers_only() -> None:
    """An interface that could not be read has only the number of its last known peers."""
    samples = {**interface_samples(Snapshot("gw", NOW), {}, {"wg0": 3}, "")}
    assert samples.pop(INTERFACE_PEERS) == [({"interface": "wg0", "state": "unobserved"}, 3)]
    assert not any(samples.values())
