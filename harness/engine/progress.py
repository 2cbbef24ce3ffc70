"""Progress of long work: bars on a terminal, elsewhere lines in the log.

A line at the start, one every minute, whether or not anything was done in it, and one at the end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich import progress as bars
from rich.console import Console

from harness.engine.world import World
from harness.interfaces import OnProgress

_EVERY = 60.0
"""Seconds between lines in a log."""


class RateColumn(bars.ProgressColumn):
    """Samples per second."""

    def render(self, task: bars.Task) -> str:
        """The speed as text; empty until it is known."""
        return f"{task.speed:.2f}/s" if task.speed else ""


class Progress:
    """Draws on `console` if it is a terminal, writes lines there if not.

    Args:
        console: Where to.
        quiet: Nothing at all.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        console: Console,
        *,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._quiet = quiet
        self._clock = clock
        self._shown: bars.Progress | None = None

    @contextmanager
    def bar(self, name: str) -> Iterator[OnProgress]:
        """Progress of one piece of work, told as (done, total)."""
        with self._followed(name, None, visible=True) as on_progress:
            yield on_progress

    @contextmanager
    def listing(self) -> Iterator[OnProgress]:
        """Progress of reading the data for its digests, shown once there is any.

        In a log it is mostly over at once, and leaves no line in less than a minute.
        """
        with self._followed("reading data", None, visible=False) as on_progress:
            yield on_progress

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """Within, metrics are computed, of which nobody knows how far they are."""
        with self._followed("scoring", None, visible=False):
            yield

    @contextmanager
    def samples(self, name: str, total: int, world: World) -> Iterator[Callable[[int], None]]:
        """Progress of this process's share of samples, told by any thread as so many more.

        Only the main process shows it.
        """
        if not world.is_main:
            yield lambda _: None
            return
        share = f" ({world.title})" if world.title else ""
        lock, done = threading.Lock(), 0
        with self._followed(f"{name}{share}", total, visible=True) as on_progress:

            def advance(count: int) -> None:
                nonlocal done
                with lock:
                    done += count
                    on_progress(done, total)

            yield advance

    @contextmanager
    def _followed(self, name: str, total: int | None, *, visible: bool) -> Iterator[OnProgress]:
        if self._quiet:
            yield lambda *_: None
        elif self._console.is_terminal:
            with self._bar() as bar:
                task = bar.add_task(name, total=total, visible=visible)
                yield lambda done, total: bar.update(
                    task, completed=done, total=total, visible=True
                )
                if len(bar.tasks) > 1:  # The last one leaves with the bars.
                    bar.remove_task(task)
        else:
            with _every_minute(_Log(self._console, name, self._clock, ends=visible)) as log:
                yield log

    @contextmanager
    def _bar(self) -> Iterator[bars.Progress]:
        """The bars on the terminal, to which work within other work adds its own."""
        if self._shown is not None:
            yield self._shown
            return
        with bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            RateColumn(),
            bars.TimeRemainingColumn(),
            console=self._console,
            transient=True,
        ) as self._shown:
            try:
                yield self._shown
            finally:
                self._shown = None


class _Log:
    """Lines such as `webp: 1200 of 50000, 19.8/s, 0:41:03 left`.

    Args:
        console: Where to.
        name: What is done.
        clock: Seconds that only grow.
        ends: Whether there is a line at the start and one at the end.
    """

    def __init__(
        self, console: Console, name: str, clock: Callable[[], float], *, ends: bool
    ) -> None:
        self._console = console
        self._name = name
        self._clock = clock
        self._ends = ends
        self._start = self._told = clock()
        self._lock = threading.Lock()
        self._before: int | None = None
        """What had been done before this process began, as its first word says."""
        self._now = 0, 0

    def __call__(self, done: int, total: int) -> None:
        with self._lock:
            first, self._now = self._before is None, (done, total)
            if first:
                self._before = done
            begins = self._ends and first and done < total
            ended = done == total and (self._ends or self._told > self._start)
            if begins:
                self._say(f"{done} of {total} at the start")
            elif not first and (ended or self._due()):
                self._say(self._how_far())

    def remind(self) -> None:
        """Say how far it is where nothing has been said for a minute, and all is not done."""
        with self._lock:
            done, total = self._now
            if self._due() and (self._before is None or done < total):
                self._say(self._how_far())

    def _due(self) -> bool:
        return self._clock() - self._told >= _EVERY

    def _how_far(self) -> str:
        self._told = self._clock()
        seconds = self._told - self._start
        if self._before is None:
            return f"{timedelta(seconds=round(seconds))} so far"
        done, total = self._now
        rate = (done - self._before) / max(seconds, 1e-9)
        left = timedelta(seconds=round((total - done) / rate)) if rate else "unknown time"
        return f"{done} of {total}, {rate:.3g}/s, {left} left"

    def _say(self, text: str) -> None:
        line = f"{self._name}: {text}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _every_minute(log: _Log) -> Iterator[_Log]:
    """Within, a thread reminds the log, for work that may be silent for long."""
    over = threading.Event()

    def remind() -> None:
        while not over.wait(_EVERY):
            log.remind()

    threading.Thread(target=remind, name="progress", daemon=True).start()
    try:
        yield log
    finally:
        over.set()
