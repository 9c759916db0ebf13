"""All families of the native schema: names, types and help texts."""

from __future__ import annotations

import re

from exporter.metrics.declarations.exporter import EXPORTER_FAMILIES
from exporter.metrics.declarations.interfaces import INTERFACE_FAMILIES
from exporter.metrics.declarations.peers import (
    FIRST_SEEN,
    LIFETIME_FAMILIES,
    PEER_FAMILIES,
    SOME_PEERS_FAMILIES,
)
from exporter.metrics.declarations.recording import RECORDING_FAMILIES
from exporter.metrics.declarations.sites import SITE_FAMILIES

ALL = (
    *INTERFACE_FAMILIES,
    *PEER_FAMILIES,
    FIRST_SEEN,
    *LIFETIME_FAMILIES,
    *SOME_PEERS_FAMILIES,
    *SITE_FAMILIES,
    *EXPORTER_FAMILIES,
    *RECORDING_FAMILIES,
)


def test_names_follow_the_conventions() -> None:
    """Names are unique, also as OpenMetrics shortens them; counters end in _total, infos in _info."""
    short = [
        family.name.removesuffix({"counter": "_total", "info": "_info"}.get(family.kind, ""))
        for family in ALL
    ]
    assert len({*short}) == len({family.name for family in ALL}) == len(ALL)
    for family in ALL:
        assert re.fullmatch("wireguard_(interface|peer|site|exporter)_[a-z_]+[a-z]", family.name)
        assert family.kind in ("counter", "gauge", "info")
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name
        assert family.name.endswith("_info") == (family.kind == "info"), family.name
        assert family.help.endswith(".")
