"""The dashboard of the exporters: cost of scrapes, failing readings, delivery of snapshots."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from dashboards import links
from dashboards.board import DATASOURCE, INSTANCE, JOB, board
from dashboards.fields import YES_OR_NO, Column, limits
from dashboards.panels import graph, stat_panel, table_panel
from dashboards.promql import count, increase, of, rate, threshold

OWN = "wireguard_exporter_"


def by_instance(legend: str = "") -> str:
    return f"{legend} {{{{instance}}}}".strip()


def dashboard() -> Dashboard:
    return board(
        links.EXPORTER,
        "Exporter",
        "The exporters: how expensive are scrapes, what cannot be read, and do snapshots reach the database?",
        (DATASOURCE, JOB, INSTANCE),
        {
            "Overview": [*_figures(), _failing()],
            "Scrapes": [_scrape_time(), _read_time(), _read_errors(), _requests(), _cpu(), _memory()],
            "Records": [_snapshots(), _behind(), _spool(), _take_and_write(), _database_errors(), _gaps()],
            "Versions": [_versions()],
        },
    )


def _figures() -> list[Panel]:
    def failing(title: str, question: str, metric: str, condition: str) -> Panel:
        query = count(f"{of(metric)} {condition}")
        return stat_panel(title, question, {"exporters": query}, thresholds=limits(red=1), span=4)

    return [
        failing("Exporters down", "How many exporters cannot be scraped?", "up", "== 0"),
        failing(
            "Failing readings", "How many interfaces or sources cannot be read?", f"{OWN}read_success", "== 0"
        ),
        failing(
            "Rejected files",
            "How many directory files or web configurations have an error, so that the previous version is "
            "in use?",
            f"{OWN}reload_success",
            "== 0",
        ),
        failing(
            "Without database", "How many exporters cannot use their database?", f"{OWN}database_up", "== 0"
        ),
        failing(
            "Full spools",
            "How many exporters lose snapshots because the spool is full?",
            f"{OWN}spool_full",
            "== 1",
        ),
        failing(
            "Rows outside partitions",
            "How many exporters report rows in a default partition, outside the daily partitions?",
            f"{OWN}database_default_partition_rows",
            "> 0",
        ),
    ]


def _failing() -> Panel:
    return table_panel(
        "Failing readings by reason",
        "Which readings fail, and for which reason? docs/operations.md explains how to fix each.",
        [of(f"{OWN}read_failing")],
        [
            Column("instance", "Instance"),
            Column("source", "Source"),
            Column("interface", "Interface"),
            Column("reason", "Reason"),
        ],
        empty="All interfaces can be read",
        height=6,
    )


def _scrape_time() -> Panel:
    return graph(
        "Scrape duration",
        "How long does a scrape take?",
        {by_instance(): of("scrape_duration_seconds")},
        "s",
    )


def _read_time() -> Panel:
    return graph(
        "Reading duration",
        "How long does it take to read all interfaces of a gateway?",
        {by_instance("{{source}}"): f"sum by (instance, source) ({of(f'{OWN}read_duration_seconds')})"},
        "s",
    )


def _read_errors() -> Panel:
    return graph(
        "Failed readings over time",
        "How often do readings fail, for which reason, and how often are dumps read again?",
        {
            by_instance("{{reason}}"): f"sum by (instance, reason) ({rate(f'{OWN}read_errors_total')})",
            by_instance("read again"): f"sum by (instance) ({rate(f'{OWN}dump_retries_total')})",
        },
        "ops",
    )


def _requests() -> Panel:
    return graph(
        "HTTP requests",
        "How many requests are answered, by status code, and how many are refused, by reason?",
        {
            "{{code}}": f"sum by (code) ({rate(f'{OWN}http_requests_total')})",
            "refused: {{reason}}": f"sum by (reason) ({rate(f'{OWN}http_refusals_total')})",
        },
        "reqps",
    )


def _cpu() -> Panel:
    return graph(
        "CPU",
        "How much CPU time does each exporter use?",
        {by_instance(): rate("process_cpu_seconds_total")},
        "percentunit",
    )


def _memory() -> Panel:
    return graph(
        "Memory",
        "How much memory does each exporter use?",
        {by_instance(): of("process_resident_memory_bytes")},
        "bytes",
    )


def _snapshots() -> Panel:
    return graph(
        "Snapshots",
        "How many snapshots are spooled, recorded, lost or failed?",
        {"{{result}}": f"sum by (result) ({rate(f'{OWN}snapshots_total')})"},
        "ops",
    )


def _behind() -> Panel:
    last, interval = (of(f"{OWN}snapshot_{name}_seconds") for name in ("last_success_timestamp", "interval"))
    return graph(
        "Age of the last snapshot",
        "How old is the last snapshot in the database, in snapshot intervals? Above the limit it is late.",
        {
            by_instance(): f"(time() - {last}) / {interval}",
            "limit": threshold("snapshot_behind:intervals"),
        },
        "none",
        dashed="limit",
    )


def _spool() -> Panel:
    return graph(
        "Spool usage",
        "What share of the spool's quota is in use? When the spool is full, snapshots are lost.",
        {
            by_instance(): f"{of(f'{OWN}spool_bytes')} / {of(f'{OWN}spool_quota_bytes')}",
            "limit": threshold("spool_used:ratio"),
        },
        "percentunit",
        dashed="limit",
    )


def _take_and_write() -> Panel:
    return graph(
        "Snapshot duration",
        "How long does it take to read a snapshot and spool it (take), and to write it to the database "
        "(write)?",
        {by_instance(word): of(f"{OWN}snapshot_{word}_duration_seconds") for word in ("take", "write")},
        "s",
    )


def _database_errors() -> Panel:
    return graph(
        "Database errors",
        "How often do database operations fail, and for which reason?",
        {by_instance("{{reason}}"): rate(f"{OWN}database_errors_total")},
        "ops",
    )


def _gaps() -> Panel:
    return graph(
        "Gaps in the records",
        "In which hours are there gaps in the records, and for which reason?",
        {by_instance("{{reason}}"): f"{increase(f'{OWN}snapshot_gaps_total', '1h')} > 0"},
        "short",
        bars=True,
    )


def _versions() -> Panel:
    return table_panel(
        "Versions",
        "Which version does each exporter run, on which Python, and since when?",
        [
            f"max by (instance, version, python) ({of(f'{OWN}build_info')})",
            f"max by (instance) ({of('process_start_time_seconds')} * 1000)",
            f"max by (instance) ({of('up')})",
        ],
        [
            Column("instance", "Instance", link=links.ROW_TO_GATEWAY),
            Column("version", "Version"),
            Column("python", "Python"),
            Column("Value #B", "Since", "dateTimeAsIso"),
            Column("Value #C", "Up", mapping=YES_OR_NO),
        ],
        empty="No exporter is scraped",
        height=6,
    )
