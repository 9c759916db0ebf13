"""The samples of the families about interfaces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from exporter.liveness import State
from exporter.metrics.declarations.content import Tables
from exporter.metrics.declarations.family import Family
from exporter.metrics.declarations.interfaces import (
    INTERFACE_FAMILIES,
    INTERFACE_INFO,
    INTERFACE_PEERS,
    INTERFACE_UP,
    LINK_FAMILIES,
    LISTEN_PORT,
)
from exporter.model import Snapshot


def interface_samples(
    snapshot: Snapshot, counts: Mapping[str, Counter[State]], unread: Mapping[str, int], organisation: str
) -> Tables:
    """The samples of all interface families.

    `counts`: peers by state, of each interface that was read. `unread`: the last known number of peers of
    each interface that could not be read.
    """
    samples: dict[Family, list[tuple[Mapping[str, str], float]]] = {
        family: [] for family in INTERFACE_FAMILIES
    }
    for device in snapshot.devices:
        own = {"interface": device.label}
        info = {
            **own,
            "public_key": device.public_key,
            "gateway": snapshot.gateway,
            "organisation": organisation,
            "kind": device.kind,
        }
        samples[INTERFACE_INFO].append((info, 1))
        samples[LISTEN_PORT].append((own, device.listen_port))
        for state in State:
            if state is not State.UNOBSERVED:
                pair = {**own, "state": state.value}, counts[device.label][state]
                samples[INTERFACE_PEERS].append(pair)
        if device.link:
            samples[INTERFACE_UP].append((own, int(device.link.up)))
            for counter, family in LINK_FAMILIES.items():
                samples[family].append((own, getattr(device.link, counter)))
    for label, peers in unread.items():
        pair = {"interface": label, "state": State.UNOBSERVED.value}, peers
        samples[INTERFACE_PEERS].append(pair)
    return samples
