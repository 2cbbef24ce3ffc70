"""`uwt-eval sweep`: models at several rates, as curves of quality over bits per pixel."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.console import terminal, with_options
from harness.commands.formats import Format, to_csv
from harness.commands.outputs import print_parts
from harness.commands.run import RunOptions, carry_out_all
from harness.interfaces.errors import UserError
from harness.interfaces.registry import METRICS, MODELS, TASKS, load_plugins
from reports.sweep.bjontegaard import Method

if TYPE_CHECKING:
    from reports.sweep.curves import Sweep

RATE = "bpp"
_FILE = "sweep.json"


@with_options
def sweep(
    context: typer.Context,
    run: RunOptions,
    task: Annotated[
        str | None, typer.Argument(help="A task of reconstruction, such as imagenet-recon.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="A model at several rates: webp for its ladder, 'webp:{512,1024}', "
            "'jpeg?bytes={512..8192*2}', uniwetok:{a,b}/model; repeat for more curves.",
        ),
    ] = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option(
            help="Runs that are there, or folders of them, in place of --model; with TASK its runs "
            "alone."
        ),
    ] = None,
    anchor: Annotated[
        str | None,
        typer.Option(help="The curve to compare the others with; the first one if absent."),
    ] = None,
    method: Annotated[
        Method, typer.Option(help="Interpolation: pchip, or cubic, which takes four points.")
    ] = Method.PCHIP,
    report: Annotated[
        Path, typer.Option(help="Folder of sweep.json, sweep.svg and sweep.png.")
    ] = Path("sweep"),
) -> None:
    """Measure quality over rate: curves, Bjøntegaard's deltas against an anchor, areas.

    Runs are made, resumed and shared as `uwt-eval run` does it.
    """
    from harness.commands.suite import Suite, overridden, requests_of
    from harness.data.settings import read_settings
    from harness.data.store import check_folder
    from harness.engine.models import ModelChoice
    from harness.engine.world import World
    from reports.sweep.ladders import FORM, expand

    load_plugins(run.plugin)
    check_folder(report)
    asked = None if run.metrics is None else run.metrics.split(",")
    for metric in asked or ():
        if METRICS.get(metric).higher_is_better is None:
            raise UserError(f"--metrics {metric}: it has no direction, so there is no better curve")
    if runs:
        if model:
            raise UserError("--runs takes runs that are there: leave --model out")
        made = _made(runs, asked, anchor, method, task)
        _write(made, report, run.format)
        return
    if task is None or not model:
        raise UserError("name a task and models, or runs with --runs: see `uwt-eval sweep --help`")
    if RATE not in getattr(TASKS.get(task).spec, "metrics", ()):
        raise UserError(f"task {task!r} measures no rate: take one of reconstruction")
    choices = [choice for each in model for choice in expand(each)]
    for choice in choices:  # A slip of the pen is said before hours of work, not after.
        try:
            ModelChoice.parse(choice).build()
        except UserError as error:
            if "{" in choice and '"' not in choice:
                raise UserError(f"--model {choice}: braces hold no rates: {FORM}") from error
            raise
    given = run.given(context, choices)
    if asked is not None:
        given["metrics"] = tuple(dict.fromkeys([RATE, *asked]))
    suite = overridden(Suite(tasks=(task,)), given)
    world = World.from_environment(run.shard)
    requests = requests_of(suite, run.out or read_settings().out, fresh=run.fresh)
    if len(requests) < 2:
        name = ModelChoice.parse(model[0]).name
        if hasattr(MODELS.get(name), "ladder"):
            raise UserError(
                f"--model {model[0]}: a curve takes several rates, as '{name}:{{512,1024,2048}}'"
            )
        raise UserError(
            f"--model {model[0]} has one rate: a curve takes a model whose rate can be set, as "
            "'webp:{512,1024,2048}', or several of a kind, as 'uniwetok:{a,b}/model'"
        )
    if run.dry_run:
        from harness.commands.plans import print_plans

        print_plans(requests, world, as_json=run.format is Format.JSON)
        return
    carried = carry_out_all(requests, world, run, go_on=True)
    if not world.is_main:
        return
    if carried.parts:
        print_parts(carried.parts, run.format)
    elif carried.finished:
        try:
            made = _made([each.root for each in carried.finished], asked, anchor, method)
        except UserError:
            if carried.refused:  # Which says why there are too few.
                carried.end()
            raise
        _write(made, report, run.format)
    carried.end()


def _made(
    places: Sequence[Path],
    metrics: Sequence[str] | None,
    anchor: str | None,
    method: Method,
    task: str | None = None,
) -> Sweep:
    from reports.records import load_records
    from reports.sweep.curves import make_sweep, of_task

    found = of_task(load_records(places), task)
    return make_sweep(found, anchor=anchor, metrics=metrics, method=method)


def _write(made: Sweep, folder: Path, form: Format | None) -> None:
    """Write the JSON and the pictures, and print what is asked for."""
    from reports.figures.canvas import FORMATS, write_figure
    from reports.figures.rates import rate_curves
    from reports.files import write_text
    from reports.sweep.outputs import rows, show, to_json

    text = json.dumps(to_json(made), indent=2, ensure_ascii=False) + "\n"
    write_text(folder / _FILE, text)
    written = [folder / _FILE, *write_figure(rate_curves(made), folder / "sweep", FORMATS)]
    if form is Format.JSON:
        print(text, end="")
    elif form is Format.CSV:
        print(to_csv(rows(made)), end="")
    else:
        show(terminal(form=form), made, form)
    messages = terminal(stderr=form is not None)
    for path in written:
        messages.print(f"written: {path}", markup=False, soft_wrap=True, highlight=False)
