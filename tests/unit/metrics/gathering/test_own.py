"""The samples that every schema has: of the exporter, its recording and its process."""

from __future__ import annotations

import pytest
from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from exporter.directory.entry import Directory
from exporter.health import Health
from exporter.metrics.declarations.exporter import EXPORTER_FAMILIES
from exporter.metrics.declarations.recording import RECORDING_FAMILIES
from exporter.metrics.gathering import process
from exporter.metrics.gathering.inputs import Inputs, Serving
from exporter.metrics.gathering.own import own_samples
from exporter.metrics.gathering.process import process_samples
from exporter.model import Snapshot
from exporter.recording import RecordingState
from tests.kit.gateways import NOW


@pytest.mark.parametrize("recording", [None, RecordingState()], ids=["off", "on"])
def test_families_are_in_the_order_of_their_declarations(recording: RecordingState | None) -> None:
    """All families of the exporter, those of the recording while it is on, then those of the process."""
    inputs = Inputs(Snapshot("gw", NOW), {}, Health(), Directory(), 1, Serving(), recording)
    declared = [*EXPORTER_FAMILIES, *(RECORDING_FAMILIES if recording else ())]
    found = list(own_samples(inputs))
    assert found[: len(declared)] == declared
    assert all(family.name.startswith(("process_", "python_")) for family in found[len(declared) :])


def test_the_process_has_its_families() -> None:
    """The families are those of prometheus-client's collectors, with the names of their samples."""
    collectors = (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR)
    expected = [metric for collector in collectors for metric in collector.collect()]
    found = process_samples()
    assert [family.help for family in found] == [metric.documentation for metric in expected]
    assert [family.kind for family in found] == [metric.type for metric in expected]
    assert {family.name for family in found} == {one.name for metric in expected for one in metric.samples}


def test_counters_and_gauges_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels and values are the collector's; the name of a counter gets its suffix."""

    class Collector:
        def collect(self) -> list[CounterMetricFamily | GaugeMetricFamily]:
            counter = CounterMetricFamily("collected", "Objects.", labels=["generation"])
            counter.add_metric(["0"], 7)
            return [counter, GaugeMetricFamily("resident_bytes", "Memory.", 1.5)]

    monkeypatch.setattr(process, "COLLECTORS", (Collector(),))
    assert [(family.name, family.kind, samples) for family, samples in process_samples().items()] == [
        ("collected_total", "counter", [({"generation": "0"}, 7)]),
        ("resident_bytes", "gauge", [({}, 1.5)]),
    ]
