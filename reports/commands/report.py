"""`uwt-eval report`: the paper's tables with our rows, a page a run, checks of the printed data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.console import Json, Plugins, terminal
from harness.interfaces.errors import ExitCode, UserError
from harness.interfaces.registry import load_plugins
from reports.commands import DefaultCommand, table_numbers

if TYPE_CHECKING:
    from reports.records import Loaded
    from reports.tables.filled import Filled

Published = Annotated[
    list[Path] | None,
    typer.Option(help="A published table of your own, as TOML, under the file's name; repeat."),
]
app = typer.Typer(
    cls=DefaultCommand,
    no_args_is_help=True,
    help="The paper's tables with measured rows: `report table8 --runs DIR`; `report html RUN`.",
)


class Format(StrEnum):
    """What a table can be written as."""

    MD = "md"
    LATEX = "latex"
    CSV = "csv"
    HTML = "html"
    JSON = "json"
    PLAIN = "plain"
    TERMINAL = "terminal"


_ENDINGS = {Format.LATEX: ".tex", Format.PLAIN: ".txt"}
"""Of files of a format that is not called as its files end."""


@app.command()
def table(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="table8 to table13, all of these, or others' tables, such as wetok; those of "
            "--published if none is named."
        ),
    ] = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option(help="Run directories, record files, or folders of them; repeat."),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.TERMINAL,
    out: Annotated[Path | None, typer.Option(help="File to write instead of printing.")] = None,
    published: Published = None,
    plugin: Plugins = None,
) -> None:
    """Print tables, of the paper or of others, with measured rows, and why rows do not compare."""
    from reports.files import check_ending, write_text
    from reports.paper import load_table
    from reports.published import find_tables, read_published
    from reports.tables.filled import fill_table

    load_plugins(plugin)
    if out is not None and form is not Format.TERMINAL:
        check_ending("--out", out, [_ENDINGS.get(form, f".{form}")], f" with --format {form}")
    others = find_tables(published or ())
    names = names or [path.stem for path in published or ()]
    if not names:
        raise UserError(f"name a table: table8 to table13, all, {', '.join(others)}")
    chosen = [
        read_published(others[name]) if name in others else load_table(number)
        for name in dict.fromkeys(names)
        for number in ([0] if name in others else table_numbers([name], ["all"], others))
    ]
    records = _records(runs)
    tables = [fill_table(table, records) for table in chosen]
    _say_left_out(names, tables, records)
    if form is Format.TERMINAL:
        if out is not None:
            raise UserError("--out: give --format md, latex, csv, html, json or plain with it")
        from reports.tables.formats import show

        console = terminal(highlight=False)
        for filled in tables:
            show(console, filled)
        return
    from reports.tables.formats import WRITERS

    text = WRITERS[form.value](tables)
    if out is None:
        print(text, end="")
    else:
        write_text(out, text)
        print(f"{', '.join(names)}: {out}")


class Picture(StrEnum):
    """What a figure can be written as."""

    PNG = "png"
    SVG = "svg"


@app.command()
def figures(
    names: Annotated[
        list[str] | None, typer.Argument(help="Figures; all that can be drawn if none is named.")
    ] = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option(help="Run directories, record files, or folders of them; repeat."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the files.")] = Path("figures"),
    form: Annotated[
        list[Picture] | None, typer.Option("--format", help="png, svg; both by default.")
    ] = None,
    rows: Annotated[
        Path | None, typer.Option(help="TOML file with the samples and crops of `comparison`.")
    ] = None,
    train_tokens: Annotated[
        list[str] | None,
        typer.Option(help="Training tokens of a measured model: NAME=33B; repeat."),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Draw figures of results beside the paper's: rates, costs, radars, pictures side by side."""
    from harness.interfaces.errors import did_you_mean
    from reports.figures.canvas import FORMATS
    from reports.figures.catalogue import FIGURES, Material, draw
    from reports.figures.comparison import read_details

    load_plugins(plugin)
    for name in names or []:
        if name not in FIGURES:
            raise UserError(f"unknown figure {name!r}: {did_you_mean(name, FIGURES)}")
    material = Material(
        records=_records(runs),
        costs=_costs(train_tokens or []),
        details=[] if rows is None else read_details(rows),
    )
    written, left_out = draw(
        list(dict.fromkeys(names or [])), material, out, [*dict.fromkeys(form or FORMATS)]
    )
    for path in written:
        print(path)
    for name, why in left_out.items():
        print(f"not drawn: {name}: {why}")


