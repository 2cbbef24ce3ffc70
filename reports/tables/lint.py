"""What can be checked of the paper's tables without running anything."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.paper import load_table
from reports.tables.filled import COMPARISONS, Measure, measures_of

ABLATIONS = range(1, 8)
ROUNDING = 0.005
"""Half of the last digit of figures with two decimals."""
_COMPONENTS = (
    "single_object",
    "two_object",
    "counting",
    "colors",
    "position",
    "color_attribution",
)
_COGNITION = 800
"""Most points of MME's cognition tasks."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A contradiction within a table."""

    table: int | str
    """Number in the paper, or name of another's table."""
    where: str
    text: str
    noted: bool
    """Whether a note of the row or table's data speaks of it, so that readers are told."""


def lint(published: Iterable[Mapping[str, Any]] = ()) -> list[Finding]:
    """Every contradiction that can be computed; those without a note are the data's own fault.

    Args:
        published: Tables beside the paper's.
    """
    findings = list(same_settings_other_results())
    for table in (*map(load_table, COMPARISONS), *published):
        findings += lint_table(table)
    return findings


def lint_table(table: Mapping[str, Any]) -> list[Finding]:
    """The contradictions of one table."""
    measures = measures_of(table)
    found: list[Finding] = []
    for row in table["rows"]:
        where = ", ".join(part for part in (row["method"], row.get("group", "")) if part)
        noted = bool(row.get("note"))
        for text in _row_problems(row, measures):
            found.append(Finding(table["table"], where, text, noted))
        for text in structure_problems(table, row, measures):
            found.append(Finding(table["table"], where, text, False))
    found += _bold_problems(table, measures)
    return [*found, *_repeated_rows(table, measures)]


def structure_problems(
    table: Mapping[str, Any], row: Mapping[str, Any], measures: Sequence[Measure]
) -> Iterator[str]:
    """Fields and figures of a row for which its table has no place."""
    known = {measure.key for measure in measures}
    blocks = {measure.table for measure in measures}
    fields = {"method", "group", "citation", "ours", "bold", "note", *table.get("facts", {})}
    for key in row.keys() - fields - blocks:
        yield f"field {key!r} belongs to no column"
    for block in blocks & row.keys():
        for metric in row[block]:
            # The rate follows from the tokens; no table prints it.
            if f"{block}.{metric}" not in known and metric != "bpp":
                yield f"figure {block}.{metric} belongs to no column"
    if row.get("group", "") not in table.get("groups", {"": ""}):
        yield f"group {row.get('group')!r} has no heading"
    for key in row.get("bold", ()):
        block, _, metric = key.partition(".")
        if metric not in row.get(block, {}):
            yield f"bold {key} has no figure"


def _row_problems(row: Mapping[str, Any], measures: Sequence[Measure]) -> Iterator[str]:
    for measure in measures:
        value = row.get(measure.table, {}).get(measure.metric)
        if value is None:
            continue
        if not math.isfinite(value) or value < 0:
            yield f"{measure.key} is {value}"
        if value > 1 and (measure.percent or measure.metric in {"ssim", "precision", "recall"}):
            yield f"{measure.key} is {value}, a share above 1"
    yield from _geneval(row.get("geneval", {}))
    yield from _mme(row.get("mme", {}))
    for block in ("gedit-en", "gedit-cn"):
        yield from _gedit(block, row.get(block, {}))


def _geneval(scores: Mapping[str, float]) -> Iterator[str]:
    """The overall score is the mean of the six tasks."""
    if {*_COMPONENTS, "geneval_overall"} <= scores.keys():
        mean = sum(scores[name] for name in _COMPONENTS) / len(_COMPONENTS)
        if abs(mean - scores["geneval_overall"]) > 2 * ROUNDING + 1e-9:
            overall = scores["geneval_overall"]
            yield f"GenEval overall is {overall}, the mean of the six is {mean:.3f}"


