"""Progress is drawn on a terminal by the main process, and nowhere else."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from harness.engine.progress import Progress
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


@pytest.mark.parametrize(("terminal", "quiet"), [(False, False), (True, True)])
def test_silence_elsewhere(terminal: bool, quiet: bool) -> None:
    assert drawn(terminal=terminal, quiet=quiet).strip() == ""


def test_other_processes_draw_no_samples() -> None:
    assert "webp" not in drawn(terminal=True, world=World(1, 4))
