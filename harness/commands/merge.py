"""`uwt-eval merge`: one result from the shards of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.console import Json, Plugins, terminal
from harness.commands.formats import Form, Format, format_of
from harness.interfaces.errors import UserError
from harness.interfaces.registry import load_plugins


def merge(
    runs: Annotated[
        list[Path], typer.Argument(help="Run directories, or folders of them, copied here.")
    ],
    data: Annotated[
        str | None,
        typer.Option(help="The run's data, for pictures of them; the task's own place if absent."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the run directory is made (default: runs).")
    ] = None,
    plugin: Plugins = None,
    form: Form = None,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
) -> None:
    """Put together what `run --shard` made on several machines, and compute the metrics of all.

    Directories of one run are known by their name; those of a suite's runs, or the folders that
    they lie in, may be given together.
    """
    from harness.commands.score import show_results
    from harness.data.settings import read_settings
    from harness.engine.progress import Progress
    from harness.engine.run_file import read_run_file
    from harness.engine.shards import MergedRun, merge as merge_runs

    load_plugins(plugin)
    form = format_of(form, as_json)
    messages = terminal(stderr=True)
    progress = Progress(messages, quiet=quiet or form is Format.JSON)
    of_run: dict[str, list[Path]] = {}
    for root in (each for given in runs for each in _below(given)):
        of_run.setdefault(read_run_file(root).run_id, []).append(root)
    done: list[MergedRun] = []
    for name, roots in of_run.items():
        try:
            done.append(merge_runs(roots, out or read_settings().out, data, progress))
        except UserError as error:
            if len(of_run) == 1:
                raise
            raise UserError(f"{name}: {error}") from error
    for left_out in dict.fromkeys(each.left_out for each in done if each.left_out):
        messages.print(
            f"note: the run's data are not here, so there is no {left_out}: give --data, or "
            "run without --shard where they are, which computes nothing anew",
            markup=False,
            style="yellow",
            soft_wrap=True,
        )
    show_results([(each.record, each.merged) for each in done], [each.root for each in done], form)


def _below(folder: Path) -> list[Path]:
    """The run directories that a folder holds; itself where it is one, or holds none."""
    if (folder / "run.json").is_file():
        return [folder]
    return sorted(path.parent for path in folder.glob("*/run.json")) or [folder]
