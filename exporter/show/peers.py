"""Readings of a gateway as rows: the name, the state and the rates of each peer."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from exporter.config import Config
from exporter.directory.entry import Criticality, Entry
from exporter.directory.watch import DirectoryWatch
from exporter.expectation import expected_of, window_of
from exporter.liveness import Expected, State, judge
from exporter.model import Device, Peer, Reading, Snapshot
from exporter.observe import Observed, Observer
from exporter.reader import gateway_of

WORST_FIRST = (
    State.STALE,
    State.ONE_WAY,
    State.CLOCK_SKEW,
    State.UNOBSERVED,
    State.NEVER,
    State.IDLE,
    State.ACTIVE,
)
SORTS = ("state", "age", "name", "rx", "tx")

# WireGuard sends a handshake to a silent peer every 5 s and stops after 90 s (REKEY_TIMEOUT,
# REKEY_ATTEMPT_TIME). Two readings may be closer together: without a memory, the state would change with
# each reading.
UNANSWERED_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class PeerRow:
    """One peer of one interface. Bytes, and bytes per second; a rate is None without a previous reading."""

    interface: str  # the device's label
    peer: Peer
    entry: Entry | None
    state: State
    expected: Expected
    window: int  # handshake age in seconds above which the peer is stale
    last_handshake: int  # UNIX seconds; 0 = never
    age: float | None  # seconds since the handshake, negative if it is in the future; None = never
    receive_bytes: int
    transmit_bytes: int
    receive_rate: float | None
    transmit_rate: float | None

    @property
    def name(self) -> str:
        """The directory's name, or the beginning of the public key."""
        return (self.entry and self.entry.name) or f"{self.peer.public_key[:8]}…"

    @property
    def site(self) -> str:
        return self.entry.site if self.entry else ""


@dataclass(frozen=True, slots=True)
class View:
    """One reading, as rows. `found` has the labels of all interfaces that exist, readable or not."""

    snapshot: Snapshot
    rows: Sequence[PeerRow]
    states: Counter[State]
    found: Collection[str]
    directory_error: str = ""

    @property
    def unreadable(self) -> tuple[Reading, ...]:
        return tuple(reading for reading in self.snapshot.readings if not reading.ok)


class Watcher:
    """Reads the gateway repeatedly. `names` are labels; none = all interfaces of the configuration."""

    def __init__(self, settings: Config, names: Collection[str] = ()) -> None:
        self._settings = settings
        self._names = names
        self._found: set[str] = set()
        self._gateway = gateway_of(settings, self._wanted)
        self._observer = Observer()
        self._read_at: dict[str, float] = {}  # monotonic seconds of each device's last reading
        self._unanswered: dict[str, dict[str, float]] = {}  # label → public key → monotonic seconds
        silent = logging.Logger("show", logging.CRITICAL + 1)  # errors of the directory are in the view
        self._directory = DirectoryWatch(
            settings.directory.files,
            settings.directory.wg_quick,
            silent,
            emails=settings.directory.email_names,
        )

    def look(self) -> View:
        """Makes one reading; blocks until it is done."""
        self._directory.poll()
        self._found.clear()
        snapshot = self._gateway.read()
        at = time.monotonic()
        self._observer.update(snapshot)
        rows = [row for device in snapshot.devices for row in self._rows(device, snapshot.taken_at, at)]
        self._read_at |= {device.label: at for device in snapshot.devices}
        for gone in self._read_at.keys() - self._observer.devices.keys():
            del self._read_at[gone], self._unanswered[gone]
        states = Counter(row.state for row in rows)
        error = self._directory.error
        return View(snapshot, rows, states, frozenset(self._found), str(error) if error else "")

    def _wanted(self, label: str) -> bool:
        self._found.add(label)
        return label in self._names if self._names else self._settings.interfaces.wanted(label)

    def _rows(self, device: Device, now: float, at: float) -> Iterator[PeerRow]:
        observed = self._observer.devices[device.label]
        before = self._read_at.get(device.label)
        elapsed = None if before is None else at - before
        unanswered = unanswered_since(self._unanswered.get(device.label, {}), observed, at)
        self._unanswered[device.label] = unanswered
        for index, peer in enumerate(device.peers):
            entry = self._directory.current.get(peer.public_key, device.label)
            handshake = device.last_handshake[index]
            received, sent = device.receive_bytes[index], device.transmit_bytes[index]
            expected, window = expected_of(peer, entry), window_of(peer, entry)
            yield PeerRow(
                interface=device.label,
                peer=peer,
                entry=entry,
                state=judge(handshake, now, window, expected, unanswered=peer.public_key in unanswered),
                expected=expected,
                window=window,
                last_handshake=handshake,
                age=now - handshake if handshake else None,
                receive_bytes=received,
                transmit_bytes=sent,
                receive_rate=rate(observed.received_before[index], received, elapsed),
                transmit_rate=rate(observed.transmitted_before[index], sent, elapsed),
            )


def rate(before: int, after: int, elapsed: float | None) -> float | None:
    """Bytes per second; None without a previous reading, or when the counter was reset."""
    return (after - before) / elapsed if elapsed and after >= before else None


def unanswered_since(before: dict[str, float], observed: Observed, at: float) -> dict[str, float]:
    """Public key → monotonic seconds, for the peers that did not answer what was sent to them.

    A peer is removed when it answers, or when nothing was sent to it for `UNANSWERED_SECONDS`.
    """
    after: dict[str, float] = {}
    for index, peer in enumerate(observed.peers):
        if observed.receive_bytes[index] != observed.received_before[index]:
            continue
        last = at if observed.unanswered(index) else before.get(peer.public_key)
        if last is not None and at - last <= UNANSWERED_SECONDS:
            after[peer.public_key] = last
    return after


def arrange(rows: Sequence[PeerRow], states: Collection[State], sort: str) -> list[PeerRow]:
    """The rows in one of the states (none = all), sorted by one of `SORTS`."""
    chosen = [row for row in rows if not states or row.state in states]
    return sorted(chosen, key=_KEYS[sort])


def _by_state(row: PeerRow) -> tuple[object, ...]:
    criticality = row.entry.criticality if row.entry else "normal"
    owed = row.expected != "always-on"
    return (
        WORST_FIRST.index(row.state),
        -_CRITICALITY.index(criticality),
        owed,
        -(row.age or 0),
        *_by_name(row),
    )


def _by_age(row: PeerRow) -> tuple[object, ...]:
    """The oldest handshake first, peers without a handshake last."""
    return row.age is None, -(row.age or 0), *_by_name(row)


def _by_name(row: PeerRow) -> tuple[object, ...]:
    """Peers with a name first. The public key makes the order unique."""
    return not (row.entry and row.entry.name), row.name.casefold(), row.interface, row.peer.public_key


def _by_received(row: PeerRow) -> tuple[object, ...]:
    return -(row.receive_rate or 0), -row.receive_bytes, *_by_name(row)


def _by_sent(row: PeerRow) -> tuple[object, ...]:
    return -(row.transmit_rate or 0), -row.transmit_bytes, *_by_name(row)


_CRITICALITY: tuple[Criticality, ...] = get_args(Criticality)
_KEYS: dict[str, Callable[[PeerRow], tuple[object, ...]]] = {
    "state": _by_state,
    "age": _by_age,
    "name": _by_name,
    "rx": _by_received,
    "tx": _by_sent,
}
