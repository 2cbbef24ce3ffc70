"""A table of the paper and the results that belong into it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.interfaces.errors import counted
from harness.interfaces.registry import TASKS
from harness.interfaces.types import COMPUTED, ResultRecord, RunStatus
from reports.paper import load_table, whole_sets
from reports.records import Loaded
from reports.tables.codes import Codes

COMPARISONS = (8, 9, 10, 11, 12, 13)
"""Tables whose rows are models; Tab. 1 to 7 are filled by `uwt-eval run tableN --checkpoints`."""
PLAIN = "values"
"""Where a row keeps its figures if the table has one block of columns."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One column of figures."""

    table: str
    """The block of columns: 'values', a task, or what a task's name begins with."""
    metric: str
    heading: str
    higher_is_better: bool
    percent: bool
    decimals: int
    """Most decimals that the paper prints in this column."""

    @property
    def key(self) -> str:
        """Name of the column within its table."""
        return f"{self.table}.{self.metric}"

    def text(self, value: float, more: int = 0) -> str:
        """A value with the paper's decimals, and `more` for one that was measured."""
        shown = 100 * value if self.percent else value
        return f"{shown:.{self.decimals + more}f}{'%' if self.percent else ''}"


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure, or why there is none."""

    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    delta: float | None = None
    """Measured - the paper's own row; only where they compare."""
    bold: bool = False
    status: str = COMPUTED
    task: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A printed row, or results of one model under one protocol."""

    label: str
    measured: bool
    citation: int | None
    facts: tuple[str, ...]
    cells: tuple[Cell, ...]
    note: str = ""
    ours: bool = False
    """Whether a printed row is of the paper's own model."""
    records: tuple[ResultRecord, ...] = ()
    reasons: tuple[str, ...] = ()
    """Why a measured row does not compare with the paper's; empty where it does."""
    number: int = 0
    """Number of a measured row within its table, from 1."""

    @property
    def protocols(self) -> str:
        """The protocols of the row's results."""
        return ", ".join(dict.fromkeys(record.protocol for record in self.records))

    @property
    def n(self) -> str:
        """Samples of the row's results."""
        return ", ".join(dict.fromkeys(str(record.n) for record in self.records))

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs behind the row."""
        return tuple(record.run_id for record in self.records)


@dataclass(frozen=True, slots=True)
class Section:
    """Rows under one heading."""

    heading: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Filled:
    """A table ready to be written in any format."""

    number: int | str
    """Of the paper, or the name of a table that others published."""
    title: str
    facts: tuple[str, ...]
    measures: tuple[Measure, ...]
    spans: tuple[tuple[str, int], ...]
    """Heading and width of each block of columns; empty where there is one block."""
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
    source: str = ""
    """Where others published it; empty for the paper's."""

    @property
    def name(self) -> str:
        """What stands before the title."""
        return str(self.number) if self.source else f"Table {self.number}"

    @property
    def whose(self) -> str:
        """What measured rows are compared with."""
        return "the source" if self.source else "the paper"


def measures_of(table: Mapping[str, Any]) -> tuple[Measure, ...]:
    """The columns of figures."""
    return tuple(
        Measure(
            table=each["table"],
            metric=each["metric"],
            heading=each["heading"],
            higher_is_better=each["better"] == "higher",
            percent=each.get("percent", False),
            decimals=_decimals(table, each),
        )
        for each in table["measures"]
    )


def _decimals(table: Mapping[str, Any], measure: Mapping[str, Any]) -> int:
    """Decimals of the printed column: the most that any of its numbers needs."""
    scale = 100 if measure.get("percent") else 1
    values = [
        row[measure["table"]][measure["metric"]]
        for row in table["rows"]
        if measure["metric"] in row.get(measure["table"], {})
    ]
    return max(
        (len(repr(round(scale * v, 6)).rstrip("0").partition(".")[2]) for v in values), default=2
    )


def fill(number: int, records: Sequence[Loaded]) -> Filled:
    """The paper's table with a measured row for each model and protocol among the records."""
    return fill_table(load_table(number), records)


def fill_table(table: Mapping[str, Any], records: Sequence[Loaded]) -> Filled:
    """A table as its file has it, the paper's or another's, with measured rows."""
    measures = measures_of(table)
    facts: dict[str, str] = table.get("facts", {})
    groups: dict[str, str] = table.get("groups", {"": ""})
    numbers = itertools.count(1)
    sections = []
    for group, heading in groups.items():
        printed = [row for row in table["rows"] if row.get("group", "") == group]
        own = [row for row in printed if row.get("ours")]
        rows = [_printed(row, facts, measures) for row in printed]
        rows += _measured(table, group, own, measures, records, numbers)
        sections.append(Section(heading, tuple(rows)))
    return Filled(
        number=table["table"],
        title=table["title"],
        facts=tuple(facts.values()),
        measures=measures,
        spans=_spans(table, measures),
        sections=tuple(sections),
        notes=(*table.get("notes", ()), *_measured_under(table)),
        source="{title}, {url}, {date}".format(**table["source"]) if "source" in table else "",
    )


def _measured_under(table: Mapping[str, Any]) -> Iterator[str]:
    """The protocols of the figures that others published."""
    if "source" in table:
        for task in table["tasks"]:
            protocol = table.get("protocols", {}).get(task)
            yield f"{task}: " + (f"protocol {protocol}" if protocol else _NO_PROTOCOL)


