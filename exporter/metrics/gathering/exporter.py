"""The samples of the families about the exporter: readings, failures, the directory, HTTP requests."""

from __future__ import annotations

import platform

from exporter import __version__
from exporter.health import Health
from exporter.metrics.declarations.content import Samples, Tables
from exporter.metrics.declarations.exporter import (
    BUILD_INFO,
    DIRECTORY_ENTRIES,
    DIRECTORY_MISTAKES,
    DUMP_RETRIES,
    EXPORTER_FAMILIES,
    INTERFACES,
    READ_DURATION,
    READ_ERRORS,
    READ_FAILING,
    READ_SUCCESS,
    READINGS,
    REFUSALS,
    RELOAD_SUCCESS,
    RELOADED,
    REQUESTS,
    SCRAPE_DURATION,
)
from exporter.metrics.declarations.family import Family
from exporter.metrics.gathering.inputs import Serving
from exporter.model import Snapshot


def exporter_samples(snapshot: Snapshot, health: Health, serving: Serving) -> Tables:
    """The samples of all families about the exporter."""
    readings = snapshot.readings
    found: dict[Family, Samples] = {family: [] for family in EXPORTER_FAMILIES}
    found[BUILD_INFO] = [({"version": __version__, "python": platform.python_version()}, 1)]
    found[READ_SUCCESS] = [
        ({"source": reading.source, "interface": reading.interface}, int(reading.ok)) for reading in readings
    ]
    found[READ_DURATION] = [
        ({"source": reading.source, "interface": reading.interface}, round(reading.duration, 6))
        for reading in readings
    ]
    found[READ_FAILING] = [
        ({"source": reading.source, "interface": reading.interface, "reason": reading.reason}, 1)
        for reading in readings
        if not reading.ok
    ]
    found[READ_ERRORS] = [
        ({"source": source, "reason": reason}, count) for (source, reason), count in health.failures.items()
    ]
    found[DUMP_RETRIES] = [({"source": source}, count) for source, count in health.retries.items()]
    found[INTERFACES] = [({}, len(snapshot.devices))]
    found[READINGS] = [({}, health.snapshots)]
    if serving.last_scrape_duration is not None:
        found[SCRAPE_DURATION] = [({}, round(serving.last_scrape_duration, 6))]
    found[DIRECTORY_ENTRIES] = [({}, serving.directory_entries)]
    found[RELOADED] = [({}, round(serving.directory_loaded_at, 3))]
    found[RELOAD_SUCCESS] = [
        ({"file": file}, int(good)) for file, good in (serving.reload_success or {}).items()
    ]
    found[DIRECTORY_MISTAKES] = [
        ({"file": file}, count) for file, count in sorted((serving.directory_mistakes or {}).items())
    ]
    found[REQUESTS] = [
        ({"code": str(code)}, count) for code, count in sorted((serving.requests or {}).items())
    ]
    found[REFUSALS] = [({"reason": reason}, count) for reason, count in (serving.refusals or {}).items()]
    return found
