"""Applies a frame to the peers of one interface."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from exporter.store.snapshot.frame import DeviceFrame, PeerConfig
from exporter.store.storable import storable
from exporter.store.writer.changeset import Batch, Changeset, StateChange
from exporter.store.writer.mirror import Interface, Peers
from exporter.store.writer.totals import add_counters


class PeerUpdate:
    """Applies one frame to the peers of one interface. `changes` is by organisation; `taken_at` is
    the instant of the snapshot, in UNIX seconds."""

    def __init__(
        self, peers: Peers, interface: Interface, changes: Mapping[str, Changeset], taken_at: float
    ) -> None:
        self._peers = peers
        self._interface = interface
        self._changes = changes
        self._taken_at = taken_at
        self._new = set[int]()  # peers without a row of `argus.peer_state`
        self._returned = set[int]()  # peers whose row of `argus.peer_state` is from before
        self._reset = set[int]()  # returned peers whose counters were reset

    def apply(self, device: DeviceFrame, *, all_reset: bool, is_new_day: bool) -> None:
        """`all_reset`: the counters of every peer were reset. `is_new_day`: this is the first reading of
        the interface on a UTC day. Raises LookupError for a slot that no previous frame added."""
        is_first = self._interface.slots is None
        slots = self._interface.slots = self._interface.slots or []
        self._configure_slots(slots, device)
        if is_first:
            self._remove_peers_without_slot(slots)
        changed = add_counters(self._peers, slots, device, self._reset, all_reset=all_reset)
        for slot in device.removed:
            if slots[slot] >= 0:
                remove_peer(self._peers, self._interface, self._changes, slots[slot])
                slots[slot] = -1
        self._sort_into_batches(changed, is_new_day=is_new_day)

    # Configuration

    def _configure_slots(self, slots: list[int], device: DeviceFrame) -> None:
        configs = dict(device.configured)
        for key in device.added:
            slots.append(self._add_or_configure(key, configs.pop(len(slots))))
        for slot, config in configs.items():
            if slots[slot] >= 0:
                slots[slot] = self._add_or_configure(self._peers.key[slots[slot]], config)

    def _remove_peers_without_slot(self, slots: list[int]) -> None:
        """The first frame of an epoch that has the interface adds every peer. All others were removed."""
        added = set(slots)
        for index in [index for index in self._interface.present.values() if index not in added]:
            remove_peer(self._peers, self._interface, self._changes, index)

    def _add_or_configure(self, key: str, config: PeerConfig) -> int:
        """Configures a peer, and returns its index. The peer may be new, may return after it was removed, or
        may move here from another organisation."""
        row = self._interface.rows[storable(config.organisation)]
        index, present_index = row.peers.get(key, -1), self._interface.present.get(key, -1)
        if index >= 0 and index == present_index:
            self._configure(index, config)
            return index
        changes = self._changes[row.gateway.organisation]
        is_new = index < 0
        if is_new:
            index = self._peers.add(row, key, 0, None, first_seen=int(self._taken_at))
            self._new.add(index)
            changes.new_peers.append(index)
        else:
            changes.returned_peers.append(index)
            self._returned.add(index)
            if present_index < 0 and index not in row.removed_with_it:
                self._reset.add(index)  # removed from an interface that stayed: WireGuard counts from zero
        self._configure(index, config)
        if present_index >= 0:
            self._move_counters(present_index, index, is_new)
            remove_peer(self._peers, self._interface, self._changes, present_index)
        self._interface.present[key] = index
        row.present += 1
        return index

    def _move_counters(self, source: int, target: int, is_new: bool) -> None:
        """A peer moved to another organisation: its counters continue there (rules 3 and 4 of apply.py)."""
        peers = self._peers
        for column in (peers.handshake, peers.receive, peers.transmit):
            column[target] = column[source]
        if is_new:
            peers.receive_total[target] = peers.receive[source]
            peers.transmit_total[target] = peers.transmit[source]

    def _configure(self, index: int, config: PeerConfig) -> None:
        """Raises the peer's clearance, and opens a new row of its configuration if that changed."""
        peers = self._peers
        row, previous, clearance_before = peers.interface[index], peers.config[index], peers.clearance[index]
        changes = self._changes[row.gateway.organisation]
        clearance = max(config.clearance, clearance_before, row.clearance, row.gateway.clearance)
        new = _as_stored(config, clearance)
        if clearance > clearance_before:
            peers.clearance[index] = clearance
            if index not in self._new:
                changes.raised_peers[clearance, row.label].append(index)
        if previous == new:
            return
        peers.config[index] = new
        if previous and replace(previous, clearance=clearance) == new:
            return  # only the clearance changed: the open row is raised
        if previous:
            changes.closed_configs.append(index)
        changes.opened_configs.append((index, new))

    # Batches of states and samples

    def _sort_into_batches(self, changed: list[int], *, is_new_day: bool) -> None:
        new, returned = self._new, self._returned
        if not new and not returned and not is_new_day:
            self._add_batch(changed, "update", active=True)
            return
        self._add_batch([index for index in changed if index not in new], "update", active=True)
        self._add_batch([index for index in changed if index in new], "insert", active=True)
        self._add_batch(sorted(new.difference(changed)), "insert", active=False)
        self._add_batch(sorted(returned.difference(changed)), "update", active=False)
        if is_new_day:
            idle = set(self._interface.present.values()).difference(changed, new, returned)
            self._add_batch(sorted(idle), "keep", active=False)

    def _add_batch(self, indices: list[int], state: StateChange, *, active: bool) -> None:
        """Splits the peers by organisation and clearance, and adds them to the changesets."""
        peers = self._peers
        clearances = set(map(peers.clearance.__getitem__, indices))
        groups = defaultdict[tuple[str, int], list[int]](list)
        if len(clearances) == 1 and len(self._interface.rows) == 1:
            groups[next(iter(self._interface.rows)), clearances.pop()] = indices
        else:
            for index in indices:
                groups[peers.interface[index].gateway.organisation, peers.clearance[index]].append(index)
        for (organisation, clearance), group in groups.items():
            batches = self._changes[organisation].batches
            batches.setdefault(Batch(clearance, state, active), []).extend(group)


def remove_peer(peers: Peers, interface: Interface, changes: Mapping[str, Changeset], index: int) -> None:
    """The peer is no longer present in the organisation of this index."""
    row, key = peers.interface[index], peers.key[index]
    if interface.present.get(key) == index:
        del interface.present[key]
    peers.config[index] = None
    row.present -= 1
    changes[row.gateway.organisation].removed_peers.append(index)


def _as_stored(config: PeerConfig, clearance: int) -> PeerConfig:
    """The configuration as the database holds it: with this clearance, and with names it can store."""
    texts = config.endpoint, config.organisation, config.name, config.site, config.owner
    clean = tuple(map(storable, texts))
    if clearance == config.clearance and clean == texts:
        return config
    endpoint, organisation, name, site, owner = clean
    return replace(
        config,
        endpoint=endpoint,
        organisation=organisation,
        name=name,
        site=site,
        owner=owner,
        clearance=clearance,
    )