def _mme(scores: Mapping[str, float]) -> Iterator[str]:
    """The total is perception plus at most 800 points of cognition."""
    if {"perception", "total"} <= scores.keys():
        cognition = scores["total"] - scores["perception"]
        if not 0 <= cognition <= _COGNITION:
            yield f"MME total - perception is {cognition:.1f}, cognition has 0 to {_COGNITION}"


def _gedit(block: str, scores: Mapping[str, float]) -> Iterator[str]:
    """A mean of geometric means is at most the geometric mean of the means."""
    if {"semantics", "quality", "gedit_overall"} <= scores.keys():
        most = math.sqrt((scores["semantics"] + ROUNDING) * (scores["quality"] + ROUNDING))
        if scores["gedit_overall"] - ROUNDING > most:
            overall = scores["gedit_overall"]
            yield f"{block} G_O is {overall}, more than sqrt(G_SC G_PQ) = {most:.2f}"


def _bold_problems(table: Mapping[str, Any], measures: Sequence[Measure]) -> Iterator[Finding]:
    """Bold marks the best of its section."""
    for row in table["rows"]:
        peers = [each for each in table["rows"] if each.get("group", "") == row.get("group", "")]
        for measure in measures:
            if measure.key not in row.get("bold", ()):
                continue
            mine = row[measure.table][measure.metric]
            values = {
                each["method"]: each[measure.table][measure.metric]
                for each in peers
                if measure.metric in each.get(measure.table, {})
            }
            better = {
                name: value
                for name, value in values.items()
                if (value > mine if measure.higher_is_better else value < mine)
            }
            if better:
                others = ", ".join(f"{name} {value}" for name, value in better.items())
                yield Finding(
                    table["table"],
                    row["method"],
                    f"{measure.key} {mine} is bold, better: {others}",
                    bool(row.get("note")),
                )


def _repeated_rows(table: Mapping[str, Any], measures: Sequence[Measure]) -> Iterator[Finding]:
    """The same method with the same figures in two sections."""
    blocks = list(dict.fromkeys(measure.table for measure in measures))
    seen: dict[str, str] = {}
    for row in table["rows"]:
        figures = {block: row[block] for block in blocks if block in row}
        key = f"{row['method']} {figures}"
        group = row.get("group", "")
        if key in seen and any(len(each) > 1 for each in figures.values()):
            where = f"{row['method']}, {group}"
            text = f"all figures are those of the row in {seen[key] or 'the same section'}"
            yield Finding(table["table"], where, text, bool(row.get("note")))
        seen.setdefault(key, group)


def same_settings_other_results(
    load: Callable[[int], dict[str, Any]] = load_table,
) -> Iterator[Finding]:
    """Ablations whose settings agree wherever both are printed, and whose figures do not.

    Args:
        load: Reads a table by its number.
    """
    ablations = [
        (number, table, row, load(int(row["preset"].removeprefix("table")))["settings"])
        for number, table in zip(ABLATIONS, map(load, ABLATIONS), strict=True)
        for row in table["rows"]
    ]
    for one, other in itertools.combinations(ablations, 2):
        (number, table, row, settings), (number_2, table_2, row_2, settings_2) = one, other
        shared = settings.keys() & settings_2.keys()
        if any(settings[key] != settings_2[key] for key in shared):
            continue
        differing = [
            f"{metric} {value} and {row_2['values'][metric]}"
            for metric, value in row["values"].items()
            if row_2["values"].get(metric, value) != value
        ]
        if differing:
            where = f"Tab. {number_2}, {row_2['method']}"
            same = [each["preset"].removeprefix("table") for each in (row, row_2)]
            text = f"settings of {where} (Tab. {same[0]} = {same[1]}), but {', '.join(differing)}"
            notes, notes_2 = (" ".join(each.get("notes", ())) for each in (table, table_2))
            noted = f"Tab. {number_2}" in notes or f"Tab. {number}" in notes_2
            yield Finding(number, row["method"], text, noted)
