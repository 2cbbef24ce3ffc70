"""Options that commands share, and results as tables and notes in a terminal."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harness.commands.formats import Format, markdown, markdown_lines
from harness.interfaces import Label, Labelled, Metric
from harness.interfaces.errors import COMPUTED, RunStatus, UserError, terminal_text
from harness.interfaces.registry import METRICS

if TYPE_CHECKING:
    from harness.interfaces.types import MetricValue, ReferenceRow, ResultRecord

Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="A Python file that registers models, tasks or metrics."),
]
Batch = Annotated[
    str | None,
    typer.Option(
        "--batch-size",
        help="Images a forward pass on a GPU, or auto: as many as fit; a CPU takes one at a time.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
MISUSED: Any = typer.BadParameter.__mro__[1]
"""`UsageError`, which typer does not export and which has moved from click into it."""
NOTHING = "—"
ARROWS = {True: "↑", False: "↓", None: ""}
"""By whether higher is better."""
_UNBOUNDED = 10_000
_NO_TERMINAL = 80
"""Columns that rich takes where there is no terminal to ask."""
_ENDS = re.compile(r" +(?=\n)")
"""Spaces that end a line; a piece of a line, printed without its end, keeps its own."""


def batch_of(text: str | None) -> int | Literal["auto"] | None:
    """Read `--batch-size`; raise `UserError` where it is neither a number nor auto."""
    if text is None or text == "auto":
        return None if text is None else "auto"
    if not text.removeprefix("-").isdecimal():
        raise UserError(f"--batch-size {text}: give a whole number, or auto")
    return int(text)


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, after its own options, those of its parameter `run`: a dataclass of them."""
    kind = get_type_hints(command)["run"]
    hints = get_type_hints(kind, include_extras=True)
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option.default)
        for name, option in inspect.signature(kind).parameters.items()
    ]
    own = inspect.signature(command).parameters.values()

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        run = kind(**{name: given.pop(name) for name in hints})
        command(**given, run=run)

    parameters = [*(each for each in own if each.name != "run"), *shared]
    annotations = get_type_hints(command, include_extras=True) | hints
    # Typer reads both.
    wrapped.__annotations__ = {each.name: annotations[each.name] for each in parameters}
    wrapped.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            each.replace(
                kind=inspect.Parameter.KEYWORD_ONLY, annotation=wrapped.__annotations__[each.name]
            )
            for each in parameters
        ]
    )
    return wrapped


class _Terminal(Console):
    """A console in which no text steers the terminal or the log of a build.

    In a pipe or a file no line ends in spaces.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(terminal_text(text), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does."""
        if self.is_terminal or self.is_jupyter:
            super().print(*objects, **options)
            return
        with self.capture() as printed:
            super().print(*objects, **options)
        self.file.write(_ENDS.sub("", printed.get()))
        self.file.flush()


def terminal(*, stderr: bool = False, form: Format | None = None, **options: Any) -> Console:
    """A console that prints what users wrote as they wrote it: no `:word:` becomes an emoji.

    In a format of files it has neither colours nor an end of the line.
    """
    if form is not None:
        options |= {"color_system": None, "highlight": False, "width": _UNBOUNDED}
    console = _Terminal(stderr=stderr, emoji=False, **options)
    if console.width < 1:  # COLUMNS=0, which some shells export: nothing would be seen.
        console.width = _NO_TERMINAL
    own = console.is_terminal or console.is_jupyter
    if not own and "width" not in options and "COLUMNS" not in os.environ:
        # Nobody says how wide lines may be, and what reads them wants each whole.
        console.width = _UNBOUNDED
    return console


def label(metric: str) -> Label:
    """The metric's own label, or its name with three digits where it gives none."""
    try:
        plugin = METRICS.get(metric)
    except UserError:
        # A record outlives the plug-in that made its figures.
        return Label(metric)
    return plugin.label if isinstance(plugin, Labelled) else Label(metric)


def unit_of(metric: Metric) -> str:
    """The unit of a metric's printed values; empty where it has none."""
    percent = isinstance(metric, Labelled) and metric.label.percent
    return getattr(metric, "unit", "") or "%" * percent


def arrow(records: Sequence[ResultRecord], metric: str) -> str:
    """The direction in which a metric is better; empty where it has none."""
    cells = (record.metrics[metric] for record in records if metric in record.metrics)
    return ARROWS[next(cells).higher_is_better]


