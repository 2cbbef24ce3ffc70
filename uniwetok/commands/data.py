"""`uwt-eval data`: training data, looked at before anything is trained on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.console import Json, terminal
from harness.interfaces.errors import ExitCode, UserError, counted
from harness.interfaces.extras import need
from uniwetok.commands.options import Quiet, absent
from uniwetok.commands.shared import TRAINS_WITH, user_errors

if TYPE_CHECKING:
    from uniwetok.train.mllm.data.check import CheckReport

app = typer.Typer(help="Look at training data.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Look at training data."""


@app.command()
def check(
    path: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Records: a .jsonl, .tar or .parquet, or a folder."),
    ],
    images: Annotated[
        Path | None, typer.Option(help="Folder that a .jsonl names images in (default: its own).")
    ] = None,
    most: Annotated[
        int, typer.Option("--max", min=1, help="Offending lines that are listed; all are counted.")
    ] = 50,
    decode: Annotated[
        bool, typer.Option("--decode", help="Decode images whole, not their headers alone: slow.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check records for `train mllm` line by line; exit code 2 where any is offending.

    The format is described in docs/mllm-data.md.
    """
    need("training data", *TRAINS_WITH)
    if absent(path):
        raise UserError(
            f"{path} does not exist: give a .jsonl, .tar or .parquet, or a folder of them"
        )
    from harness.engine.progress import Progress
    from uniwetok.train.mllm.data.check import check_records
    from uniwetok.train.mllm.data.opening import open_records
    from uniwetok.train.mllm.data.sizes import SizeRule

    with user_errors():
        source = open_records(path, images)
    progress = Progress(terminal(stderr=True), quiet=quiet or as_json)
    with progress.bar("checking") as advance:
        report = check_records(source, SizeRule(), most=most, decode=decode, on_record=advance)
    if as_json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        _print(report)
    if not report.ok:
        raise typer.Exit(ExitCode.USAGE)


def _print(report: CheckReport) -> None:
    console = terminal(soft_wrap=True, highlight=False)
    for line in report.damage:
        console.print(line, markup=False)
    for finding in report.findings:
        console.print(str(finding), markup=False)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in report.kinds.items()) or "none"
    console.print(f"{counted(report.records, 'record')}; good: {kinds}")
    if report.smallest is not None and report.largest is not None:
        small, large = ("x".join(map(str, size)) for size in (report.smallest, report.largest))
        console.print(
            f"{counted(report.images, 'image')} of {small} to {large} pixels (height x width)"
        )
    if report.offending:
        listed = len({(finding.file, finding.line) for finding in report.findings})
        rest = f", the first {listed:,} listed" if listed < report.offending else ""
        console.print(f"{counted(report.offending, 'offending record')}{rest}")
