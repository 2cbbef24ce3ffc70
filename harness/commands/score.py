"""`uwt-eval score`: results from stored files, or from observations made elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.console import Json, Plugins, terminal
from harness.commands.formats import Form, Format, format_of
from harness.interfaces.errors import ExitCode, UserError
from harness.interfaces.registry import load_plugins

if TYPE_CHECKING:
    from harness.engine.score import Merged
    from harness.interfaces.types import ResultRecord


def score(
    runs: Annotated[
        list[str], typer.Argument(help="Run directories; with --observations one task.")
    ],
    observations: Annotated[
        Path | None,
        typer.Option(help="File of observations made elsewhere, in the task's format."),
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(help="File of questions, where the task needs one.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of the pictures observed, in the task's layout: for a gallery."),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Protocol of the observations; the task's first if absent.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Name of the model that was observed; the file's if absent.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where run directories are made (default: runs).")
    ] = None,
    max_failures: Annotated[
        int, typer.Option(help="Failed samples up to which observations count as complete.")
    ] = 0,
    plugin: Plugins = None,
    form: Form = None,
    as_json: Json = False,
) -> None:
    """Compute metrics from what a run has stored, or a file holds: no model, no data, no GPU."""
    from harness.data.settings import read_settings
    from harness.engine.observed import score_file
    from harness.engine.progress import Progress
    from harness.engine.run_file import read_run_file
    from harness.engine.runner import rescore

    load_plugins(plugin)
    if observations is None:
        if questions or images or protocol or label or out or max_failures:
            raise UserError(
                "--questions, --images, --protocol, --label, --out and --max-failures go with "
                "--observations FILE; a run directory holds its own"
            )
        files = [(root, read_run_file(root)) for root in map(Path, runs)]  # Refused before work.
        messages = terminal(stderr=True)
        written = format_of(form, as_json)
        with Progress(messages, quiet=written is Format.JSON).bar("scoring") as on_progress:
            results = []
            for done, (root, file) in enumerate(files):
                on_progress(done, len(runs))
                results.append(rescore(root, file))
            on_progress(len(runs), len(runs))
        show_results(results, [], written)
        return
    if len(runs) != 1:
        raise UserError(f"--observations {observations}: name one task, got {', '.join(runs)}")
    record, merged, root = score_file(
        runs[0],
        observations,
        protocol=protocol,
        questions=questions,
        images=images,
        out=out or read_settings().out,
        label=label,
        max_failures=max_failures,
    )
    show_results([(record, merged)], [root], format_of(form, as_json))


def show_results(
    results: list[tuple[ResultRecord, Merged]], written: list[Path], form: Format | None
) -> None:
    """Print tables or rows; exit as incomplete where a result is."""
    from harness.commands.outputs import print_records
    from harness.engine.runner import first_errors
    from harness.interfaces.types import RunStatus

    records = [record for record, _ in results]
    if form is Format.JSON:
        print(json.dumps([record.model_dump(mode="json") for record in records], indent=2))
    else:
        print_records(records, written, form)
        told, messages = terminal(stderr=form is not None), terminal(stderr=True)
        for _, merged in results:
            for line in first_errors(merged.failed):
                told.print(f"failed: {line}", markup=False, style="red", soft_wrap=True)
        for notice in dict.fromkeys(merged.file.notice for _, merged in results):
            if notice:
                messages.print(f"note: {notice}", markup=False, style="yellow", soft_wrap=True)
    if any(record.status is RunStatus.INCOMPLETE for record in records):
        raise typer.Exit(ExitCode.INCOMPLETE)
