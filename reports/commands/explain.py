"""`uwt-eval explain`: why a figure is not the one that was published."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.console import NOTHING, Json, Plugins, print_line, print_table, terminal
from harness.commands.formats import Form, Format, format_of, to_csv
from harness.interfaces.errors import (
    ExitCode,
    Unavailable,
    UserError,
    counted,
    did_you_mean,
    json_text,
)
from harness.interfaces.registry import METRICS, load_plugins

if TYPE_CHECKING:
    from rich.console import Console

    from harness.interfaces import Progress
    from reports.explain.ladder import Explanation
    from reports.explain.measure import Subject

_WITHOUT_NETWORK = "psnr"
"""Explained where nothing was asked for and the weights of the usual metric are not here."""
_PROTOCOL = "torch-fidelity"
_FAILED = 5
"""Lines on samples that failed, as `metrics` has them."""
_LONGEST = 200
_DIGITS = 10
"""Of a digest, as a run's name has them."""


def explain(
    run: Annotated[str, typer.Argument(help="Run directory; or originals: folder, archive, .npz.")],
    others: Annotated[
        str | None, typer.Argument(help="Reconstructions of these originals, of the same names.")
    ] = None,
    published: Annotated[
        str | None,
        typer.Option(help="A published figure to explain, with all the digits of its source."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="What to explain: psnr, ssim …; if absent rfid, for two folders fid."),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="For two folders: the protocol to begin from, torch-fidelity if absent; "
            "a run has its own."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The run's model, if it is not found.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="The run's images, if they moved.")] = None,
    cost: Annotated[
        float,
        typer.Option(
            help="How many times the work of one protocol may be done; choices that need more are "
            "measured on a part of the images. inf: all of them on all."
        ),
    ] = 2.5,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    seed: Annotated[
        int | None, typer.Option(help="For two folders: seed of the intervals; 0 if absent.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of explain.json and waterfall.png; explain/NAME-METRIC if absent."
        ),
    ] = None,
    plugin: Plugins = None,
    form: Form = None,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be measured, and measure nothing.")
    ] = False,
) -> None:
    """Explain a figure: the metric under every protocol, and with one choice changed at a time.

    `explain RUN` takes a finished run of reconstructions, `explain A B` originals and what was made
    of them. One pass over the images serves all rungs.
    """
    from harness.data.store import check_folder
    from harness.engine.progress import Progress

    load_plugins(plugin)
    of_places, of_runs = {"protocol": protocol, "seed": seed}, {"model": model, "data": data}
    _refuse(of_places if others is None else of_runs, "A B" if others is None else "RUN")
    form = format_of(form, as_json)
    key = _key(metric, run if others is None else None)
    wanted = _figure(published)
    if not cost >= 1:
        raise UserError(f"--cost {cost}: must be at least 1, the work of one protocol")
    check_folder(out or Path("explain"))
    progress = Progress(terminal(stderr=True), quiet=quiet or form is Format.JSON)
    if dry_run:
        _list(run, others, protocol or _PROTOCOL, key, form)
        return
    if others is not None:
        of_places = {"protocol": protocol or _PROTOCOL, "seed": seed or 0}
    given = {"device": device, **(of_runs if others is None else of_places)}
    subject = _subject(run, others, progress, given)
    found = _explained(subject, key, metric, wanted, cost, progress)
    written = _write(found, out or Path("explain", _name(found)))
    messages = terminal(stderr=True)
    for name, why in list(found.failed.items())[:_FAILED]:
        messages.print(f"failed: {name}: {why}", markup=False, style="red", soft_wrap=True)
    if form is Format.JSON:
        print(json_text(found.model_dump(mode="json")))
    elif form is Format.CSV:
        print(to_csv(_rows(found)), end="")
    else:
        console = terminal(form=form)
        _show(console, found, form)
        if form is not Format.MD:
            for path in written:
                console.print(f"written: {path}", markup=False, soft_wrap=True, highlight=False)
    if found.failed:
        raise typer.Exit(ExitCode.INCOMPLETE)


def _refuse(given: dict[str, Any], form: str) -> None:
    """Refuse options that only the other form reads."""
    for name, value in given.items():
        if value is not None:
            raise UserError(f"--{name} {value} goes with `explain {form}` alone: leave it out")


def _name(found: Explanation) -> str:
    """A folder's name that tells explanations apart; file systems take 255 bytes."""
    name = re.sub(r"[^A-Za-z0-9._]+", "-", found.of).strip("-.")[:_LONGEST]
    return "-".join(filter(None, [name, found.digest[:_DIGITS], found.metric]))


def _key(metric: str | None, run: str | None) -> str:
    """The metric that is meant; raise `UserError` with the nearest name for one that is none."""
    from harness.sets import FILES

    if metric is None:
        return "fid" if run is None else "rfid"
    key = METRICS.spelled(metric)
    if key not in METRICS or (run is None and not METRICS.get(key).needs):
        raise UserError(
            f"unknown metric {metric!r}: {did_you_mean(metric, ['rfid', *FILES.metrics])}"
        )
    return key


def _figure(published: str | None) -> str | None:
    try:
        if published is None or math.isfinite(float(published)):
            return published
    except ValueError:
        pass
    raise UserError(f"--published {published}: give a finite number such as 1.18")