def _spans(table: Mapping[str, Any], measures: Iterable[Measure]) -> tuple[tuple[str, int], ...]:
    headings = table.get("spans")
    return tuple(Counter(headings[each.table] for each in measures).items()) if headings else ()


def _printed(row: Mapping[str, Any], facts: Mapping[str, str], measures: Sequence[Measure]) -> Row:
    bold = row.get("bold", ())
    return Row(
        label=row["method"],
        measured=False,
        citation=row.get("citation"),
        facts=tuple(str(row.get(key, "")) for key in facts),
        cells=tuple(
            Cell(row.get(each.table, {}).get(each.metric), bold=each.key in bold)
            for each in measures
        ),
        note=row.get("note", ""),
        ours=row.get("ours", False),
    )


def _measured(
    table: Mapping[str, Any],
    group: str,
    own: Sequence[Mapping[str, Any]],
    measures: Sequence[Measure],
    records: Sequence[Loaded],
    numbers: Iterator[int],
) -> list[Row]:
    tasks = [task for task, place in table["tasks"].items() if place == group]
    mine = [loaded.record for loaded in records if loaded.record.task in tasks]
    models = list(dict.fromkeys(record.model for record in mine))
    # A benchmark goes before its variants: GenEval and DPG share a row, the long prompts follow.
    # Rows of one model follow each other by data set, the largest part of a set first.
    mine.sort(
        key=lambda record: (
            block_of(record.task, measures) != record.task,
            models.index(record.model),
            (record.dataset, -record.n, record.dataset_digest),
        )
    )
    bundles: dict[tuple[str, str, str, int, int], dict[str, ResultRecord]] = {}
    for record in mine:
        key = (record.model, record.model_digest, _variant(record), record.seed)
        block = block_of(record.task, measures)
        index = sum(
            block in {block_of(task, measures) for task in bundle}
            for taken, bundle in bundles.items()
            if taken[:-1] == key
        )
        bundles.setdefault((*key, index), {})[record.task] = record
    reference = own[0] if len(own) == 1 else {}
    return [
        _bundle_row(table, bundle, reference, measures, next(numbers))
        for bundle in bundles.values()
    ]


def _variant(record: ResultRecord) -> str:
    """What sets rows of one model apart: the protocol, where it is not its task's own."""
    own = record.task in TASKS and record.protocol == TASKS.get(record.task).spec.protocols[0]
    return "" if own else record.protocol


def block_of(task: str, measures: Iterable[Measure]) -> str:
    """The block of columns that a task fills: its own, or of what its name begins with."""
    return task if any(each.table == task for each in measures) else task.split("-")[0]


def _bundle_row(
    table: Mapping[str, Any],
    bundle: Mapping[str, ResultRecord],
    reference: Mapping[str, Any],
    measures: Sequence[Measure],
    number: int,
) -> Row:
    reasons = {task: why_apart(table, record) for task, record in bundle.items()}
    cells = []
    for measure in measures:
        task = next((t for t in bundle if measure.table in {PLAIN, block_of(t, measures)}), None)
        record = None if task is None else bundle[task]
        found = None if record is None else record.metrics.get(measure.metric)
        if task is None or found is None or found.value is None:
            status = "not measured" if found is None else found.status
            cells.append(Cell(None, status=status, task=task or ""))
            continue
        printed = reference.get(measure.table, {}).get(measure.metric)
        compares = printed is not None and not reasons[task]
        cells.append(
            Cell(
                found.value,
                found.ci_low,
                found.ci_high,
                delta=found.value - printed if compares else None,
                task=task,
            )
        )
    first = next(iter(bundle.values()))
    several = len(bundle) > 1
    return Row(
        label=first.model,
        measured=True,
        citation=None,
        facts=Codes.of(first).facts(table.get("facts", {})),
        cells=tuple(cells),
        records=tuple(bundle.values()),
        reasons=tuple(
            f"{task}: {why}" if several else why for task, each in reasons.items() for why in each
        ),
        number=number,
    )


_NO_PROTOCOL = "the source does not say under which protocol it measured"
_NEARLY = 0.99
"""Share of a set's stated number that is the whole set: some numbers are rounded."""


def why_apart(table: Mapping[str, Any], record: ResultRecord) -> list[str]:
    """Why a result does not compare with what the paper, or another source, prints."""
    reasons = []
    whose = "the source" if "source" in table else "the paper"
    if record.status is RunStatus.INCOMPLETE:
        reasons.append(f"incomplete, {record.n_failed} of {record.n} samples failed")
    images = table.get("images", {}).get(record.task)
    whole = whole_sets().get(record.task, 0)
    if images is None and record.n < _NEARLY * whole:
        reasons.append(f"{counted(record.n, 'sample')}, the whole set has {whole:,}")
    elif images is None:
        reasons.append(f"{whose} does not state the number of samples")
    elif record.n != images:
        reasons.append(f"{counted(record.n, 'sample')}, {whose}'s set has {images:,}")
    expected = table.get("protocols", {}).get(record.task)
    if "source" in table and expected is None:
        reasons.append(_NO_PROTOCOL)
    elif record.task in TASKS:
        expected = expected or TASKS.get(record.task).spec.protocols[0]
        if record.protocol != expected:
            reasons.append(f"protocol {record.protocol}, {whose}'s is {expected}")
    else:
        reasons.append(f"task {record.task} is not installed: its protocol cannot be told")
    return reasons
