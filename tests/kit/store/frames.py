"""Random frames, random sequences of snapshots, and a plain reader of frames."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from hypothesis import strategies as st

from exporter.directory.entry import Directory, Entry
from exporter.model import Device, Kind, Link, Peer, Reading, Snapshot
from exporter.store.snapshot.frame import DeviceFrame, Frame, Gap, PeerConfig, is_other_instance
from tests.kit.gateways import Row, key, with_peers

START = 1_700_000_000  # UNIX seconds
RUN = UUID("6f9619ff-8b86-4d01-b42d-00cf4fc964ff")


def row(number: int, handshake: int = 0, received: int = 0, sent: int = 0) -> Row:
    """A peer with its counters; `number` gives its key."""
    return Peer(key(number)), handshake, received, sent


# Random frames: any values that a frame may hold, consistent or not.

COUNTERS = st.integers(0, 2**64 - 1)
TEXTS = st.text(max_size=6)
MILLISECONDS = st.integers(0, 10**13)

CONFIGS = st.builds(
    PeerConfig,
    endpoint=st.sampled_from(["", "192.0.2.1:51820", "[2001:db8::1%eth0]:1"]),
    allowed_ips=st.lists(st.sampled_from(["10.0.0.1/32", "::/0"]), max_size=2).map(tuple),
    persistent_keepalive=st.integers(0, 65535),
    has_preshared_key=st.booleans(),
    organisation=st.text(min_size=1, max_size=6),
    clearance=st.integers(0, 32767),
    name=TEXTS,
    site=TEXTS,
    owner=TEXTS,
)


@st.composite
def device_frames(draw: st.DrawFn) -> DeviceFrame:
    """An interface with consistent columns and slots in any order."""
    slots = st.lists(st.integers(0, 2**31), max_size=5, unique=True)
    changed, reset = draw(slots), draw(slots)

    def column(values: st.SearchStrategy[int], parallel: Sequence[int]) -> list[int]:
        return draw(st.lists(values, min_size=len(parallel), max_size=len(parallel)))

    return DeviceFrame(
        label=draw(TEXTS),
        kind=draw(st.sampled_from(["kernel", "userspace"])),
        public_key=draw(TEXTS),
        listen_port=draw(st.integers(0, 65535)),
        fwmark=draw(st.integers(0, 2**32 - 1)),
        instance=draw(TEXTS),
        peers=draw(st.integers(0, 2**31)),
        added=[key(number) for number in draw(st.lists(st.integers(0, 2**256 - 1), max_size=5))],
        removed=draw(slots),
        configured=[(slot, draw(CONFIGS)) for slot in draw(slots)],
        changed=changed,
        last_handshake=column(st.integers(-(2**63), 2**63 - 1), changed),
        receive=column(COUNTERS, changed),
        transmit=column(COUNTERS, changed),
        reset=reset,
        carried_receive=column(COUNTERS, reset),
        carried_transmit=column(COUNTERS, reset),
    )


GAPS = st.builds(
    Gap,
    started_at=MILLISECONDS.map(lambda value: value / 1000),
    ended_at=MILLISECONDS.map(lambda value: value / 1000),
    reason=TEXTS,
    snapshots=st.integers(0, 2**31),
)
FRAMES = st.builds(
    Frame,
    run=st.uuids(),
    sequence=st.integers(1, 2**63 - 1),
    epoch=st.integers(1, 2**63 - 1),
    taken_at=MILLISECONDS.map(lambda value: value / 1000),
    gateway=TEXTS,
    organisation=TEXTS,
    clearance=st.integers(0, 32767),
    devices=st.lists(device_frames(), max_size=3),
    removed=st.lists(TEXTS, max_size=3),
    unread=st.lists(st.tuples(TEXTS, TEXTS), max_size=3),
    gaps=st.lists(GAPS, max_size=3),
)

# Random snapshots that follow from each other.


@dataclass
class Tunnel:
    """A WireGuard interface of the gateway."""

    name: str
    kind: Kind
    namespace: str
    index: int
    rows: dict[int, Row] = field(default_factory=dict)  # by number of the key
    index_known: bool = True

    @property
    def source(self) -> str:
        name = "netlink" if self.kind == "kernel" else "uapi"
        return f"{name}@{self.namespace}" if self.namespace else name

    def device(self) -> Device:
        link = Link(True, index=self.index) if self.index_known else None
        device = Device(self.name, self.kind, self.namespace, link=link)
        return with_peers(device, list(self.rows.values()))


@dataclass(frozen=True)
class Moment:
    """A snapshot with the directory of that time."""

    snapshot: Snapshot
    directory: Directory
    generation: int


class RandomGateway:
    """Gives snapshots with every kind of event: traffic, peers and interfaces that are added, removed and
    reset, readings that fail, and a directory that is written again.

    `seed` decides the events. `indexed` is the share of readings in which the index of an interface is known.
    """

    PLACES: tuple[tuple[str, Kind, str], ...] = (
        ("wg0", "kernel", ""),
        ("wg0", "kernel", "blue"),
        ("utun", "userspace", ""),
    )

    def __init__(self, seed: random.Random, keys: int = 5, indexed: float = 0.9) -> None:
        self._random = seed
        self._keys = keys
        self._indexed = indexed
        self._tunnels: dict[tuple[str, Kind, str], Tunnel] = {}
        self._away: dict[tuple[str, Kind, str], Tunnel] = {}
        self._indexes = 1
        self._directory = Directory()
        self._generation = 0
        self._now = START

    def next(self) -> Moment:
        """The snapshot after one more interval."""
        self._now += 30
        frequent, rare = (self._peer, self._traffic), (self._interface, self._reset, self._order)
        events = (*frequent, *frequent, *rare, self._configure, self._write_directory)
        for _ in range(self._random.randrange(6)):
            self._random.choice(events)()
        return Moment(self._snapshot(), self._directory, self._generation)

    def _some_tunnel(self) -> Tunnel | None:
        return self._random.choice([*self._tunnels.values()]) if self._tunnels else None

    def _some_row(self) -> tuple[Tunnel, int] | None:
        tunnel = self._some_tunnel()
        return (tunnel, self._random.choice([*tunnel.rows])) if tunnel and tunnel.rows else None

    def _interface(self) -> None:
        """An interface is removed, returns unchanged, or is created again."""
        place = self._random.choice(self.PLACES)
        tunnel = self._tunnels.pop(place, None)
        if tunnel and self._random.random() < 0.7:
            self._away[place] = tunnel
        elif place in self._away and self._random.random() < 0.5:
            self._tunnels[place] = self._away.pop(place)
        else:
            self._indexes += 1
            rows = dict(tunnel.rows) if tunnel else {}
            self._tunnels[place] = Tunnel(*place, self._indexes, rows)

    def _peer(self) -> None:
        """A peer is added with counters, or removed."""
        tunnel = self._some_tunnel()
        if tunnel:
            number = self._random.randrange(self._keys)
            if tunnel.rows.pop(number, None) is None or self._random.random() < 0.3:
                counters = self._random.randrange(50), self._random.randrange(50)
                tunnel.rows[number] = row(number, self._handshake(), *counters)

    def _traffic(self) -> None:
        for tunnel in self._tunnels.values():
            for number, (peer, handshake, received, sent) in tunnel.rows.items():
                if self._random.random() < 0.5:
                    more = self._random.randrange(100)
                    tunnel.rows[number] = (
                        peer,
                        handshake or self._handshake(),
                        received + more,
                        sent + more // 2,
                    )

    def _reset(self) -> None:
        """The counters and the handshake of a peer are reset."""
        if some := self._some_row():
            tunnel, number = some
            peer, *_ = tunnel.rows[number]
            tunnel.rows[number] = peer, 0, self._random.randrange(30), 0

    def _order(self) -> None:
        if tunnel := self._some_tunnel():
            rows = list(tunnel.rows.items())
            self._random.shuffle(rows)
            tunnel.rows = dict(rows)

    def _configure(self) -> None:
        if some := self._some_row():
            tunnel, number = some
            peer, handshake, received, sent = tunnel.rows[number]
            changed = replace(peer, endpoint=f"192.0.2.{self._random.randrange(3)}:1")
            tunnel.rows[number] = changed, handshake, received, sent

    def _write_directory(self) -> None:
        numbers = [number for number in range(self._keys) if self._random.random() < 0.5]
        entries = {
            key(number): Entry(
                key(number),
                name=f"peer-{number}",
                organisation=self._random.choice(["", "acme"]),
                clearance=self._random.randrange(4),
            )
            for number in numbers
        }
        self._directory, self._generation = Directory(entries), self._generation + 1

    def _handshake(self) -> int:
        return self._random.choice([0, self._now - self._random.randrange(180)])

    def _snapshot(self) -> Snapshot:
        readings, devices = [], []
        listings = {source for source in ("netlink", "netlink@*", "uapi") if self._random.random() < 0.05}
        readings += [Reading(source, "", 0.0, "timeout") for source in sorted(listings)]
        for tunnel in self._tunnels.values():
            device = tunnel.device()
            if tunnel.source in listings or (tunnel.namespace and "netlink@*" in listings):
                continue
            if self._random.random() < 0.1:
                readings.append(Reading(tunnel.source, device.label, 0.0, "interrupted"))
                continue
            tunnel.index_known = self._random.random() < self._indexed
            readings.append(Reading(tunnel.source, device.label, 0.0))
            devices.append(device)
        return Snapshot("gw", self._now, tuple(devices), tuple(readings))


Key = tuple[str, str]  # label of the interface, public key
State = tuple[PeerConfig, int, int, int]  # with last handshake, received, sent


class Witness:
    """The plain model: takes snapshots peer by peer and keeps the present peers, the unread interfaces
    ("" = a listing) and the total bytes of each peer. Organisation and clearance are the gateway's."""

    def __init__(self, organisation: str, clearance: int) -> None:
        self._organisation = organisation
        self._clearance = clearance
        self._sources: dict[str, str] = {}
        self._indexes: dict[str, int] = {}
        self._last: dict[str, dict[str, State]] = {}
        self.present: dict[str, dict[str, State]] = {}
        self.unread: dict[str, str] = {}
        self.totals: dict[Key, tuple[int, int]] = {}

    def see(self, moment: Moment) -> None:
        failed = [reading for reading in moment.snapshot.readings if not reading.ok]
        unlisted = {reading.source: reading.reason for reading in failed if not reading.interface}
        self.unread = {reading.interface: reading.reason for reading in failed if reading.interface}
        read = {device.label for device in moment.snapshot.devices}
        for label in self.present.keys() - read - self.unread.keys():
            source = self._sources[label]
            reason = unlisted.get(source) or ("@" in source and unlisted.get("netlink@*"))
            if reason:
                self.unread[label] = reason
            else:
                del self.present[label]
        if unlisted:
            self.unread[""] = next(iter(unlisted.values()))
        for device in moment.snapshot.devices:
            self._see_device(device, moment.directory)

    def _see_device(self, device: Device, directory: Directory) -> None:
        label, namespace = device.label, f"@{device.namespace}" if device.namespace else ""
        self._sources[label] = ("netlink" if device.kind == "kernel" else "uapi") + namespace
        index = device.link.index if device.link else 0
        known = self._indexes.get(label, 0)
        other = bool(index and known and index != known)
        self._indexes[label] = index or known
        columns = device.peers, device.last_handshake, device.receive_bytes, device.transmit_bytes
        now = {
            peer.public_key: (self._config(peer, directory), handshake, received, sent)
            for peer, handshake, received, sent in zip(*columns, strict=True)
        }
        last = self._last.get(label)
        for public_key, (_, handshake, received, sent) in now.items():
            total_received, total_sent = self.totals.get((label, public_key), (0, 0))
            _, handshake_before, received_before, sent_before = (last or {}).get(public_key, (None, 0, 0, 0))
            lower = received < received_before or sent < sent_before or (handshake_before and not handshake)
            if other or lower:
                received_before = sent_before = 0
            moved = total_received + received - received_before, total_sent + sent - sent_before
            self.totals[label, public_key] = moved
        self._last[label] = self.present[label] = now

    def _config(self, peer: Peer, directory: Directory) -> PeerConfig:
        entry = directory.entries.get(peer.public_key, Entry(peer.public_key))
        return PeerConfig(
            peer.endpoint,
            peer.allowed_ips,
            peer.persistent_keepalive,
            peer.has_preshared_key,
            entry.organisation or self._organisation,
            max(entry.clearance, self._clearance),
            entry.name,
            entry.site,
            entry.owner,
        )


