"""The samples of the exporter's process and its Python, from prometheus-client's collectors."""

from __future__ import annotations

from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR
from prometheus_client.metrics_core import Metric

from exporter.metrics.declarations.content import Tables
from exporter.metrics.declarations.family import Family

COLLECTORS = (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR)


def process_samples() -> Tables:
    """The families `process_*` and `python_*`, and their samples now."""
    return {
        _family(metric): [(sample.labels, sample.value) for sample in metric.samples]
        for collector in COLLECTORS
        for metric in collector.collect()
    }


def _family(metric: Metric) -> Family:
    if metric.type == "counter":
        return Family(f"{metric.name}_total", "counter", metric.documentation)
    return Family(metric.name, "gauge", metric.documentation)
