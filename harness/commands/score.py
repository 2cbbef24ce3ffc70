"""`uwt-eval score`: compute results again from stored files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from harness.commands.options import Json, Plugins
from harness.errors import ExitCode
from harness.registry import load_plugin


def score(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")],
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Compute metrics again from what a run has stored: no model, no data, no GPU."""
    from harness.commands.run import references
    from harness.console import print_results
    from harness.runner import first_errors, rescore
    from harness.types import RunStatus

    for path in plugin or []:
        load_plugin(path)
    results = [rescore(root) for root in runs]
    records = [record for record, _ in results]
    if as_json:
        print(json.dumps([record.model_dump(mode="json") for record in records], indent=2))
    else:
        console = Console()
        for task in dict.fromkeys(record.task for record in records):
            mine = [record for record in records if record.task == task]
            print_results(console, mine, references(task))
        for _, merged in results:
            for line in first_errors(merged):
                console.print(f"failed: {line}", markup=False, style="red", soft_wrap=True)
    if any(record.status is RunStatus.INCOMPLETE for record in records):
        raise typer.Exit(ExitCode.INCOMPLETE)
