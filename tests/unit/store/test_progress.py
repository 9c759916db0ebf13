"""Progress of long work: numbers, a bar on a terminal, and lines."""

from __future__ import annotations

import io

from rich.console import Console

from exporter.recording import Work
from exporter.store.progress import Progress, shown


def test_steps_are_counted_for_metrics() -> None:
    """Steps are counted even if nothing shows them."""
    work = Work()
    progress = Progress(work)
    progress.expect(3)
    progress.step()
    progress.expect(2)
    progress.step("two at once", steps=2)
    assert (work.done, work.goal) == (3, 5)


def test_named_steps_are_shown() -> None:
    """`say` receives sentences and the names of steps; a step without a name is silent."""
    said: list[str] = []
    progress = Progress(say=said.append)
    progress.say("begun")
    progress.step()
    progress.step("first [3]")
    assert said == ["begun", "first [3]"]


def run(console: Console) -> str:
    with shown("migrating", console) as progress:
        progress.expect(2)
        progress.step("migration 1 [scope]: applied")
        progress.step()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_file_gets_lines() -> None:
    """A file receives each line unchanged, and no bar."""
    console = Console(file=io.StringIO())
    assert run(console) == "migration 1 [scope]: applied\n"


def test_a_terminal_gets_a_bar() -> None:
    """A terminal receives the lines and a bar with the title and the numbers."""
    written = run(Console(file=io.StringIO(), force_terminal=True, width=80))
    assert "migration 1 [scope]: applied" in written
    assert "migrating" in written
    assert "2/2" in written
