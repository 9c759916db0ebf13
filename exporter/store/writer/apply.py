"""A frame, applied to the mirror: the running totals, and the rows to write.

Example: the received bytes of two peers on `wg0`, in five snapshots. Of peer A the database already holds the
counter 400 and the total 9400. Peer B is not in the database.

    snapshot  the frame says           counter  total  rows written
    1         A: received 1000            1000  10000  state updated, sample
    2         A: received 1500            1500  10500  state updated, sample
    3         wg0: unread, timeout        1500  10500  gap opened at snapshot 2
    4         A: received 200              200  10700  state updated, sample, gap closed
    5         B: added, received 5000     5000   5000  peer, configuration, state inserted, sample

Snapshot 1 adds 1000 - 400, snapshot 2 adds 1500 - 1000. Before snapshot 4 the counter was reset, so the whole
200 is added. B is new, so its total starts at 5000. Sent bytes are totalled in the same way.

Totals:

1. Add the difference to the previous counter; after a reset, add the whole counter. A peer's counters were
   reset if one of them is smaller than before, if its handshake is gone, if its interface was created again
   or the host rebooted, if it was removed from an interface and returned to it, or if the frame lists it.
2. A frame can also carry bytes: those that a peer moved after the previous kept frame and before a reset.
   They are added as well.
3. For a peer seen for the first time, the totals start at the current counters.
4. A peer that moves to another organisation keeps its counters. Its row there gets the bytes that it moves
   from then on; if that row is new, rule 3 holds.
5. An interface that is removed and comes back as the same instance still has its counters: no reset.
6. Totals never decrease. They stop at 2^63 - 1, the largest number that the database can hold.

Rows:

7. A peer whose counters or handshake changed gets a sample, and its state is updated. On the first reading
   of its interface on a UTC day every present peer gets a sample: each day's samples are complete.
8. A row of configuration is valid from its first snapshot until the first one with another configuration.
9. An interface that cannot be read has a gap, from its last reading to its next one.
10. An interface that the frame does not mention was removed. If a listing failed, it has a gap instead.
11. A clearance can be raised, never lowered.

Rules 1, 2 and 6 are in totals.py, the others for peers in applypeers.py, interfaces and gaps in this module.
"""

from __future__ import annotations

from exporter.instants import DAY_SECONDS
from exporter.store.snapshot.frame import DeviceFrame, Frame, is_other_instance
from exporter.store.storable import storable
from exporter.store.writer.applypeers import PeerUpdate, remove_peer
from exporter.store.writer.changeset import Changeset
from exporter.store.writer.mirror import Interface, InterfaceConfig, InterfaceRow, Mirror


def organisations(frame: Frame) -> set[str]:
    """The organisations of a frame: the gateway's, and those of the peers that the frame configures."""
    configs = (config for device in frame.devices for _, config in device.configured)
    return {storable(name) for name in {frame.organisation} | {config.organisation for config in configs}}


def apply_frame(mirror: Mirror, frame: Frame) -> dict[str, Changeset]:
    """Applies a frame to the mirror, and returns the rows to write in each organisation.

    The mirror must have a `GatewayRow` for each of the frame's `organisations`. Raises LookupError if the
    frame uses a slot that no previous frame of its epoch added; the mirror must then be discarded.
    """
    return _FrameUpdate(mirror, frame).apply()