@dataclass(frozen=True)
class Layout:
    """What of a table is left out, or stacked, for want of room."""

    optional: bool = True
    """Whether columns stand there that not every table has."""
    stacked: bool = False
    """Whether intervals stand below their values, and columns closer."""
    empty: bool = True
    """Whether columns without a value stand there; why they have none is told below in any case."""
    counts: bool = True
    """Whether the columns of counts and speed stand there."""
    most: int | None = None
    """Metrics that there is room for; all where None."""
    folded: bool = False
    """Whether a name goes over several lines, which beside one metric is still too long."""


_LAYOUTS = (
    Layout(),
    Layout(optional=False),
    Layout(optional=False, stacked=True),
    Layout(optional=False, stacked=True, empty=False),
    Layout(optional=False, stacked=True, empty=False, counts=False),
)
"""Widest first."""


def _cell(metric: str, cell: MetricValue | None, mark: str, *, stacked: bool = False) -> str:
    if cell is None or cell.value is None:
        return NOTHING
    text = label(metric).text(cell.value) + mark
    if cell.half_interval is not None:
        between = "\n" if stacked else " "
        text += f"{between}[dim]±{label(metric).text(cell.half_interval)}[/dim]"
    return text


def left_out(record: ResultRecord, metric: str) -> str:
    """Which samples a metric leaves out that others of the record count, marked †; '' for none."""
    cell = record.metrics.get(metric)
    counted = record.n - record.n_failed
    if cell is None or cell.value is None or not cell.note or cell.n >= counted:
        return ""
    return f"over {cell.n} of {counted} samples, {cell.note}"


def _speed(record: ResultRecord) -> str:
    rate = record.provenance.get("images_per_second")
    return NOTHING if rate is None else f"{rate:.3g}"


def _valued(records: Sequence[ResultRecord], metric: str) -> bool:
    return any(record.value(metric) is not None for record in records)


def _columns(records: Sequence[ResultRecord], layout: Layout) -> list[str]:
    return [
        metric
        for metric in dict.fromkeys(key for record in records for key in record.metrics)
        if (not label(metric).optional or (layout.optional and _valued(records, metric)))
        and (layout.empty or _valued(records, metric))
    ]


def _counted(record: ResultRecord) -> str:
    return str(record.n - record.n_failed) + (f"/{record.n}" if record.n_failed else "")


def results_table(
    records: Sequence[ResultRecord],
    references: Sequence[ReferenceRow] = (),
    layout: Layout = _LAYOUTS[0],
) -> Table:
    """One task's results, a model a row, with the published rows below and marked as such."""
    metrics = _columns(records, layout)[: layout.most]
    first = records[0]
    counts = list(dict.fromkeys(map(_counted, records)))
    images = "" if layout.counts else f" · n {', '.join(counts)}"
    seed = f" · seed {first.seed}" if first.seed else ""
    table = Table(
        title=escape(f"{first.task} · {first.dataset} · protocol {first.protocol}{images}{seed}"),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        padding=(0, 0 if layout.stacked else 1),
        pad_edge=False,
    )
    table.add_column("model", no_wrap=not layout.folded, overflow="fold", min_width=12)
    for metric in metrics:
        table.add_column(
            label(metric).title + arrow(records, metric), justify="right", no_wrap=True
        )
    if layout.counts:
        table.add_column("n", justify="right", no_wrap=True)
        table.add_column("images/s", justify="right", no_wrap=True)
    for record in records:
        cells = [
            _cell(
                metric,
                record.metrics.get(metric),
                "†" if left_out(record, metric) else "",
                stacked=layout.stacked,
            )
            for metric in metrics
        ]
        if layout.counts:
            cells += [_counted(record), _speed(record)]
        table.add_row(escape(record.model), *cells)
    for reference in references:
        cells = [
            label(metric).text(reference.values[metric]) if metric in reference.values else NOTHING
            for metric in metrics
        ]
        comparable = reference.n is not None and reference.n == first.n
        mark = "" if comparable else "*"
        if layout.counts:
            cells += [NOTHING if reference.n is None else str(reference.n), NOTHING]
        table.add_row(f"{reference.label} {reference.source}{mark}", *cells, style="italic dim")
    return table


def fits(console: Console, table: Table) -> bool:
    """Whether a table stands in the console without a cell wrapped."""
    unbounded = console.options.update(max_width=_UNBOUNDED)
    return console.measure(table, options=unbounded).maximum <= console.width


