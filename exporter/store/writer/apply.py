"""A frame folded into the mirror: what is new in it, as rows to write.

The running totals are made here, and nowhere else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from exporter.instants import DAY_SECONDS
from exporter.store.snapshot.changes import MOST, is_other_instance
from exporter.store.snapshot.frame import DeviceFrame, Frame, PeerConfig
from exporter.store.storable import storable
from exporter.store.writer.changeset import Batch, Changeset
from exporter.store.writer.mirror import Interface, InterfaceConfig, Mirror, Place

LATEST = 253402300799  # the end of the year 9999, in UNIX seconds: a handshake that the database can hold


def organisations(frame: Frame) -> set[str]:
    """Whom a frame names; a mirror that it is folded into must have them as members."""
    configs = (config for device in frame.devices for _, config in device.configured)
    return {storable(name) for name in {frame.organisation} | {config.organisation for config in configs}}


def fold(mirror: Mirror, frame: Frame) -> dict[str, Changeset]:
    """What a frame adds to each organisation. The mirror is then as the database will be.

    Raises LookupError for slots that no frame before it added: what it builds on is missing.
    """
    return _Application(mirror, frame).run()


class _Application:
    def __init__(self, mirror: Mirror, frame: Frame) -> None:
        self._mirror = mirror
        self._peers = mirror.peers
        self._frame = frame
        self._rows = {name: Changeset() for name in mirror.members}
        self._unread = {storable(label): reason for label, reason in frame.unread}
        # Changeset of peers, of this frame
        self._fresh = set[int]()  # without a state in the database
        self._moved_in = set[int]()  # with one that is from before
        self._again = set[int]()  # whose counters began anew

    def run(self) -> dict[str, Changeset]:
        frame, interfaces = self._frame, self._mirror.interfaces
        if frame.keyframe:
            self._mirror.seed({})
        self._raise_gateway()
        for row in self._mirror.strays:
            self._remove(interfaces[self._peers.place[row].label], row)
        self._mirror.strays.clear()
        for device in frame.devices:
            self._read(storable(device.label), device)
        gone = {storable(label) for label in frame.gone} & interfaces.keys()
        if unlisted := self._unread.pop("", ""):
            self._unread |= dict.fromkeys(self._untold() - gone, unlisted)
        else:
            gone |= self._untold()
        for label, reason in self._unread.items():
            for place in interfaces.get(label, Interface()).places.values():
                self._miss(place, reason)
        for label in gone:
            self._vanish(interfaces[label])
        for name, rows in self._rows.items():
            self._count_places(name, rows)
        return self._rows

    def _untold(self) -> set[str]:
        """Interfaces that are known to be there, and of which the frame does not say whether they are."""
        told = {storable(device.label) for device in self._frame.devices} | self._unread.keys()
        known = self._mirror.interfaces.items()
        there = {label for label, each in known if not all(place.removed for place in each.places.values())}
        return there - told

    def _count_places(self, name: str, rows: Changeset) -> None:
        places = [each.places[name] for each in self._mirror.interfaces.values() if name in each.places]
        rows.interfaces = len(rows.seen)
        rows.peers = sum(place.present for place in places)
        own = name == storable(self._frame.organisation)
        rows.unread = len(self._unread.keys() if own else self._unread.keys() & {p.label for p in places})

    def _raise_gateway(self) -> None:
        for name, member in self._mirror.members.items():
            if member.clearance < self._frame.clearance:
                member.clearance = self._frame.clearance
                self._rows[name].raised_gateway = member.gateway_id > 0

    # Interfaces

    def _read(self, label: str, device: DeviceFrame) -> None:
        interface = self._mirror.interfaces.setdefault(label, Interface())
        day = max((place.seen for place in interface.places.values()), default=0.0) // DAY_SECONDS
        named = {storable(config.organisation) for _, config in device.configured}
        for name in named | {storable(self._frame.organisation)}:
            if name not in interface.places:
                interface.places[name] = self._new_place(label, name, device)
        other = any(is_other_instance(p.instance, device.instance) for p in interface.places.values())
        moved = self._update_peers(interface, device, other)
        self._sort(interface, moved, is_new_day=day != self._frame.taken_at // DAY_SECONDS)
        for place in interface.places.values():
            self._see(place, device)

    def _new_place(self, label: str, name: str, device: DeviceFrame) -> Place:
        member = self._mirror.members[name]
        place = Place(label, member, member.clearance, device.instance, self._frame.taken_at)
        self._rows[name].new_places.append(place)
        return place

    def _see(self, place: Place, device: DeviceFrame) -> None:
        """Notes what was read of the interface itself."""
        rows = self._rows[place.member.organisation]
        clearance = max(place.clearance, place.member.clearance)
        if clearance > place.clearance:
            place.clearance = clearance
            rows.raised_places.append(place)
        instance = device.instance
        if instance.endswith(":0") and not is_other_instance(place.instance, instance):
            instance = place.instance  # its index could not be read
        if place.instance != instance or place.removed:
            place.instance, place.removed = instance, False
            rows.changed_places.append(place)
        place.left.clear()
        config = InterfaceConfig(device.kind, device.public_key, device.listen_port, device.fwmark)
        if place.config != config:
            if place.config:
                rows.closed_interfaces.append(place)
            rows.opened_interfaces.append((place, config))
            place.config = config
        if place.label in self._unread:
            return  # what was told of it was read before; it is not read now
        rows.seen.append(place)
        place.seen = self._frame.taken_at
        self._end_gap(place)

    def _miss(self, place: Place, reason: str) -> None:
        if not place.gap and not place.removed:
            place.gap = place.seen
            self._rows[place.member.organisation].gaps_opened.append((place, reason))

    def _end_gap(self, place: Place) -> None:
        if place.gap:
            self._rows[place.member.organisation].gaps_closed.append((place, place.gap))
            place.gap = 0.0

    def _vanish(self, interface: Interface) -> None:
        for row in list(interface.present.values()):
            self._remove(interface, row)
        for place in interface.places.values():
            removed = self._rows[place.member.organisation].removed
            place.left.update(row for row in removed if self._peers.place[row] is place)
            if not place.removed:
                place.removed, place.config = True, None
                self._end_gap(place)
                self._rows[place.member.organisation].removed_places.append(place)

    # Peers

    def _update_peers(self, interface: Interface, device: DeviceFrame, other_instance: bool) -> list[int]:
        """Who is there, how it is configured, what it counted. Gives the rows of those that moved."""
        whole = interface.slots is None
        slots = interface.slots = interface.slots or []
        configs = dict(device.configured)
        for key in device.added:
            slots.append(self._enter(interface, key, configs.pop(len(slots))))
        for slot, config in configs.items():
            if slots[slot] >= 0:
                slots[slot] = self._enter(interface, self._peers.key[slots[slot]], config)
        if whole:
            there = set(slots)
            for row in [row for row in interface.present.values() if row not in there]:
                self._remove(interface, row)
        moved = self._move(slots, device, other_instance)
        for slot in device.removed:
            if slots[slot] >= 0:
                self._remove(interface, slots[slot])
                slots[slot] = -1
        return moved

    def _enter(self, interface: Interface, key: str, config: PeerConfig) -> int:
        """The row of a peer that is configured like this; it becomes one, or comes back, or moves in."""
        place = interface.places[storable(config.organisation)]
        row, old = place.rows.get(key, -1), interface.present.get(key, -1)
        if row >= 0 and row == old:
            self._configure(row, config)
            return row
        rows = self._rows[place.member.organisation]
        new = row < 0
        if new:
            row = self._peers.add(place, key, 0, None, first_seen=int(self._frame.taken_at))
            self._fresh.add(row)
            rows.new.append(row)
        else:
            rows.returned.append(row)
            self._moved_in.add(row)
            if old < 0 and row not in place.left:  # an interface that was away comes back with its counters
                self._again.add(row)
        self._configure(row, config)
        if old >= 0:
            self._inherit(old, row, new)
            self._remove(interface, old)
        interface.present[key] = row
        place.present += 1
        return row

    def _inherit(self, old: int, row: int, new: bool) -> None:
        """A peer that moves to another organisation: its counters go on. What they counted for the old one
        is not counted again, unless it was never here: then the counters are the start."""
        peers = self._peers
        for column in (peers.handshake, peers.receive, peers.transmit):
            column[row] = column[old]
        if new:
            peers.receive_total[row], peers.transmit_total[row] = peers.receive[old], peers.transmit[old]

    def _configure(self, row: int, config: PeerConfig) -> None:
        peers = self._peers
        place, before, known = peers.place[row], peers.config[row], peers.clearance[row]
        rows = self._rows[place.member.organisation]
        clearance = max(config.clearance, known, place.clearance, place.member.clearance)
        now = _storable(config, clearance)
        if clearance > known:
            peers.clearance[row] = clearance
            if row not in self._fresh:
                rows.raised[clearance, place.label].append(row)
        if before == now:
            return
        peers.config[row] = now
        if before and replace(before, clearance=clearance) == now:
            return  # what is open is raised
        if before:
            rows.closed.append(row)
        rows.opened.append((row, now))

    def _remove(self, interface: Interface, row: int) -> None:
        peers = self._peers
        place, key = peers.place[row], peers.key[row]
        if interface.present.get(key) == row:
            del interface.present[key]
        peers.config[row] = None
        place.present -= 1
        self._rows[place.member.organisation].removed.append(row)

    def _move(self, slots: list[int], device: DeviceFrame, other_instance: bool) -> list[int]:
        """Adds what was counted; gives the rows whose counters or handshake are new."""
        peers = self._peers
        handshakes, receive, transmit = peers.handshake, peers.receive, peers.transmit
        receive_total, transmit_total = peers.receive_total, peers.transmit_total
        carried = self._carried(slots, device)
        again = self._again | carried.keys()
        moved = []
        columns = device.changed, _clipped(device.last_handshake), device.receive, device.transmit
        for slot, handshake, received, transmitted in zip(*columns, strict=True):
            row = slots[slot]
            if row < 0:
                continue
            more_received = received - receive[row]
            more_transmitted = transmitted - transmit[row]
            is_other = more_received or more_transmitted or handshake != handshakes[row]
            if (
                more_received < 0
                or more_transmitted < 0
                or other_instance
                or (not handshake and handshakes[row])
                or row in again
            ):
                before_received, before_transmitted = carried.get(row, (0, 0))
                more_received = received + before_received
                more_transmitted = transmitted + before_transmitted
            if not (is_other or more_received or more_transmitted):
                continue
            moved.append(row)
            handshakes[row], receive[row], transmit[row] = handshake, received, transmitted
            receive_total[row] = min(receive_total[row] + more_received, MOST)
            transmit_total[row] = min(transmit_total[row] + more_transmitted, MOST)
        return moved

    def _carried(self, slots: list[int], device: DeviceFrame) -> dict[int, tuple[int, int]]:
        """Row → bytes counted before a restart, of each that is known to have restarted."""
        carried = zip(device.carried_receive, device.carried_transmit, strict=True)
        return dict(zip((slots[slot] for slot in device.restarted), carried, strict=True))

    # What is written of them

    def _sort(self, interface: Interface, moved: list[int], is_new_day: bool) -> None:
        fresh, moved_in = self._fresh, self._moved_in
        if not fresh and not moved_in and not is_new_day:
            self._batch(interface, moved, fresh=False, active=True)
            return
        self._batch(interface, [row for row in moved if row not in fresh], fresh=False, active=True)
        self._batch(interface, [row for row in moved if row in fresh], fresh=True, active=True)
        still = fresh.difference(moved)
        self._batch(interface, sorted(still), fresh=True, active=False)
        self._batch(interface, sorted(moved_in.difference(moved)), fresh=False, active=False)
        if is_new_day:
            idle = set(interface.present.values()).difference(moved, fresh, moved_in)
            self._batch(interface, sorted(idle), fresh=None, active=False)
        fresh.clear()
        moved_in.clear()

    def _batch(self, interface: Interface, rows: list[int], fresh: bool | None, active: bool) -> None:
        """Puts them where they belong: by organisation and clearance."""
        peers = self._peers
        clearances = set(map(peers.clearance.__getitem__, rows))
        groups = defaultdict[tuple[str, int], list[int]](list)
        if len(clearances) == 1 and len(interface.places) == 1:
            groups[next(iter(interface.places)), clearances.pop()] = rows
        else:
            for row in rows:
                groups[peers.place[row].member.organisation, peers.clearance[row]].append(row)
        for (name, clearance), group in groups.items():
            self._rows[name].batches.setdefault(Batch(clearance, fresh, active), []).extend(group)


def _clipped(handshakes: Sequence[int]) -> Sequence[int]:
    if max(handshakes, default=0) <= LATEST:
        return handshakes
    return [min(handshake, LATEST) for handshake in handshakes]


def _storable(config: PeerConfig, clearance: int) -> PeerConfig:
    """What the database holds of it."""
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
