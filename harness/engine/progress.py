"""Progress of long work: bars with rate and time left on a terminal, silence elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import progress as bars
from rich.console import Console

from harness.engine.world import World
from harness.interfaces import OnProgress


class RateColumn(bars.ProgressColumn):
    """Samples per second."""

    def render(self, task: bars.Task) -> str:
        """The speed as text; empty until it is known."""
        return f"{task.speed:.2f}/s" if task.speed else ""


class Progress:
    """Draws on `console` if it is a terminal and `quiet` was not asked for."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._shown = console.is_terminal and not quiet

    def _bar(self) -> bars.Progress:
        return bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            RateColumn(),
            bars.TimeRemainingColumn(),
            # Before rich 14.1 even a disabled bar ends with an empty line.
            console=self._console if self._shown else Console(quiet=True),
            disable=not self._shown,
            transient=True,
        )

    @contextmanager
    def listing(self) -> Iterator[OnProgress]:
        """Progress of reading the data for its digests."""
        with self._bar() as bar:
            task = bar.add_task("reading data", total=None, visible=False)
            yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)

    @contextmanager
    def bar(self, name: str) -> Iterator[OnProgress]:
        """Progress of one piece of work, told as (done, total)."""
        with self._bar() as bar:
            task = bar.add_task(name, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    @contextmanager
    def samples(self, name: str, total: int, world: World) -> Iterator[Callable[[int], None]]:
        """Progress of this process's share of samples; only the main process draws."""
        if not world.is_main:
            yield lambda _: None
            return
        share = f" (1 of {world.size} processes)" if world.size > 1 else ""
        with self._bar() as bar:
            task = bar.add_task(f"{name}{share}", total=total)
            yield lambda count: bar.advance(task, count)