class _FrameUpdate:
    """One frame on its way into the mirror, with the changes collected so far."""

    def __init__(self, mirror: Mirror, frame: Frame) -> None:
        self._mirror = mirror
        self._frame = frame
        self._changes = {organisation: Changeset() for organisation in mirror.gateways}
        self._unread = {storable(label): reason for label, reason in frame.unread}

    def apply(self) -> dict[str, Changeset]:
        interfaces = self._mirror.interfaces
        if self._frame.keyframe:
            self._mirror.set_slots({})
        self._raise_gateways()
        self._remove_duplicates()
        for device in self._frame.devices:
            self._apply_device(storable(device.label), device)
        removed = self._find_removed()
        for label, reason in self._unread.items():
            for row in interfaces.get(label, Interface()).rows.values():
                self._open_gap(row, reason)
        for label in removed:
            self._remove_interface(interfaces[label])
        for organisation, changes in self._changes.items():
            self._count(organisation, changes)
        return self._changes

    def _raise_gateways(self) -> None:
        for organisation, gateway in self._mirror.gateways.items():
            if gateway.clearance < self._frame.clearance:
                gateway.clearance = self._frame.clearance
                self._changes[organisation].raised_gateway = gateway.gateway_id > 0

    def _remove_duplicates(self) -> None:
        peers = self._mirror.peers
        for index in self._mirror.duplicates:
            interface = self._mirror.interfaces[peers.interface[index].label]
            remove_peer(peers, interface, self._changes, index)
        self._mirror.duplicates.clear()

    def _find_removed(self) -> set[str]:
        """The interfaces that were removed. After a failed listing, those that the frame does not mention are
        unread instead: nothing says whether they still exist."""
        removed = {storable(label) for label in self._frame.removed} & self._mirror.interfaces.keys()
        reason = self._unread.pop("", "")
        mentioned = {storable(device.label) for device in self._frame.devices} | self._unread.keys()
        unmentioned = {
            label
            for label, interface in self._mirror.interfaces.items()
            if label not in mentioned and not all(row.removed for row in interface.rows.values())
        }
        if not reason:
            return removed | unmentioned
        self._unread |= dict.fromkeys(unmentioned - removed, reason)
        return removed

    def _count(self, organisation: str, changes: Changeset) -> None:
        """The numbers for `argus.snapshot`. An unread interface that has no row counts in the gateway's own
        organisation."""
        rows = [
            each.rows[organisation] for each in self._mirror.interfaces.values() if organisation in each.rows
        ]
        is_own = organisation == storable(self._frame.organisation)
        unread = self._unread.keys() if is_own else self._unread.keys() & {row.label for row in rows}
        changes.interfaces_read = len(changes.read_interfaces)
        changes.interfaces_unread = len(unread)
        changes.peers_present = sum(row.present for row in rows)

    # Interfaces

    def _apply_device(self, label: str, device: DeviceFrame) -> None:
        interface = self._mirror.interfaces.setdefault(label, Interface())
        last_read = max((row.read_at for row in interface.rows.values()), default=0.0)
        self._add_missing_rows(label, interface, device)
        PeerUpdate(self._mirror.peers, interface, self._changes, self._frame.taken_at).apply(
            device,
            all_reset=any(
                is_other_instance(row.instance, device.instance) for row in interface.rows.values()
            ),
            is_new_day=last_read // DAY_SECONDS != self._frame.taken_at // DAY_SECONDS,
        )
        for row in interface.rows.values():
            self._update_interface_row(row, device)
            if label in self._unread:
                continue  # `device` is an older reading, and the latest one failed: the gap stays open
            self._changes[row.gateway.organisation].read_interfaces.append(row)
            row.read_at = self._frame.taken_at
            self._close_gap(row)

    def _add_missing_rows(self, label: str, interface: Interface, device: DeviceFrame) -> None:
        """Adds the interface's rows in organisations that it has none in."""
        organisations = {storable(config.organisation) for _, config in device.configured}
        for name in organisations | {storable(self._frame.organisation)}:
            if name not in interface.rows:
                gateway = self._mirror.gateways[name]
                row = InterfaceRow(label, gateway, gateway.clearance, device.instance, self._frame.taken_at)
                interface.rows[name] = row
                self._changes[name].new_interfaces.append(row)

    def _update_interface_row(self, row: InterfaceRow, device: DeviceFrame) -> None:
        changes = self._changes[row.gateway.organisation]
        if row.gateway.clearance > row.clearance:
            row.clearance = row.gateway.clearance
            changes.raised_interfaces.append(row)
        instance = device.instance
        if instance.endswith(":0") and not is_other_instance(row.instance, instance):
            instance = row.instance  # the interface's index could not be read
        if row.instance != instance or row.removed:
            row.instance, row.removed = instance, False
            changes.changed_interfaces.append(row)
        row.removed_with_it.clear()
        config = InterfaceConfig(device.kind, device.public_key, device.listen_port, device.fwmark)
        if row.config != config:
            if row.config:
                changes.closed_interface_configs.append(row)
            changes.opened_interface_configs.append((row, config))
            row.config = config

    def _remove_interface(self, interface: Interface) -> None:
        peers = self._mirror.peers
        for index in list(interface.present.values()):
            remove_peer(peers, interface, self._changes, index)
        for row in interface.rows.values():
            changes = self._changes[row.gateway.organisation]
            row.removed_with_it.update(
                index for index in changes.removed_peers if peers.interface[index] is row
            )
            if not row.removed:
                row.removed, row.config = True, None
                self._close_gap(row)
                changes.removed_interfaces.append(row)

    # Gaps

    def _open_gap(self, row: InterfaceRow, reason: str) -> None:
        if not row.gap_start and not row.removed:
            row.gap_start = row.read_at
            self._changes[row.gateway.organisation].opened_gaps.append((row, reason))

    def _close_gap(self, row: InterfaceRow) -> None:
        if row.gap_start:
            self._changes[row.gateway.organisation].closed_gaps.append((row, row.gap_start))
            row.gap_start = 0.0
