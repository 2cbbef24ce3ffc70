"""Answers as stored columns, from a model that runs here or from a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.interfaces import Columns
from harness.interfaces.errors import Unavailable
from harness.interfaces.types import Status
from tasks.dpg.questions import CATEGORIES, Item, Quirks
from tasks.dpg.scoring import Scored, score_picture
from tasks.dpg.settings import DpgSettings, ElsewhereVqa
from tasks.shared.text_to_image import DrawnImages, text_column

EXTRACTOR = "dpg_answers"


@dataclass(frozen=True, slots=True)
class Answered:
    """One picture of a prompt and what was answered about it."""

    item: Item
    number: int
    """Which of its prompt's pictures, from 0."""
    answers: Mapping[int, str]
    """By proposition id; empty where nothing is known."""


def to_columns(answered: Sequence[Answered], quirks: Quirks) -> dict[str, np.ndarray]:
    """Columns of B pictures.

    `dpg` is the share of questions answered with yes, NaN where the prompt does not count;
    `CATEGORY_yes` and `CATEGORY_asked` are what it adds to a category; `prompt` is a text and
    `answers` a JSON text, in which `counted` is what an answer adds to its fine category.
    """
    scored = [_score(each, quirks) for each in answered]
    rows = [_row(each, found) for each, found in zip(answered, scored, strict=True)]
    numbers = [name for category in CATEGORIES for name in _names(category)]
    columns = {name: np.array([row[name] for row in rows], float) for name in ("dpg", *numbers)}
    return {
        **columns,
        "prompt": text_column([each.item.text for each in answered]),
        "answers": text_column(
            [_to_json(each, found) for each, found in zip(answered, scored, strict=True)]
        ),
    }


def _score(answered: Answered, quirks: Quirks) -> Scored:
    if not answered.answers:
        return Scored(float("nan"), {})
    return score_picture(answered.item.questions, answered.answers, answered.number, quirks)


def _row(answered: Answered, scored: Scored) -> dict[str, float]:
    sums = {name: 0.0 for category in CATEGORIES for name in _names(category)}
    for question in answered.item.questions:
        if question.number in scored.counted and question.category in CATEGORIES:
            yes, asked = _names(question.category)
            sums[yes] += scored.counted[question.number]
            sums[asked] += 1
    return {"dpg": scored.score, **sums}


def _names(category: str) -> tuple[str, str]:
    return f"{category}_yes", f"{category}_asked"


def _to_json(answered: Answered, scored: Scored) -> str:
    rows = [
        {
            "proposition_id": question.number,
            "category": question.detail,
            "question": question.text,
            "answer": answered.answers.get(question.number),
            "counted": scored.counted.get(question.number),
        }
        for question in answered.item.questions
    ]
    return json.dumps(rows, ensure_ascii=False)


class DpgAnswers:
    """Asks a model every question about every picture.

    Args:
        settings: The protocol's settings.
        device: Where the model runs.

    Raises:
        Unavailable: Weights are missing, or the protocol's model runs elsewhere.
    """

    def __init__(self, settings: Mapping[str, Any], device: str) -> None:
        from tasks.dpg.vqa import open_vqa

        if "vqa" not in settings or "quirks" not in settings:
            raise Unavailable("the protocol asks nothing of DPG-Bench", kind="not applicable")
        self._settings = DpgSettings.of(settings)
        chosen = self._settings.vqa
        if isinstance(chosen, ElsewhereVqa):
            raise Unavailable(
                f"the protocol's model, {chosen.model}, answers in an environment of its own: "
                "grids and questions lie in the run directory, see docs/dpg.md; or give "
                "--protocol dpg-vlm"
            )
        self._vqa = open_vqa(chosen, device)

    @property
    def identity(self) -> Mapping[str, Any]:
        """What the model's answers depend on."""
        return {"version": 1, "vqa": dict(self._vqa.identity)}

    def observe(self, drawn: DrawnImages[Item]) -> Columns:
        """The columns of `to_columns`; a picture with an empty answer is not observed."""
        answered = [
            self._ask(image, drawing.about, drawing.number)
            for image, drawing in zip(drawn.images, drawn.drawings, strict=True)
        ]
        problems = [empty_answer(each) for each in answered]
        return {
            **to_columns(answered, self._settings.quirks),
            "status": text_column([Status.PARSE_ERROR if p else Status.OK for p in problems]),
            "error": text_column(problems),
        }

    def _ask(self, image: np.ndarray, item: Item, number: int) -> Answered:
        texts = [question.text for question in item.questions]
        numbers = [question.number for question in item.questions]
        return Answered(item, number, dict(zip(numbers, self._vqa(image, texts), strict=True)))


def empty_answer(answered: Answered) -> str:
    """The first question that got an empty answer, in words; empty if none did."""
    for number, answer in answered.answers.items():
        if not answer.strip():
            return f"question {number} got an empty answer"
    return ""
