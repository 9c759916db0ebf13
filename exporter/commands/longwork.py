"""Long work on the records: its progress on standard error, and an interrupt that loses nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine

from exporter.store.progress import Progress, shown

EPILOG = """
The command may be interrupted at any time; run it again to continue.
Exit codes: 0 done, 1 it failed{}, 2 wrong usage or configuration, 130 interrupted."""


def work(title: str, job: Callable[[Progress], Coroutine[None, None, None]]) -> int:
    """Runs the job and shows its progress; the exit code."""
    try:
        with shown(title) as progress:
            asyncio.run(job(progress))
    except KeyboardInterrupt:
        sys.stderr.write("argus-wg: interrupted; finished steps stay, run the command again to continue\n")
        return 130
    return 0
