"""Failures of readings: counted for metrics, and logged once when they begin and once when they end."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field

from exporter.model import Reading, Snapshot

log = logging.getLogger("argus.read")


@dataclass(slots=True)
class Health:
    """Counts since the start. `update` takes each snapshot once, in order."""

    failures: Counter[tuple[str, str]] = field(default_factory=Counter)  # by source and reason
    retries: Counter[str] = field(default_factory=Counter)  # by source
    failing: dict[tuple[str, str], str] = field(default_factory=dict)  # (source, interface) → reason
    empty: bool = False  # the last snapshot had no interface and no failure
    snapshots: int = 0

    def update(self, snapshot: Snapshot) -> None:
        self.snapshots += 1
        for reading in snapshot.readings:
            self.retries[reading.source] += reading.retries
            if not reading.ok:
                self.failures[reading.source, reading.reason] += 1
            self._log_change(reading)
        self._forget_gone(snapshot)
        self._log_gone(snapshot)
        self._log_empty(snapshot)

    def _log_change(self, reading: Reading) -> None:
        key = reading.source, reading.interface
        before = self.failing.get(key, "")
        if reading.reason == before:
            return
        name = _name(*key)
        if reading.ok:
            del self.failing[key]
            log.info("%s can be read again", name)
        else:
            self.failing[key] = reading.reason
            message = reading.explanation.removeprefix(f"{reading.interface}: ")
            log.error("%s cannot be read (%s): %s", name, reading.reason, message)

    def _forget_gone(self, snapshot: Snapshot) -> None:
        """Forgets the counts of a removed namespace; otherwise short-lived ones would fill the memory."""
        sources = {reading.source for reading in snapshot.readings}
        for source in self.retries.keys() - sources:
            del self.retries[source]
        for key in [key for key in self.failures if key[0] not in sources]:
            del self.failures[key]

    def _log_gone(self, snapshot: Snapshot) -> None:
        tried = {(reading.source, reading.interface) for reading in snapshot.readings}
        unlisted = {
            reading.source for reading in snapshot.readings if not reading.interface and not reading.ok
        }
        for source, interface in self.failing.keys() - tried:
            if source not in unlisted:  # otherwise the interface may still exist
                del self.failing[source, interface]
                log.info("%s does not exist any more", _name(source, interface))

    def _log_empty(self, snapshot: Snapshot) -> None:
        empty = not snapshot.devices and all(reading.ok for reading in snapshot.readings)
        if empty and not self.empty:
            log.warning("no WireGuard interface found; `argus-wg check` lists the places that were searched")
        elif self.empty and not empty and snapshot.devices:
            log.info("%d WireGuard interface(s) found", len(snapshot.devices))
        self.empty = empty


def _name(source: str, interface: str) -> str:
    return f"interface {interface} ({source})" if interface else f"source {source}"
