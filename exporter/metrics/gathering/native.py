"""Gathers the content of a page in the native schema from a reading."""

from __future__ import annotations

from exporter.metrics.declarations.content import InterfacePeers, NativeContent
from exporter.metrics.declarations.family import Family
from exporter.metrics.declarations.peers import FIRST_SEEN, LIFETIME_FAMILIES, PEER_FAMILIES
from exporter.metrics.gathering.blocks import KeptBlocks
from exporter.metrics.gathering.inputs import Inputs
from exporter.metrics.gathering.interfaces import interface_samples
from exporter.metrics.gathering.own import own_samples
from exporter.metrics.gathering.peers import reading_columns, recorded_columns, some_peers_samples
from exporter.metrics.gathering.sites import site_samples
from exporter.metrics.gathering.states import states


class NativeGatherer:
    """Gathers pages, one at a time, on one thread. Keeps the blocks of peers between readings."""

    def __init__(self, organisation: str, *, lifetime: bool) -> None:
        """`lifetime`: show the recorded totals of each peer, while the gateway is recorded."""
        self._organisation = organisation
        self._lifetime = lifetime
        self._kept: dict[str, KeptBlocks] = {}  # by interface

    def gather(self, inputs: Inputs) -> NativeContent:
        """Everything that the page shows."""
        snapshot, now = inputs.snapshot, inputs.snapshot.taken_at
        present = {device.label for device in snapshot.devices}
        self._kept = {label: self._kept.get(label) or KeptBlocks(label) for label in present}
        interfaces, counts, blocks = [], {}, {}
        for device in snapshot.devices:
            kept, observed = self._kept[device.label], inputs.observed[device.label]
            kept.update(device.peers, inputs.directory, inputs.generation)
            blocks[device.label] = kept.blocks
            counts[device.label] = states(device.last_handshake, kept.blocks, observed, now)
            columns = reading_columns(device, observed, now)
            if inputs.totals is not None:
                recorded = inputs.totals.get(device.label)
                columns |= recorded_columns(device.peers, recorded, lifetime=self._lifetime)
            interfaces.append(InterfacePeers(device.label, [kept.block for kept in kept.blocks], columns))
        unread = {label: len(seen.peers) for label, seen in inputs.observed.items() if label not in present}
        tables = {
            **interface_samples(snapshot, counts, unread, self._organisation),
            **some_peers_samples(blocks, inputs.observed),
            **site_samples(inputs.directory),
            **own_samples(inputs),
        }
        return NativeContent(tables, self._peer_families(inputs), interfaces)

    def _peer_families(self, inputs: Inputs) -> tuple[Family, ...]:
        if inputs.totals is None:
            return PEER_FAMILIES
        return (*PEER_FAMILIES, FIRST_SEEN, *(LIFETIME_FAMILIES if self._lifetime else ()))
