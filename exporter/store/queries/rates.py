"""The throughput between the samples of a history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from exporter.store.queries.history import Sample


class Rate(NamedTuple):
    """The mean bytes per second between two samples. Instants are UNIX seconds."""

    started_at: float
    ended_at: float
    receive: float
    transmit: float


def rates(samples: Sequence[Sample]) -> Iterator[Rate]:
    """The mean throughput between each two successive samples of a history."""
    for one, other in pairwise(samples):
        duration = round(other.taken_at - one.taken_at, 3)
        yield Rate(
            one.taken_at,
            other.taken_at,
            (other.receive_total - one.receive_total) / duration,
            (other.transmit_total - one.transmit_total) / duration,
        )
