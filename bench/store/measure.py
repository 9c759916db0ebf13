"""Runs one part of the benchmark of the records in its own process, and prints the measurements as JSON.

python -m bench.store.measure records PEERS BUSY ROUNDS SNAPSHOTS
python -m bench.store.measure pipeline PEERS BUSY ROUNDS
python -m bench.store.measure impact PEERS BUSY [SECONDS]
"""

from __future__ import annotations

import dataclasses
import json
import sys

from bench.store import impact, pipeline, records
from bench.store.figures import Impact, Pipeline, Records


def part(words: list[str]) -> Records | Pipeline | Impact:
    """Runs the part that the arguments name. SECONDS: interval between two snapshots."""
    name, peers, busy, *more = words[0], int(words[1]), float(words[2]), *words[3:]
    if name == "records":
        return records.measure(peers, busy, int(more[0]), int(more[1]))
    if name == "pipeline":
        return pipeline.measure(peers, busy, int(more[0]))
    return impact.measure(peers, busy, *map(float, more))


if __name__ == "__main__":
    json.dump(dataclasses.asdict(part(sys.argv[1:])), sys.stdout)