def _fitting(
    console: Console, records: Sequence[ResultRecord], references: Sequence[ReferenceRow]
) -> Layout:
    """The first layout that there is room for; names are never cut, rather columns left out."""
    for layout in _LAYOUTS:
        if fits(console, results_table(records, references, layout)):
            return layout
    for most in range(len(_columns(records, layout)) - 1, 0, -1):
        fewer = dataclasses.replace(layout, most=most)
        if fits(console, results_table(records, references, fewer)):
            return fewer
    return dataclasses.replace(layout, most=1, folded=True)


def print_table(console: Console, table: Table, form: Format | None) -> None:
    """Print a table as the console fits it, as Markdown or as plain text in columns."""
    if form is Format.MD:
        for line in markdown_lines(table):
            print_line(console, line)
        return
    if form is Format.PLAIN:
        table.box = None
    console.print(table)


def print_line(console: Console, text: str, form: Format | None = None, style: str = "") -> None:
    """Print a line as it is, one line in a pipe whatever its length; in Markdown of a list."""
    line = f"- {markdown(text)}" if form is Format.MD else text
    console.print(line, markup=False, style=style, soft_wrap=not console.is_terminal)


def print_results(
    console: Console,
    records: Sequence[ResultRecord],
    references: Sequence[ReferenceRow] = (),
    form: Format | None = None,
) -> None:
    """Print the table, then why cells are empty and what failed."""
    layout = _fitting(console, records, references)
    print_table(console, results_table(records, references, layout), form)
    for text, style in _notes(records, references, layout):
        print_line(console, text, form, style)
    if form is Format.MD:  # A list goes on until a line is blank.
        console.print()


def _gathered(
    records: Sequence[ResultRecord], told: Callable[[ResultRecord, str], str]
) -> Iterator[str]:
    """Lines that say each text once, with its metrics, and with its models unless it is of all.

    Args:
        records: Results, a row each.
        told: Gives the text of a metric of a record; '' for none.
    """
    models: dict[tuple[str, str], dict[int, str]] = {}
    for row, record in enumerate(records):
        for metric in record.metrics:
            if text := told(record, metric):
                models.setdefault((text, label(metric).title), {})[row] = record.model
    names: dict[tuple[str, str], list[str]] = {}
    for (text, name), whose in models.items():
        of = f" of {', '.join(whose.values())}" if len(whose) < len(records) else ""
        names.setdefault((of, text), []).append(name)
    for (of, text), each in names.items():
        yield f"{', '.join(each)}{of}: {text}"


def _notes(
    records: Sequence[ResultRecord], references: Sequence[ReferenceRow], layout: Layout
) -> Iterator[tuple[str, str]]:
    """Lines below a table, with their styles."""
    every, shown = _columns(records, layout), _columns(records, layout)[: layout.most]
    unseen = [label(each).title for each in every[len(shown) :]]
    if not layout.counts:
        unseen.append("images/s")
    if unseen:
        yield f"no room for {', '.join(unseen)}: see record.json", "dim"
    if any(row.n is None or row.n != records[0].n for row in references):
        yield "* published figures: other data, not comparable", "italic dim"
    cells = (_cell(each, record.metrics.get(each), "") for record in records for each in shown)
    if any("±" in cell for cell in cells):
        yield "± is half of the 95% interval", "dim"

    def reason(record: ResultRecord, metric: str) -> str:
        # A column that a wider table would have is not explained where it has values.
        hidden = label(metric).optional and metric not in every and _valued(records, metric)
        status = record.metrics[metric].status
        return "" if hidden or status == COMPUTED else status

    for text in _gathered(records, reason):
        yield f"{NOTHING} {text}", "dim"
    for record in records:
        for metric in record.metrics:
            if over := left_out(record, metric):
                yield f"† {label(metric).title} of {record.model}: {over}", "yellow"

    def note(record: ResultRecord, metric: str) -> str:
        told = metric in shown and not left_out(record, metric)
        cell = record.metrics[metric]
        return cell.note if told and cell.value is not None else ""

    for text in _gathered(records, note):
        yield text, "dim"
    for record in records:
        if record.n_failed:
            counts = ", ".join(f"{count} {status}" for status, count in record.failures.items())
            yield (
                f"{record.model}: {record.status.value}, {record.n_failed} of {record.n} samples "
                f"failed ({counts})",
                "yellow" if record.status is RunStatus.COMPLETE else "bold red",
            )
