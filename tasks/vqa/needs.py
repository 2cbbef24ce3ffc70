"""What lmms-eval needs of the eleven suites' rows: at any other it ends, after the last reply."""

from __future__ import annotations

import ast
import re
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from harness.interfaces.errors import counted
from tasks.vqa.scorers import Document, Judge
from tasks.vqa.scorers.literal import COGNITION, PERCEPTION, mme, pope
from tasks.vqa.suites import Suite


@dataclass(frozen=True, slots=True)
class _Need:
    """What a column of a row must have."""

    column: str
    what: str
    """In words."""
    found: Callable[[Document], object]
    """Does with the row what lmms-eval does: raises, or gives something empty, where that ends."""

    def met(self, row: Document) -> bool:
        try:
            return bool(self.found(row))
        except Exception:
            return False


def _texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(each, str) for each in values)


def _text(column: str) -> _Need:
    return _Need(column, "a text", lambda row: isinstance(row[column], str))


def _yes_or_no(judge: Judge) -> _Need:
    return _Need("answer", "yes or no", lambda row: judge(row, "").answer in ("yes", "no"))


def _place(options: str, place: Callable[[Document], Any]) -> tuple[_Need, _Need]:
    """The right option's place, which may count from the end."""
    return (
        # A text, as a CSV file makes of a list, would be asked letter by letter.
        _Need(options, "a list of texts", lambda row: _texts(row[options] or None)),
        _Need(
            "answer",
            f"a place in {options!r}",
            lambda row: range(len(row[options]))[place(row)] >= 0,
        ),
    )


def _people(answers: Any) -> bool:
    """Whether there are texts of at least one, or no answers at all, as of a test split."""
    return answers is None or bool(answers and _texts(answers))


def _chosen(row: Document) -> bool:
    return bool(row["question_type"] == "multiple-choice")


_QUESTION = _text("question")
_ANSWER = _text("answer")
_NEEDS: dict[str, tuple[_Need, ...]] = {
    "seedbench": (_QUESTION, _ANSWER),
    "pope": (_QUESTION, _yes_or_no(pope)),
    "vqav2": (
        _Need(
            "answers",
            "a list of people with an 'answer' each",
            lambda row: _people(
                (given := row.get("answers")) and [person["answer"] for person in given]
            ),
        ),
    ),
    "gqa": (
        _Need(
            "answer",
            "a text",
            lambda row: isinstance(row["answer"], str) or _texts(row["answer"] or None),
        ),
    ),
    "scienceqa": _place("choices", lambda row: row["answer"]),
    "textvqa": (
        _QUESTION,
        _Need("answers", "a list of texts", lambda row: _people(row["answers"])),
    ),
    "chartqa": (_ANSWER,),
    "ai2d": _place("options", lambda row: int(row["answer"])),
    "realworldqa": (_QUESTION, _ANSWER),
    "mmmu": (
        _Need(
            "id",
            "a name as 'validation_Art_12'",
            lambda row: re.search(rf"^{row['id'].split('_')[0]}_(.+?)_\d+$", row["id"]),
        ),
        _Need(
            "options",
            "a list of texts as Python writes it",
            lambda row: (
                not _chosen(row)
                or ((options := list(ast.literal_eval(row["options"]))) and _texts(options))
            ),
        ),
        _Need(
            "answer",
            "a text, or a list of texts",
            lambda row: _chosen(row) or isinstance(row["answer"], str) or _texts(row["answer"]),
        ),
    ),
    "mme": (
        _QUESTION,
        _yes_or_no(mme),
        # In no figure of ours would be another, and lmms-eval counts it as cognition.
        _Need(
            "category",
            "one of its 14 categories",
            lambda row: row["category"] in (*PERCEPTION, *COGNITION),
        ),
    ),
}


def columns_of(suite: Suite) -> set[str]:
    """The columns that are looked at, where a data set has them."""
    return {*suite.columns, *(need.column for need in _NEEDS[suite.name])}


def fault_in(suite: Suite, rows: Iterable[Document]) -> str:
    """The first row that lmms-eval would end at, and why; empty where there is none."""
    pairs: list[str] = []
    for number, row in enumerate(rows, 1):
        for need in _NEEDS[suite.name]:
            if not need.met(row):
                value = reprlib.repr(row.get(need.column))
                return (
                    f"row {number}: its {need.column!r} is {value}, where {suite.title} has "
                    f"{need.what}"
                )
        pairs.append(suite.pair(row))
    sizes = Counter(pairs)
    for number, pair in enumerate(pairs, 1):
        if pair and sizes[pair] != 2:
            return (
                f"row {number}: {suite.title} has two questions of one category and question_id, "
                f"and {counted(sizes[pair], 'question')} of {pair!r} would be asked"
            )
    return ""
