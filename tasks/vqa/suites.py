"""Suites of questions: the eleven of the paper's Table 12, and any other task of lmms-eval's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from harness.interfaces.errors import UserError
from tasks.vqa.lmms_files import TaskFile, catalogue
from tasks.vqa.scorers import Document, Judge
from tasks.vqa.scorers.choices import ai2d, realworldqa, scienceqa, seedbench
from tasks.vqa.scorers.consensus import textvqa, vqav2
from tasks.vqa.scorers.literal import chartqa, gqa, mme, pope
from tasks.vqa.scorers.mmmu import mmmu


def _nothing(document: Document) -> str:
    del document
    return ""


def _text_of(column: str) -> Callable[[Document], str]:
    return lambda document: "" if (text := document.get(column)) is None else str(text)


def _chart_category(document: Document) -> str:
    return "human" if document.get("type") == "human_test" else "augmented"


def _subject(document: Document) -> str:
    """MMMU's subject: 'validation_Art_Theory_12' asks about 'Art_Theory'."""
    return "_".join(str(document["id"]).split("_")[1:-1])


def _pair(document: Document) -> str:
    return f"{document['category']}/{document['question_id']}"


_SEVEN = tuple(f"image_{number}" for number in range(1, 8))


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite.

    Args:
        name: What the harness calls it.
        title: What people call it.
        data: The hub's data set, and its subset after a colon where it has several.
        size: Questions, in words.
        judge: Our scorer; None where lmms-eval alone scores.
        category: Gives a row's category, for reports and for metrics that count one category.
        pair: Rows with equal answers are scored together; empty where each stands alone.
        images: Columns that hold pictures.
        columns: Columns besides that lmms-eval's task file reads.
        tasks: lmms-eval's tasks, where the protocol does not name the one.
    """

    name: str
    title: str
    data: str
    size: str
    judge: Judge | None
    category: Callable[[Document], str] = _nothing
    pair: Callable[[Document], str] = _nothing
    images: tuple[str, ...] = ("image",)
    columns: tuple[str, ...] = ("question", "answer")
    tasks: tuple[TaskFile, ...] = ()

    def absent(self, there: Collection[str]) -> list[str]:
        """Columns that lmms-eval reads and a data set with those that are `there` lacks."""
        pictures = [name for name in self.images if name == "image"]
        if self.name == "gqa" and "imageId" in there:
            pictures = []  # They lie apart.
        return [name for name in (*self.columns, *pictures) if name not in there]

    @property
    def hub(self) -> str:
        """The hub's data set without its subset."""
        return self.data.partition(":")[0]


def _suite(title: str, data: str, size: str, judge: Judge, **others: Any) -> Suite:
    """A suite of lmms-eval's own copies, called by its title in letters and digits."""
    name = title.lower().replace("-", "")
    return Suite(name, title, f"lmms-lab-encoder/{data}", size, judge, **others)


_ALL = (
    _suite(
        "SEED-Bench",
        "SEED-Bench",
        "about 14,200 questions about images and 3,800 about videos",
        seedbench,
        category=_text_of("data_type"),
        columns=(
            "question",
            "choice_a",
            "choice_b",
            "choice_c",
            "choice_d",
            "answer",
            "data_type",
            "question_id",
        ),
    ),
    _suite(
        "POPE",
        "POPE",
        "9,000 questions, 3,000 of each split",
        pope,
        category=_text_of("category"),
        columns=("question", "answer", "question_id"),
    ),
    _suite(
        "VQAv2",
        "VQAv2",
        "214,354 questions of the validation split",
        vqav2,
        category=_text_of("answer_type"),
        columns=("question", "question_id"),
    ),
    _suite("GQA", "GQA:testdev_balanced_instructions", "12,578 questions of testdev-balanced", gqa),
    _suite(
        "ScienceQA",
        "ScienceQA:ScienceQA-IMG",
        "2,017 questions with a picture",
        scienceqa,
        category=_text_of("subject"),
        columns=("question", "choices", "answer", "hint"),
    ),
    _suite(
        "TextVQA",
        "textvqa",
        "5,000 questions of the validation split",
        textvqa,
        columns=("question", "question_id", "answers"),
    ),
    _suite(
        "ChartQA",
        "ChartQA",
        "2,500 questions, half of them by people",
        chartqa,
        category=_chart_category,
        columns=("question", "answer", "type"),
    ),
    _suite("AI2D", "ai2d", "3,088 questions", ai2d, columns=("question", "options", "answer")),
    _suite("RealWorldQA", "RealWorldQA", "765 questions", realworldqa),
    _suite(
        "MMMU",
        "MMMU",
        "900 questions of the validation split",
        mmmu,
        category=_subject,
        columns=("id", "question", "options", "answer", "question_type"),
        images=_SEVEN,
    ),
    _suite(
        "MME",
        "MME",
        "2,374 questions, two of each picture",
        mme,
        category=_text_of("category"),
        pair=_pair,
        columns=("question", "answer", "question_id", "category"),
    ),
)
SUITES = {suite.name: suite for suite in _ALL}
"""By the harness's name, in the order of the table's columns."""
PREFIX = "lmms:"
"""Begins the names of all other suites; lmms-eval's own name follows."""


def suite_named(name: str) -> Suite:
    """One of the eleven, or a task, group or tag of lmms-eval's.

    Raises:
        UserError: There is no such suite, or none of its models could be asked.
    """
    return SUITES[name] if name in SUITES else _any_suite(name.removeprefix(PREFIX))


def _any_suite(name: str) -> Suite:
    tasks = tuple(catalogue().members(name))
    for task in tasks:
        if task.refusal:
            whose = "" if task.name == name else f"{task.name}: "
            raise UserError(f"{PREFIX}{name} cannot be run: {whose}{task.refusal}")
    if len({task.interface for task in tasks}) > 1:
        raise UserError(f"{PREFIX}{name} cannot be run: some of its tasks draw and others do not")
    first, *others = dict.fromkeys(task.dataset for task in tasks)
    data = f"{first} and {len(others)} more" if others else first
    return Suite(
        PREFIX + name, name, data, "", None, category=_nothing, images=(), columns=(), tasks=tasks
    )


def sample_score(suite: Suite, logged: Mapping[str, Any]) -> float | None:
    """lmms-eval's own score of one reply in its log; None where only the whole set has one."""
    if suite.name == "seedbench" and "seed_all" in logged:
        seen = logged["seed_all"]
        return float(seen["pred"].lower().strip() == seen["answer"].lower().strip())
    for key in ("pope_accuracy", "mme_perception_score", "mme_cognition_score"):
        if isinstance(logged.get(key), Mapping):
            return float(logged[key]["score"])
    for key in ("exact_match", "relaxed_overall"):
        if isinstance(logged.get(key), int | float):
            return float(logged[key])
    return None