class Replica:
    """Applies frames by the rules of `snapshot/tracker.py`; fails on a frame that breaks a rule."""

    def __init__(self) -> None:
        self._slots: dict[str, list[str]] = {}  # public keys in the epoch
        self._epoch = 0
        self.sequence = 0
        self.present: dict[str, dict[str, State]] = {}
        self._instances: dict[str, str] = {}  # also of removed interfaces
        self._counters: dict[Key, tuple[int, int, int]] = {}  # also of removed peers
        self.totals: dict[Key, tuple[int, int]] = {}

    def apply(self, frame: Frame) -> None:
        assert frame.sequence > self.sequence
        assert frame.keyframe or frame.epoch == self._epoch
        if frame.keyframe:
            self._slots.clear()
        self.sequence, self._epoch = frame.sequence, frame.epoch
        for device in frame.devices:
            self._apply_device(device)
        for label in frame.removed:
            del self.present[label]

    def _apply_device(self, device: DeviceFrame) -> None:
        if device.label not in self._slots:  # its first frame of an epoch has every peer
            self.present[device.label] = {}
        slots, present = self._slots.setdefault(device.label, []), self.present.setdefault(device.label, {})
        new = range(len(slots), len(slots) + len(device.added))
        slots += device.added
        configs = {slots[slot]: config for slot, config in device.configured}
        keys = [slots[slot] for slot in device.changed]
        assert len(set(keys)) == len(keys), "within a frame, a public key has one slot"
        assert set(device.reset) <= set(device.changed)
        if is_other_instance(self._instances.get(device.label, device.instance), device.instance):
            assert set(device.reset) == set(device.changed)
        self._instances[device.label] = device.instance
        assert set(new) <= set(device.changed)
        assert {slots[slot] for slot in new} <= configs.keys()
        carried = dict(
            zip(
                device.reset,
                zip(device.carried_receive, device.carried_transmit, strict=True),
                strict=True,
            )
        )
        rows = zip(device.changed, device.last_handshake, device.receive, device.transmit, strict=True)
        for slot, *counters in rows:
            handshake, received, sent = counters
            public_key = slots[slot]
            config = configs.get(public_key) or present[public_key][0]
            self._add_bytes((device.label, public_key), (handshake, received, sent), carried.get(slot))
            present[public_key] = config, handshake, received, sent
        for public_key, config in configs.items():
            present[public_key] = config, *present[public_key][1:]
        for slot in device.removed:
            del present[slots[slot]]
        assert len(present) == device.peers

    def _add_bytes(self, peer: Key, now: tuple[int, int, int], carried: tuple[int, int] | None) -> None:
        last = self._counters.get(peer, (0, 0, 0))
        if carried is None:
            assert now[1] >= last[1]
            assert now[2] >= last[2]
            assert now[0] or not last[0]
        more = carried or (-last[1], -last[2])
        totals = self.totals.get(peer, (0, 0))
        self.totals[peer] = totals[0] + now[1] + more[0], totals[1] + now[2] + more[1]
        self._counters[peer] = now
