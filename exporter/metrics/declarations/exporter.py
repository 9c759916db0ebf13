"""The families about the exporter itself, which every schema has."""

from __future__ import annotations

from exporter.metrics.declarations.family import Family

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
