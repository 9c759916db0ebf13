"""How pytest-xdist divides the tests among its workers: by file, some files together."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Files of one row run on the same worker, in this order. Rows come before all other files, the longest first.
ROWS = (
    # Each has the one demo that a host can run.
    ("tests/alerts/test_outage.py", "tests/dashboards/test_queries.py", "tests/e2e/test_demo.py"),
    ("tests/kernel/",),  # one virtual machine
    ("tests/e2e/test_stock_debian.py",),
    ("tests/e2e/test_recording.py",),
    ("tests/unit/bench/",),
)
PREFIXES = {prefix: (row, place) for row, files in enumerate(ROWS) for place, prefix in enumerate(files)}


def position(nodeid: str) -> tuple[int, int]:
    """Row and place of a test; tests of all other files come after every row, in the order of their names."""
    return next((at for prefix, at in PREFIXES.items() if nodeid.startswith(prefix)), (len(ROWS), 0))


class ByRow(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives a worker that is free the next row or file, in the order of collection."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # it would begin with the file of the most tests

    def _split_scope(self, nodeid: str) -> str:
        row, _ = position(nodeid)
        return ROWS[row][0] if row < len(ROWS) else nodeid.partition("::")[0]