def _subject(run: str, others: str | None, progress: Progress, given: dict[str, Any]) -> Subject:
    for place in filter(None, (run, others)):
        if not Path(place).expanduser().exists():  # Before torch is imported.
            raise UserError(f"{place}: no such file or folder")
    from reports.explain.subjects import of_files, of_run

    with progress.listing() as on_listing:
        if others is None:
            return of_run(Path(run), **given, on_listing=on_listing)
        return of_files(run, others, **given, on_listing=on_listing)


def _explained(
    subject: Subject,
    key: str,
    asked: str | None,
    published: str | None,
    cost: float,
    progress: Progress,
) -> Explanation:
    """The explanation; of another metric where nobody asked for the one that cannot be had."""
    from harness.data.assets import fetched_on_need
    from reports.explain.ladder import explain

    given: dict[str, Any] = {"published": published, "budget": cost, "progress": progress}
    with fetched_on_need(progress):
        try:
            return explain(subject, key, **given)
        except UserError as error:
            if (
                asked is not None
                or published is not None
                or not isinstance(error.__cause__, Unavailable)
            ):
                raise
            print_line(
                terminal(stderr=True), f"{error}; {_WITHOUT_NETWORK} instead", style="yellow"
            )
            return explain(subject, _WITHOUT_NETWORK, **given)


def _list(run: str, others: str | None, protocol: str, key: str, form: Format | None) -> None:
    """The rungs, from the protocol alone: no image is read."""
    from harness.engine import protocols
    from harness.engine.plan import metric
    from harness.interfaces.registry import TASKS
    from harness.sets import FILES
    from reports.explain.rungs import differences, ladder

    if others is None:
        from reports.explain.subjects import read_finished

        file, _ = read_finished(Path(run))
        task = TASKS.get(file.task)
        rungs = ladder(file.protocol, task.spec, key, metric(key), task.protocol)
    else:
        base = protocols.find(protocol, FILES)
        rungs = ladder(base, FILES, key, metric(key), lambda name: protocols.find(name, FILES))
    if form is Format.JSON:
        base = rungs[0].protocol
        print(json_text([{"name": r.name, "changes": differences(base, r)} for r in rungs]))
        return
    console = terminal(form=form)
    for rung in rungs:
        print_line(console, rung.name, form)


def _rows(found: Explanation) -> list[dict[str, Any]]:
    """A row a rung for machines, unrounded."""
    own = {"choice": found.protocol, "kind": "base", "moves": 0.0}
    rungs = [(own, found.base)]
    rungs += [({"choice": s.name, "kind": s.kind, "moves": s.moves}, s.cell) for s in found.steps]
    cells = ("value", "ci_low", "ci_high", "n", "status")
    return [{**row, **{name: getattr(cell, name) for name in cells}} for row, cell in rungs]


def _write(found: Explanation, out: Path) -> list[Path]:
    from reports.figures.canvas import style, write_figure
    from reports.figures.waterfall import draw_waterfall
    from reports.files import write_text

    write_text(out / "explain.json", json_text(found.model_dump(mode="json")) + "\n")
    with style():
        pictures = write_figure(draw_waterfall(found), out / "waterfall", ["png"])
    return [out / "explain.json", *pictures]


def _show(console: Console, found: Explanation, form: Format | None) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from reports.text import heading, interval, number, shows, signed

    key, base = found.metric, found.base
    title = (
        f"{heading(key, base.higher_is_better)} of {found.of} · {counted(found.images, 'image')}"
    )
    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("choice", overflow="fold")  # On a narrow terminal figures stay whole.
    for name in ("value", "95% interval", "moves by"):
        table.add_column(name, justify="right", no_wrap=True)
    own = number(key, base.value), interval(key, base.ci_low, base.ci_high)
    table.add_row(escape(found.protocol), *own, "", style="bold")
    for step in found.ranked:
        if step.identical:
            table.add_row(escape(step.name), "identical", "", "")
        elif shows(key, step.moves):
            moves = signed(key, step.moves)
            if step.moves_low is not None and step.moves_high is not None:
                half = (step.moves_high - step.moves_low) / 2
                moves += f" ±{signed(key, half).removeprefix('+')}"
            cells = number(key, step.cell.value), interval(key, step.cell.ci_low, step.cell.ci_high)
            table.add_row(escape(step.name), *cells, moves)
    print_table(console, table, form)

    def line(text: str, style: str = "") -> None:
        print_line(console, text, form, style)

    same = [step.name for step in found.steps if step.identical]
    if same:
        line(f"all images are identical under {', '.join(same)}", "bold")
    elif found.moves_most is not None:
        line(f"moves most: {found.moves_most}", "bold")
    for near in found.nearest:
        how = "measured" if near.measured else "moves added up"
        away = signed(key, near.value - (found.published or 0.0))
        line(f"near {found.published:g}: {number(key, near.value)} ({away}, {how}) by {near.name}")
    if still := [step.name for step in found.steps if step.moves == 0]:
        line(f"moves nothing: {', '.join(still)}", "dim")
    if little := [step.name for step in found.steps if step.moves and not shows(key, step.moves)]:
        line(f"moves less than these digits show: {', '.join(little)}", "dim")
    for step in found.steps:
        if step.moves is None and not step.identical:
            line(f"{NOTHING} {step.name}: {step.cell.status}", "dim")
    for note in (*found.notes, base.note):
        if note:
            line(note, "yellow")
    part = found.images_of_every_choice
    if part < found.images:
        seen = f"{part} of {found.images} images, moves against the base of these"
        line(f"choices that change pixels or networks: {seen}; --cost inf takes all", "dim")
    line(f"work: {found.times_one_protocol:.2f} times that of one protocol", "dim")
