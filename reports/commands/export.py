"""`uwt-eval export`: results where people look for them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.console import Plugins
from harness.interfaces.errors import UserError, counted
from harness.interfaces.registry import load_plugins


class Target(StrEnum):
    """Where results go."""

    CSV = "csv"
    PARQUET = "parquet"
    HF = "hf"
    WANDB = "wandb"
    TRACKIO = "trackio"


def export(
    runs: Annotated[
        list[Path], typer.Argument(help="Run directories, record files, or folders of them.")
    ],
    to: Annotated[
        Target, typer.Option(help="csv, parquet, hf (a hub card's metadata), wandb or trackio.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File to write; with hf a README.md, whose other content stays."),
    ] = None,
    samples: Annotated[
        bool, typer.Option("--samples", help="Rows of samples in place of rows of metrics.")
    ] = False,
    project: Annotated[str, typer.Option(help="Project of wandb or trackio.")] = "uwt-eval",
    plugin: Plugins = None,
) -> None:
    """Write results as rows, as a hub card's `model-index`, or log them to a tracker."""
    from reports import export as exports
    from reports.files import check_ending, write_bytes
    from reports.records import load_records

    load_plugins(plugin)
    logged = to in (Target.WANDB, Target.TRACKIO)
    if out is not None and not logged:
        check_ending("--out", out, [".md" if to is Target.HF else f".{to}"])
    found = load_records(runs)
    if logged:
        if out is not None:
            raise UserError(f"--out: {to} keeps runs where it is told to by its own settings")
        exports.log_runs(found, to.value, project, samples=samples)
        print(f"{counted(len(found), 'run')} logged to {to}, project {project}")
        return
    if to is Target.HF and samples:
        raise UserError("--samples: a card holds metrics alone")
    if to is Target.PARQUET:
        if out is None:
            raise UserError("--to parquet: give --out FILE.parquet")
        data = exports.as_parquet(found, samples=samples)
    elif to is Target.HF:
        data = exports.as_card(found, out).encode("utf-8")
    else:
        data = exports.as_csv(found, samples=samples).encode("utf-8")
    if out is None:
        print(data.decode("utf-8"), end="")
    else:
        write_bytes(out, data)
        print(f"{counted(len(found), 'run')}: {out}")
