"""Start-up of light commands beside a bare typer program, CPU time, interleaved rounds."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROUNDS = 7
BARE = """
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


class Kind(StrEnum):
    A = "a"
    B = "b"


app = typer.Typer()


@app.command()
def show(
    kind: Annotated[Kind | None, typer.Argument()] = None,
    files: Annotated[list[Path] | None, typer.Option()] = None,
) -> None:
    table = Table()
    table.add_column("name")
    table.add_row("value")
    Console().print(table)


@app.command()
def other(number: int = 1) -> None:
    "Another."


app()
"""


def cpu_seconds(command: list[str]) -> float:
    """CPU time of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=False, capture_output=True)  # What is absent is refused.
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure() -> dict[str, float]:
    """Median CPU seconds of each command."""
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.py"
        bare.write_text(BARE, encoding="utf-8")
        ours = [sys.executable, "-m", "uwt_eval"]
        run = [*ours, "run", "imagenet-recon", "--device", "cpu", "--limit", "4"]
        run += ["-m", "webp", "-m", "uniwetok-nano", "--out", f"{folder}/runs", "-q"]
        subprocess.run(run, check=True, capture_output=True)
        commands = {
            "bare typer --help": [sys.executable, str(bare), "--help"],
            "bare typer show": [sys.executable, str(bare), "show"],
            "uwt-eval --help": [*ours, "--help"],
            "uwt-eval list": [*ours, "list"],
            "uwt-eval show imagenet-recon": [*ours, "show", "imagenet-recon"],
            "uwt-eval show webp": [*ours, "show", "webp"],
            "uwt-eval run, all finished": run,
            "uwt-eval run --data ABSENT": [*run, "--data", f"{folder}/absent"],
            "uwt-eval metrics ABSENT ABSENT": [*ours, "metrics", f"{folder}/a", f"{folder}/b"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                times[name].append(cpu_seconds(command))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Print each command's time and its ratio to the bare program's."""
    medians = measure()
    title = f"start-up, CPU seconds, median of {ROUNDS} interleaved rounds"
    table = Table()
    for column in ("command", "seconds", "times bare"):
        table.add_column(column, justify="left" if column == "command" else "right")
    for name, seconds in medians.items():
        bare = medians["bare typer --help" if "help" in name else "bare typer show"]
        table.add_row(name, f"{seconds:.3f}", f"{seconds / bare:.2f}")
    Console(width=100).print(title, table)
