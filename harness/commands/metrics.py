"""`uwt-eval metrics`: metrics between two sets of images given as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from harness.commands.console import NOTHING, Json, Plugins, arrow, label, terminal
from harness.interfaces.errors import COMPUTED, ExitCode, UserError
from harness.interfaces.registry import load_plugins

if TYPE_CHECKING:
    from harness.interfaces.types import ResultRecord


def metrics(
    reference: Annotated[
        str,
        typer.Argument(
            help="Folder, .zip, .tar, .parquet, data set folder or .npz to compare with."
        ),
    ],
    samples: Annotated[str, typer.Argument(help="The images to judge.")],
    names: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            help="Comma-separated, of those in `uwt-eval list metrics` that judge images, such as "
            "fid,lpips,cmmd; if absent, those named above.",
        ),
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="torch-fidelity, adm, clean, wetok, exact or a .toml file.")
    ] = "torch-fidelity",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the intervals.")] = 0,
    small_sets: Annotated[
        bool, typer.Option("--small-sets", help="Give FID and KID of too few images too.")
    ] = False,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Note FID∞ too: FID at infinitely many images.")
    ] = False,
    keep: Annotated[
        bool,
        typer.Option("--record", help="Keep the result, for report, compare, gate, leaderboard."),
    ] = False,
    label: Annotated[
        str | None, typer.Option(help="What made the images, for tables; the place's if absent.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where --record makes its directory (default: runs).")
    ] = None,
    plugin: Plugins = None,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
) -> None:
    """Compare two sets of images: FID, sFID, KID, IS, precision and recall, PSNR, SSIM, LPIPS.

    Features are kept in the cache: a reference is passed through the network once.
    """
    from harness.data.settings import read_settings
    from harness.data.store import check_folder
    from harness.engine.progress import Progress
    from harness.engine.world import World
    from harness.interfaces.types import RunStatus
    from harness.sets.compare import compare_files

    world = World.from_environment()
    if not world.is_main:
        raise typer.Exit(ExitCode.USAGE)
    if world.size > 1:
        raise UserError("metrics works in one process, on all of its cores: leave torchrun out")
    load_plugins(plugin)
    if out is not None and not keep:
        raise UserError(f"--out {out} goes with --record")
    if keep:
        check_folder(out or read_settings().out)
    messages = terminal(stderr=True)
    comparison, record = compare_files(
        reference,
        samples,
        names.split(",") if names else None,
        protocol=protocol,
        device=device,
        seed=seed,
        small_sets=small_sets,
        extrapolate=extrapolate,
        progress=Progress(messages, quiet=quiet or as_json),
    )
    if label is not None:
        record = record.model_copy(update={"model": label})
    for name, text in list(comparison.failures.items())[:5]:
        messages.print(f"failed: {name}: {text}", markup=False, style="red", soft_wrap=True)
    if keep:
        from harness.sets.keep import keep_result

        record = keep_result(record, comparison.rows(), out or read_settings().out)
    if as_json:
        print(json.dumps([record.model_dump(mode="json")], indent=2))
    else:
        _show(record)
    if keep and not as_json:
        print(f"written: {(out or read_settings().out) / record.run_id}")
    if record.status is RunStatus.INCOMPLETE:
        raise typer.Exit(ExitCode.INCOMPLETE)


def _show(record: ResultRecord) -> None:
    """Print one result, a metric a row, with its interval or the reason why it has no value."""
    title = f"{record.model} against {record.dataset} · protocol {record.protocol}"
    table = Table(title=escape(title), box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("metric")
    for column in ("value", "95% interval", "n"):
        table.add_column(column, justify="right")
    table.add_column("", style="dim")
    above = ""
    for metric, cell in record.metrics.items():
        form = label(metric)
        value = interval = NOTHING
        if cell.value is not None:
            value = form.text(cell.value)
        if cell.ci_low is not None and cell.ci_high is not None:
            interval = f"{form.text(cell.ci_low)} to {form.text(cell.ci_high)}"
        n = str(cell.n) if cell.n else NOTHING
        why = cell.note if cell.status == COMPUTED else cell.status
        said = "as above" if why and why == above else escape(why)
        table.add_row(form.title + arrow([record], metric), value, interval, n, said)
        above = why
    terminal().print(table)
