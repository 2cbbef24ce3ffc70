"""DPG-Bench's prompts and the yes-or-no questions about each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.interfaces.errors import UserError, counted
from tasks.shared.jsonl import read_objects, read_rows

Quirks = Literal["official", "fixed"]
"""Whether the published script's mistakes are made or mended; see `tasks.dpg.scoring`."""
CATEGORIES = ("global", "entity", "attribute", "relation", "other")
_SHOWN = 3
"""Rows that a notice names of each oddity."""
_COLUMNS = (
    "item_id",
    "text",
    "proposition_id",
    "dependency",
    "tuple",
    "question_natural_language",
)


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that a picture is asked."""

    number: int
    """Its proposition id within the prompt."""
    parents: tuple[int, ...]
    """Questions whose answer must be yes for this one to have a meaning."""
    detail: str
    """Its fine category: 'attribute - color'."""
    text: str
    first: bool
    """Whether it stands in the file's first row of data, which the official script drops."""
    where: str
    """File and row, for errors."""
    row: Mapping[str, Any]
    """The row as it was."""

    @property
    def category(self) -> str:
        """Its broad category: one of `CATEGORIES`, or what else the file says."""
        return self.detail.partition("-")[0].strip()


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt and its questions in the file's order."""

    id: str
    text: str
    questions: tuple[Question, ...]
    repeated: tuple[Question, ...] = ()
    """Questions whose number a later row has again, which the published script forgets."""


def read_questions(path: Path) -> list[Item]:
    """Read the benchmark's CSV, or the `questions.jsonl` of a run.

    Raises:
        UserError: Columns are missing, or a row cannot be read. What `oddities` names can be.
    """
    rows = read_objects(path) if path.suffix == ".jsonl" else read_rows(path)
    items: dict[str, dict[int, Question]] = {}
    repeated: dict[str, list[Question]] = {}
    texts: dict[str, str] = {}
    for place, (where, row) in enumerate(rows):
        missing = [column for column in _COLUMNS if row.get(column) in (None, "")]
        if missing:
            raise UserError(
                f"{where}: no {' and no '.join(missing)}; expected DPG-Bench's columns "
                f"{', '.join(_COLUMNS)}"
            )
        item = str(row["item_id"])
        if item in {".", ".."} or any(character in item for character in "/\\\0"):
            raise UserError(f"{where}: item_id {item!r} is no name of a file")
        question = _question(row, where, first=place == 0 and path.suffix != ".jsonl")
        known = items.setdefault(item, {})
        if question.number in known:
            repeated.setdefault(item, []).append(known[question.number])
        known[question.number] = question
        texts.setdefault(item, str(row["text"]))
    if not items:
        raise UserError(f"{path} has no questions")
    return [
        Item(item, texts[item], tuple(questions.values()), tuple(repeated.get(item, ())))
        for item, questions in items.items()
    ]


def _question(row: Mapping[str, Any], where: str, *, first: bool) -> Question:
    try:
        number = int(row["proposition_id"])
        parents = tuple(int(part) for part in str(row["dependency"]).split(","))
    except ValueError as error:
        raise UserError(
            f"{where}: proposition_id {row['proposition_id']!r} must be a whole number and "
            f"dependency {row['dependency']!r} whole numbers between commas"
        ) from error
    return Question(
        number=number,
        parents=tuple(parent for parent in parents if parent != 0),
        detail=str(row["tuple"]).partition("(")[0].strip(),
        text=str(row["question_natural_language"]),
        first=first or row.get("first_row") is True,
        where=where,
        row=row,
    )


def stray_categories(items: Iterable[Item]) -> str:
    """What to say of questions of no known category, which count in the overall score alone."""
    stray = [
        question.category
        for item in items
        for question in item.questions
        if question.category not in CATEGORIES
    ]
    if not stray:
        return ""
    names = ", ".join(repr(name) for name in sorted(set(stray)))
    return f"{counted(len(stray), 'question')} of no known category ({names})"


def is_left_out(item: Item) -> bool:
    """Whether the published script fails on the prompt: a parent is none of those that it asks."""
    asked = {each.number: each.parents for each in item.questions if not each.first}
    return any(parent not in asked for parents in asked.values() for parent in parents)


def oddities(items: Iterable[Item], quirks: Quirks) -> str:
    """What is odd about the questions, by row, and what becomes of it; empty for nothing.

    The benchmark's own file cannot be mended by whoever is measured: no oddity refuses it.
    """
    orphans, circles, repeated = [], [], []
    for item in items:
        parents = {question.number: question.parents for question in item.questions}
        repeated += [f"{_row(each)}: {each.number} of {item.id!r}" for each in item.repeated]
        for question in item.questions:
            orphans += [
                f"{_row(question)}: {question.number} of {item.id!r} on {parent}"
                for parent in question.parents
                if parent not in parents
            ]
            if question.number in lineage(question.parents, parents):
                circles.append(f"{_row(question)}: {question.number} of {item.id!r}")
    left_out = "their prompts are left out" if quirks == "official" else "that is no condition"
    ordered = "in order of rows" if quirks == "official" else "one no is a no for all of a circle"
    told = (
        (orphans, "depend on one that is not there", left_out),
        (circles, "depend on themselves", ordered),
        (repeated, "have the number of a later row", "the later one counts"),
    )
    return "; ".join(
        f"{len(rows)} questions {what} ({', '.join(rows[:_SHOWN])}"
        f"{', …' if len(rows) > _SHOWN else ''}): {done}"
        for rows, what, done in told
        if rows
    )


def lineage(numbers: Iterable[int], parents: Mapping[int, Sequence[int]]) -> set[int]:
    """Questions and all that they depend on, at any remove; those that are not there left out."""
    above, todo = set[int](), list(numbers)
    while todo:
        number = todo.pop()
        if number in parents and number not in above:
            above.add(number)
            todo += parents[number]
    return above


def _row(question: Question) -> str:
    return question.where.rpartition(", ")[2]


def exchange_rows(items: Sequence[Item]) -> Iterator[dict[str, Any]]:
    """The rows of `questions.jsonl`: the CSV's columns, and which row was its first."""
    for item in items:
        for question in item.questions:
            yield {**question.row, "first_row": question.first}
