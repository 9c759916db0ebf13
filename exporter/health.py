"""How reading goes over time: counted for metrics, and said in the log once when it fails and once when it
works again."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field

from exporter.model import Reading, Snapshot

log = logging.getLogger("argus.read")


@dataclass(slots=True)
class Health:
    """Feed it each snapshot once."""

    failures: Counter[tuple[str, str]] = field(default_factory=Counter)  # by source and reason
    retries: Counter[str] = field(default_factory=Counter)  # by source
    failing: dict[tuple[str, str], str] = field(default_factory=dict)  # (source, interface) → reason
    empty: bool = False
    snapshots: int = 0

    def update(self, snapshot: Snapshot) -> None:
        self.snapshots += 1
        for reading in snapshot.readings:
            self.retries[reading.source] += reading.retries
            if not reading.ok:
                self.failures[reading.source, reading.reason] += 1
            self._tell(reading)
        self._forget_gone(snapshot)
        self._tell_gone(snapshot)
        self._tell_empty(snapshot)

    def _tell(self, reading: Reading) -> None:
        key = reading.source, reading.interface
        before = self.failing.get(key, "")
        if reading.reason == before:
            return
        what = _what(*key)
        if reading.ok:
            del self.failing[key]
            log.info("%s is read again", what)
        else:
            self.failing[key] = reading.reason
            message = reading.explanation.removeprefix(f"{reading.interface}: ")
            log.error("%s cannot be read (%s): %s", what, reading.reason, message)

    def _forget_gone(self, snapshot: Snapshot) -> None:
        """A namespace that is gone takes its counts with it, or short-lived ones would fill the memory."""
        sources = {reading.source for reading in snapshot.readings}
        for source in self.retries.keys() - sources:
            del self.retries[source]
        for key in [key for key in self.failures if key[0] not in sources]:
            del self.failures[key]

    def _tell_gone(self, snapshot: Snapshot) -> None:
        tried = {(reading.source, reading.interface) for reading in snapshot.readings}
        unlisted = {
            reading.source for reading in snapshot.readings if not reading.interface and not reading.ok
        }
        for source, interface in self.failing.keys() - tried:
            if source not in unlisted:  # otherwise nobody knows whether it is there
                del self.failing[source, interface]
                log.info("%s is no longer there to be read", _what(source, interface))

    def _tell_empty(self, snapshot: Snapshot) -> None:
        empty = not snapshot.devices and all(reading.ok for reading in snapshot.readings)
        if empty and not self.empty:
            log.warning("no WireGuard interface found; `argus-wg check` says where was looked")
        elif self.empty and not empty and snapshot.devices:
            log.info("%d WireGuard interface(s) found", len(snapshot.devices))
        self.empty = empty


def _what(source: str, interface: str) -> str:
    return f"interface {interface} ({source})" if interface else f"source {source}"
