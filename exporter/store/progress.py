"""The progress of long work: as numbers for metrics, as a bar on a terminal, or as lines of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from exporter.recording import Work


class Progress:
    """The steps of one piece of work. `say` receives sentences and the names of steps."""

    def __init__(self, work: Work | None = None, say: Callable[[str], None] | None = None) -> None:
        self.work = work or Work()
        self._say = say

    def expect(self, steps: int) -> None:
        """Add steps to the goal."""
        self.work.goal += steps
        self._moved()

    def step(self, name: str = "", steps: int = 1) -> None:
        """Count steps as done; `name` is shown."""
        self.work.done += steps
        if name:
            self.say(name)
        self._moved()

    def say(self, text: str) -> None:
        if self._say:
            self._say(text)

    def _moved(self) -> None:
        """Called after every change, for a subclass that shows it."""


class _Bar(Progress):
    def __init__(self, bars: Bars, title: str, say: Callable[[str], None]) -> None:
        super().__init__(say=say)
        self._bars = bars
        self._task = bars.add_task(title, total=None)

    def _moved(self) -> None:
        self._bars.update(self._task, completed=self.work.done, total=self.work.goal)


@contextmanager
def shown(title: str, console: Console | None = None) -> Iterator[Progress]:
    """Show progress on standard error: lines, and on a terminal also a bar below them."""
    console = console or Console(stderr=True)
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield Progress(say=say)
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Bars(*columns, console=console, transient=True) as bars:
        yield _Bar(bars, title, say)
