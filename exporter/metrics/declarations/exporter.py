"""The families about the exporter itself, which every schema has."""

from __future__ import annotations

from exporter.metrics.declarations.family import Family

BUILD_INFO = Family("wireguard_exporter_build_info", "info", "The exporter's version; always 1.")
READ_SUCCESS = Family(
    "wireguard_exporter_read_success",
    "gauge",
    "Whether the last reading succeeded (1) or failed (0). An empty interface is the source as a whole.",
)
READ_DURATION = Family("wireguard_exporter_read_duration_seconds", "gauge", "Duration of the last reading.")
READ_FAILING = Family(
    "wireguard_exporter_read_failing",
    "gauge",
    "1 while a reading fails, otherwise absent. reason: permission, module, vanished, interrupted, "
    "truncated, malformed, timeout, stale-socket, namespace or failed.",
)
READ_ERRORS = Family(
    "wireguard_exporter_read_errors_total", "counter", "Failed readings, by source and reason."
)
DUMP_RETRIES = Family(
    "wireguard_exporter_dump_retries_total",
    "counter",
    "Dumps discarded and read again because the peers changed during the dump.",
)
INTERFACES = Family(
    "wireguard_exporter_interfaces",
    "gauge",
    "Interfaces that were read. If no reading fails, 0 means that there is no interface.",
)
READINGS = Family(
    "wireguard_exporter_readings_total", "counter", "Readings of the gateway; simultaneous scrapes share one."
)
SCRAPE_DURATION = Family(
    "wireguard_exporter_last_scrape_duration_seconds",
    "gauge",
    "Time to read the gateway and render the previous page.",
)
DIRECTORY_ENTRIES = Family("wireguard_exporter_directory_entries", "gauge", "Public keys in the directory.")
DIRECTORY_MISTAKES = Family(
    "wireguard_exporter_directory_mistakes",
    "gauge",
    "Mistakes in a directory file or wg-quick file; absent for files without a mistake.",
)
RELOAD_SUCCESS = Family(
    "wireguard_exporter_reload_success",
    "gauge",
    "Whether the last reload of the file succeeded (1), or failed and the previous content is in use (0). "
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
    "Refused clients. reason: login (wrong credentials), connections (too many), tls (handshake or "
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
    DIRECTORY_MISTAKES,
    RELOAD_SUCCESS,
    RELOADED,
    REQUESTS,
    REFUSALS,
)
