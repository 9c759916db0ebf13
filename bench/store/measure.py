"""One part of the benchmark of the records, in a process of its own; prints the figures.

python -m bench.store.measure records PEERS BUSY ROUNDS SNAPSHOTS
python -m bench.store.measure passages PEERS BUSY ROUNDS
python -m bench.store.measure beside PEERS BUSY [SECONDS]
"""

from __future__ import annotations

import dataclasses
import json
import sys

from bench.store import beside, passage, records
from bench.store.figures import Beside, Passage, Records


def part(words: list[str]) -> Records | Passage | Beside:
    """What these words ask for. SECONDS: between two snapshots."""
    name, peers, busy, *more = words[0], int(words[1]), float(words[2]), *words[3:]
    if name == "records":
        return records.measure(peers, busy, int(more[0]), int(more[1]))
    if name == "passages":
        return passage.measure(peers, busy, int(more[0]))
    return beside.measure(peers, busy, *map(float, more))


if __name__ == "__main__":
    json.dump(dataclasses.asdict(part(sys.argv[1:])), sys.stdout)
