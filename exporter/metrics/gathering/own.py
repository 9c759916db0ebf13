"""The samples about the exporter, its recording and its process, which pages of every schema have."""

from __future__ import annotations

from exporter.metrics.declarations.content import Tables
from exporter.metrics.gathering.exporter import exporter_samples
from exporter.metrics.gathering.inputs import Inputs
from exporter.metrics.gathering.process import process_samples
from exporter.metrics.gathering.recording import recording_samples


def own_samples(inputs: Inputs) -> Tables:
    """The families about the exporter, the process and, if it is on, the recording."""
    return {
        **exporter_samples(inputs.snapshot, inputs.health, inputs.serving),
        **(recording_samples(inputs.recording) if inputs.recording else {}),
        **process_samples(),
    }
