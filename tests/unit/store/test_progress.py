"""How far long work has come: numbers always, a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import io

from rich.console import Console

from exporter.recording import Work
from exporter.store.progress import Progress, shown


def test_steps_are_counted_for_metrics() -> None:
    """Work that is shown to nobody still counts what is done and what is to come."""
    work = Work()
    progress = Progress(work)
    progress.expect(3)
    progress.step()
    progress.expect(2)
    progress.step("two at once", steps=2)
    assert (work.done, work.goal) == (3, 5)


def test_named_steps_are_said() -> None:
    """A sentence, and a step with a name, reach who listens; a step without one does not."""
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


def test_elsewhere_there_are_lines() -> None:
    """In a file there is what was said, as it was said, and nothing that moves."""
    console = Console(file=io.StringIO())
    assert run(console) == "migration 1 [scope]: applied\n"


def test_a_terminal_gets_a_bar() -> None:
    """On a terminal the lines scroll above a bar with the title and the numbers."""
    written = run(Console(file=io.StringIO(), force_terminal=True, width=80))
    assert "migration 1 [scope]: applied" in written
    assert "migrating" in written
    assert "2/2" in written
