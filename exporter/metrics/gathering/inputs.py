"""The inputs of a page: one reading of the gateway, and the rest of the exporter's state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from exporter.directory.entry import Directory
from exporter.health import Health
from exporter.model import Snapshot
from exporter.observe import Observed
from exporter.recording import RecordingState


class RecordedTotals(Protocol):
    """The recorded totals of an interface's peers."""

    def get(self, public_key: str) -> Sequence[int] | None:
        """Its first two numbers: bytes received and sent across all counter resets. None = unknown peer."""

    def first_seen(self, public_key: str) -> int | None:
        """When the peer was first recorded on this interface, in UNIX seconds; None = unknown peer."""


@dataclass(frozen=True, slots=True)
class Serving:
    """The state of the daemon: its directory, its files and its HTTP server."""

    directory_entries: int = 0
    directory_loaded_at: float = 0.0  # UNIX seconds
    directory_mistakes: Mapping[str, int] | None = None  # by path, of the files with mistakes
    reload_success: Mapping[str, bool] | None = None  # by file: directory, web_config
    last_scrape_duration: float | None = None  # seconds
    requests: Mapping[int, int] | None = None  # by status code
    refusals: Mapping[str, int] | None = None  # by reason


@dataclass(frozen=True, slots=True)
class Inputs:
    """All inputs of a page. `observed` and `totals` are by the label of an interface."""

    snapshot: Snapshot
    observed: Mapping[str, Observed]
    health: Health
    directory: Directory
    generation: int  # of the directory: it differs after each reload
    serving: Serving
    recording: RecordingState | None = None  # None = recording is off
    totals: Mapping[str, RecordedTotals] | None = None  # None = recording is off