@app.command()
def training(
    runs: Annotated[list[Path], typer.Argument(help="Folders of trainings: --out of `train`.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to draw, .png or .svg; one that is there is replaced (default: training.png "
            "here, none with --json)."
        ),
    ] = None,
    curve: Annotated[
        list[str] | None,
        typer.Option(help="What to draw, such as loss or validation/psnr; repeat (default: all)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw the curves of trainings side by side: losses, gradients, throughput, validations."""
    import json

    from reports.files import check_ending
    from reports.training import read_trainings

    target = out or Path("training.png")
    check_ending("--out", target, [f".{each}" for each in Picture])
    read = read_trainings(runs)
    for note in (note for each in read for note in each.notes):
        terminal(stderr=True).print(f"note: {note}", style="dim", markup=False, soft_wrap=True)
    if out is not None or not as_json:
        from reports.figures.canvas import write_figure
        from reports.figures.curves import training_curves

        form = target.suffix.removeprefix(".").lower()
        drawn = training_curves(read, curve or [])
        (path,) = write_figure(drawn, target.with_suffix(""), [form])
        if not as_json:
            print(path)
    if as_json:
        chosen = set(curve or [name for each in read for name in each.curves])
        facts = [
            {
                "name": each.name,
                "folder": str(each.folder),
                "curves": {name: points for name, points in each.curves.items() if name in chosen},
            }
            for each in read
        ]
        print(json.dumps(facts, indent=2))


def _costs(given: list[str]) -> dict[str, float]:
    from reports.figures.scatter import tokens_of

    costs = {}
    for text in given:
        model, equals, amount = text.rpartition("=")
        if not equals or not model:
            raise UserError(f"--train-tokens {text!r}: write NAME=33B")
        costs[model] = tokens_of(amount)
    return costs


def _records(runs: list[Path] | None) -> list[Loaded]:
    from reports.records import load_records

    return load_records(runs) if runs else []


def _say_left_out(
    names: Sequence[str], tables: Sequence[Filled], records: Sequence[Loaded]
) -> None:
    """Name the tasks of results that have no place in the tables, and the tables that have one."""
    from harness.sets import FILES
    from reports.paper import load_table
    from reports.published import find_tables, read_published
    from reports.tables.filled import COMPARISONS

    placed = {
        run_id
        for filled in tables
        for section in filled.sections
        for row in section.rows
        for run_id in row.run_ids
    }
    left = Counter(loaded.record.task for loaded in records if loaded.record.run_id not in placed)
    if not left:
        return
    every = {f"table{number}": load_table(number) for number in COMPARISONS}
    every |= {name: read_published(path) for name, path in find_tables().items()}

    def place(task: str) -> str:
        having = [name for name, each in every.items() if task in each.get("tasks", {})]
        return f"see `uwt-eval report {' '.join(having)}`" if having else "in no table"

    counts = ", ".join(f"{number} of {task} ({place(task)})" for task, number in left.items())
    way = "; `uwt-eval run TASK --images PLACE` makes those that have one" * (FILES.name in left)
    terminal(stderr=True).print(
        f"note: results of tasks without a place in {', '.join(names)}: {counts}{way}",
        style="dim", markup=False, soft_wrap=True,
    )  # fmt: skip


@app.command()
def lint(published: Published = None, plugin: Plugins = None, as_json: Json = False) -> None:
    """Check printed figures against each other; exit 1 for a contradiction without a note.

    Those of the paper, of the others' tables that are installed, and of --published.
    """
    import dataclasses
    import json

    from reports.published import find_tables, read_published
    from reports.tables.lint import lint as lint_tables

    load_plugins(plugin)
    findings = lint_tables(map(read_published, find_tables(published or ()).values()))
    unexplained = [finding for finding in findings if not finding.noted]
    if as_json:
        print(json.dumps([dataclasses.asdict(each) for each in findings], indent=2))
    else:
        console = terminal(highlight=False, soft_wrap=True)
        for each in findings:
            style = "dim" if each.noted else "red"
            mark = "noted" if each.noted else "no note"
            table = f"Tab. {each.table}" if isinstance(each.table, int) else each.table
            line = f"{mark}: {table}, {each.where}: {each.text}"
            console.print(line, markup=False, style=style)
        console.print(f"{len(findings)} contradictions, {len(unexplained)} without a note")
    if unexplained:
        raise typer.Exit(ExitCode.REGRESSION)


@app.command()
def html(
    run: Annotated[Path, typer.Argument(help="Run directory or record file.")],
    out: Annotated[
        Path | None, typer.Option(help="File to write (default: RUN_ID.html here).")
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Write one self-contained page of a run: scores, settings, pictures, failures."""
    from reports.files import check_ending, file_name, write_text
    from reports.page import run_page
    from reports.records import load_record

    load_plugins(plugin)
    if out is not None:
        check_ending("--out", out, [".html", ".htm"])
    loaded = load_record(run)
    target = out or Path(f"{file_name(loaded.record.run_id)}.html")
    write_text(target, run_page(loaded))
    print(target)
