"""The exporter's metrics about itself: what it could read, what it could not and why, what it served."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass

from exporter import __version__
from exporter.health import Health
from exporter.metrics.families import Family, Samples
from exporter.model import Snapshot

BUILD_INFO = Family("wireguard_exporter_build_info", "info", "The exporter's version; always 1.")
READ_SUCCESS = Family(
    "wireguard_exporter_read_success",
    "gauge",
    "Whether the last reading worked (1) or not (0), per interface, and per source with an empty interface.",
)
READ_DURATION = Family("wireguard_exporter_read_duration_seconds", "gauge", "How long the last reading took.")
READ_FAILING = Family(
    "wireguard_exporter_read_failing",
    "gauge",
    "Present, and 1, while a reading fails. reason: permission, module, vanished, interrupted, truncated, "
    "malformed, timeout, stale-socket, namespace or failed.",
)
READ_ERRORS = Family(
    "wireguard_exporter_read_errors_total", "counter", "Readings that failed, by source and reason."
)
DUMP_RETRIES = Family(
    "wireguard_exporter_dump_retries_total",
    "counter",
    "Dumps thrown away and read again because the configuration changed meanwhile.",
)
INTERFACES = Family(
    "wireguard_exporter_interfaces",
    "gauge",
    "Interfaces read; 0 with every source well means that there are none.",
)
READINGS = Family(
    "wireguard_exporter_readings_total", "counter", "Readings of the gateway; simultaneous scrapes share one."
)
SCRAPE_DURATION = Family(
    "wireguard_exporter_last_scrape_duration_seconds",
    "gauge",
    "How long the page before this one took to read and render.",
)
DIRECTORY_ENTRIES = Family("wireguard_exporter_directory_entries", "gauge", "Peers that the directory knows.")
RELOAD_SUCCESS = Family(
    "wireguard_exporter_reload_success",
    "gauge",
    "Whether the file in use is the one on disk (1), or that one is wrong and the last good one serves (0). "
    "file: directory, web_config.",
)
RELOADED = Family(
    "wireguard_exporter_directory_loaded_timestamp_seconds",
    "gauge",
    "UNIX time at which the directory in use was read.",
)
REQUESTS = Family(
    "wireguard_exporter_http_requests_total", "counter", "HTTP requests answered, by status code."
)
REFUSALS = Family(
    "wireguard_exporter_http_refusals_total",
    "counter",
    "Clients turned away. reason: login (wrong credentials), connections (too many), tls (handshake or "
    "client certificate), slow-head, slow-reader.",
)

EXPORTER_FAMILIES = (
    BUILD_INFO,
    READ_SUCCESS,
    READ_DURATION,
    READ_FAILING,
    READ_ERRORS,
    DUMP_RETRIES,
    INTERFACES,
    READINGS,
    SCRAPE_DURATION,
    DIRECTORY_ENTRIES,
    RELOAD_SUCCESS,
    RELOADED,
    REQUESTS,
    REFUSALS,
)


@dataclass(frozen=True, slots=True)
class Serving:
    """What the daemon knows beside the readings."""

    directory_entries: int = 0
    directory_loaded_at: float = 0.0
    reload_success: Mapping[str, bool] | None = None  # by file: directory, web_config
    last_scrape_duration: float | None = None  # seconds
    requests: Mapping[int, int] | None = None  # by status code
    refusals: Mapping[str, int] | None = None  # by reason


def exporter_samples(snapshot: Snapshot, health: Health, serving: Serving) -> dict[str, Samples]:
    """The samples of every family above."""
    readings = snapshot.readings
    found = {family.name: Samples() for family in EXPORTER_FAMILIES}
    found[BUILD_INFO.name] = [({"version": __version__, "python": platform.python_version()}, 1)]
    found[READ_SUCCESS.name] = [
        ({"source": reading.source, "interface": reading.interface}, int(reading.ok)) for reading in readings
    ]
    found[READ_DURATION.name] = [
        ({"source": reading.source, "interface": reading.interface}, round(reading.duration, 6))
        for reading in readings
    ]
    found[READ_FAILING.name] = [
        ({"source": reading.source, "interface": reading.interface, "reason": reading.reason}, 1)
        for reading in readings
        if not reading.ok
    ]
    found[READ_ERRORS.name] = [
        ({"source": source, "reason": reason}, count) for (source, reason), count in health.failures.items()
    ]
    found[DUMP_RETRIES.name] = [({"source": source}, count) for source, count in health.retries.items()]
    found[INTERFACES.name] = [({}, len(snapshot.devices))]
    found[READINGS.name] = [({}, health.snapshots)]
    if serving.last_scrape_duration is not None:
        found[SCRAPE_DURATION.name] = [({}, round(serving.last_scrape_duration, 6))]
    found[DIRECTORY_ENTRIES.name] = [({}, serving.directory_entries)]
    found[RELOADED.name] = [({}, round(serving.directory_loaded_at, 3))]
    found[RELOAD_SUCCESS.name] = [
        ({"file": file}, int(good)) for file, good in (serving.reload_success or {}).items()
    ]
    found[REQUESTS.name] = [
        ({"code": str(code)}, count) for code, count in sorted((serving.requests or {}).items())
    ]
    found[REFUSALS.name] = [({"reason": reason}, count) for reason, count in (serving.refusals or {}).items()]
    return found
