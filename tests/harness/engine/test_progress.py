"""Progress is drawn on a terminal by the main process; a log gets a line a minute."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from harness.engine.progress import Progress, _Log
from harness.engine.world import World


def drawn(*, terminal: bool, quiet: bool = False, world: World | None = None) -> str:
    text = io.StringIO()
    progress = Progress(Console(file=text, force_terminal=terminal, width=100), quiet=quiet)
    with progress.listing() as on_listing:
        on_listing(3, 10)
    with progress.samples("webp", 8, world or World()) as advance:
        advance(4)
        advance(4)
    return text.getvalue()


def test_terminal_shows_names_and_counts() -> None:
    text = drawn(terminal=True)
    assert "webp" in text
    assert "8/8" in text


def test_share_of_several_processes_is_said() -> None:
    assert "webp (1 of 4 processes)" in drawn(terminal=True, world=World(0, 4))


@pytest.mark.parametrize("terminal", [False, True])
def test_quiet_work_leaves_no_line(terminal: bool) -> None:
    assert drawn(terminal=terminal, quiet=True).strip() == ""


def test_short_work_leaves_a_line_at_its_start_and_one_at_its_end_in_a_log() -> None:
    start, end = drawn(terminal=False).splitlines()
    assert start == "webp: 4 of 8 at the start"
    assert end.startswith("webp: 8 of 8, ")


def test_work_that_is_there_already_leaves_no_line() -> None:
    text = io.StringIO()
    with Progress(Console(file=text)).samples("webp", 8, World()) as advance:
        advance(8)
    assert text.getvalue() == ""


def test_silent_work_gets_a_line_a_minute_too() -> None:
    text, now = io.StringIO(), [0.0]
    console = Console(file=text)
    log = _Log(console, "scoring", lambda: now[0], ends=False)
    for second in (59, 60, 61, 125):
        now[0] = float(second)
        log.remind()
    assert text.getvalue().splitlines() == ["scoring: 0:01:00 so far", "scoring: 0:02:05 so far"]
    log(3, 10)
    now[0] = 190.0
    log.remind()
    assert text.getvalue().splitlines()[-1] == "scoring: 3 of 10, 0/s, unknown time left"
    log(10, 10)
    lines = text.getvalue()
    now[0] = 500.0
    log.remind()
    assert text.getvalue() == lines


def test_a_log_gets_a_line_a_minute_and_one_at_each_end() -> None:
    text, now = io.StringIO(), [0.0]
    progress = Progress(Console(file=text, width=30), clock=lambda: now[0])
    with progress.samples("webp?bytes=1024", 1000, World()) as advance:
        advance(400)  # Was there before.
        for second in range(1, 151):
            now[0] = float(second)
            advance(4)
    assert text.getvalue().splitlines() == [
        "webp?bytes=1024: 400 of 1000 at the start",
        "webp?bytes=1024: 640 of 1000, 4/s, 0:01:30 left",
        "webp?bytes=1024: 880 of 1000, 4/s, 0:00:30 left",
        "webp?bytes=1024: 1000 of 1000, 4/s, 0:00:00 left",
    ]


def test_quiet_is_quiet_in_a_log_too() -> None:
    text, now = io.StringIO(), [0.0]
    progress = Progress(Console(file=text), quiet=True, clock=lambda: now[0])
    with progress.bar("features") as on_progress:
        on_progress(1, 9)
        now[0] = 300.0
        on_progress(2, 9)
    assert text.getvalue() == ""


def test_other_processes_draw_no_samples() -> None:
    assert "webp" not in drawn(terminal=True, world=World(1, 4))
