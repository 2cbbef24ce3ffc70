"""Answers as stored columns, from a model that runs here or from a file.

In a file each is a JSON object a line:

```
{"item_id": "12", "crop": 0, "proposition_id": 1, "answer": "yes", "model": "…"}
```

`crop` is the grid's quarter: 0 top left, 1 top right, 2 bottom left, 3 bottom right. `model` says
which model answered. The published script's own files are read by `tasks.dpg.details`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.digests import verified_sha256
from harness.interfaces import Columns, ObservedRows
from harness.interfaces.errors import Unavailable, UserError
from harness.interfaces.types import Status
from tasks.dpg.data import about, as_prompt
from tasks.dpg.details import is_detail, read_details
from tasks.dpg.questions import CATEGORIES, Item, Quirks, is_left_out, read_questions
from tasks.dpg.scoring import Scored, score_picture
from tasks.dpg.settings import DpgSettings, ElsewhereVqa
from tasks.dpg.vqa import open_vqa
from tasks.shared.asking import Query
from tasks.shared.jsonl import read_objects
from tasks.shared.text_to_image import DrawnImages, samples_of, text_column

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
    rows = [_row(each, quirks) for each in answered]
    cells = {name: text_column([row[name] for row in rows]) for name in rows[0]}
    texts = ("prompt", "answers")
    return {name: each if name in texts else each.astype(float) for name, each in cells.items()}


def _row(answered: Answered, quirks: Quirks) -> dict[str, Any]:
    item, answers = answered.item, answered.answers
    scored = Scored(float("nan"), {})
    if answers:
        scored = score_picture(item.questions, answers, answered.number, quirks)
    sums = {name: 0.0 for category in CATEGORIES for name in _names(category)}
    for question in item.questions:
        if question.number in scored.counted and question.category in CATEGORIES:
            yes, asked = _names(question.category)
            sums[yes] += scored.counted[question.number]
            sums[asked] += 1
    told = _to_json(answered, scored)
    return {"dpg": scored.score, **sums, "prompt": item.text, "answers": told}


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

    concurrent = True

    def __init__(self, settings: Mapping[str, Any], device: str) -> None:
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
        self.works_on = self._vqa.works_on
        known = dict(self._vqa.identity)
        judge = {"judge": known["judge"]} if "judge" in known else {}
        self.identity = {"version": 1, "vqa": known, **judge}
        """What the model's answers depend on."""

    def observe(self, drawn: DrawnImages[Item]) -> Columns:
        """The columns of `to_columns`; a picture with an empty answer is not observed."""
        pairs = list(zip(drawn.images, drawn.drawings, strict=True))
        answers = iter(
            self._vqa.ask(
                [
                    Query(image, question.text)
                    for image, drawing in pairs
                    for question in drawing.about.questions
                ]
            )
        )
        answered, outcomes = [], []
        for _, drawing in pairs:
            found = {question.number: next(answers) for question in drawing.about.questions}
            failures = [each.failure for each in found.values() if each.failure]
            texts = {} if failures else {number: each.text for number, each in found.items()}
            answered.append(Answered(drawing.about, drawing.number, texts))
            empty = empty_answer(answered[-1])
            status = Status.JUDGE_ERROR if failures else Status.PARSE_ERROR if empty else Status.OK
            outcomes.append((status, failures[0] if failures else empty))
        return {
            **to_columns(answered, self._settings.quirks),
            "status": text_column([status for status, _ in outcomes]),
            "error": text_column([error for _, error in outcomes]),
        }

    def preflight(self) -> None:
        """See that the model can be asked, before pictures are drawn for it."""
        self._vqa.preflight()


def empty_answer(answered: Answered) -> str:
    """The first question that got an empty answer, in words; empty if none did."""
    for number, answer in answered.answers.items():
        if not answer.strip():
            return f"question {number} got an empty answer"
    return ""


_FIELDS = ("item_id", "crop", "proposition_id", "answer")
Answers = dict[tuple[str, int], dict[int, str]]


def read_observations(path: Path, questions: Path, settings: DpgSettings) -> ObservedRows:
    """Score every picture of the questions' prompts by a file of answers.

    Raises:
        UserError: A line or a row is not as it should be, or another model answered.
    """
    items = read_questions(questions)
    answers = _read(path, items, settings)
    # The script stops amid the questions of a prompt that it leaves out, and so may a file.
    official = settings.quirks == "official"
    left_out = {item.id for item in items if official and is_left_out(item)}
    pictures = [
        Answered(item, number, {} if item.id in left_out else answers.get((item.id, number), {}))
        for item in items
        for number in range(settings.images_per_prompt)
    ]
    problems = [
        (Status.OK, "") if each.item.id in left_out else _problem(each, settings.quirks)
        for each in pictures
    ]
    return ObservedRows(
        samples=samples_of((as_prompt(each.item), each.number) for each in pictures),
        statuses=[status for status, _ in problems],
        errors=[error for _, error in problems],
        columns={
            EXTRACTOR: to_columns(
                [
                    each if status is Status.OK else Answered(each.item, each.number, {})
                    for each, (status, _) in zip(pictures, problems, strict=True)
                ],
                settings.quirks,
            )
        },
        identities={
            EXTRACTOR: {
                "version": 1,
                "file": verified_sha256(path),
                "questions": verified_sha256(questions),
                "model": settings.vqa.model,
            }
        },
        label=f"{questions.name}, {settings.vqa.model}",
        notice=about(items, settings.quirks),
        judged_elsewhere=is_detail(path),
    )


def _problem(picture: Answered, quirks: Quirks) -> tuple[Status, str]:
    asked = [each for each in picture.item.questions if not (each.first and quirks == "official")]
    wanted = [each.number for each in asked]
    absent = [number for number in wanted if number not in picture.answers]
    if absent:
        some = (
            "the file has no answer" if absent == wanted else f"no answer to question {absent[0]}"
        )
        return Status.MISSING, f"{some} about quarter {picture.number} of item {picture.item.id!r}"
    empty = empty_answer(picture)
    return (Status.PARSE_ERROR, empty) if empty else (Status.OK, "")


def _read(path: Path, items: Sequence[Item], settings: DpgSettings) -> Answers:
    known = {item.id: {question.number for question in item.questions} for item in items}
    answers: Answers = {}
    for where, record in read_details(path, items) if is_detail(path) else read_objects(path):
        for field in _FIELDS:
            if field not in record:
                raise UserError(f"{where}: no {field!r}; an answer has {', '.join(_FIELDS)}")
        _check_origin(record, settings, where)
        item, crop, number, answer = (record[field] for field in _FIELDS)
        item = str(item)
        if item not in known:
            raise UserError(f"{where}: item {item!r} is not among the questions")
        if type(crop) is not int or not 0 <= crop < settings.images_per_prompt:
            raise UserError(
                f"{where}: 'crop' must be 0 to {settings.images_per_prompt - 1}, found {crop!r}"
            )
        if type(number) is not int or number not in known[item]:
            raise UserError(f"{where}: item {item!r} has no proposition {number!r}")
        if not isinstance(answer, str):
            raise UserError(f"{where}: 'answer' must be a text, found {answer!r}")
        found = answers.setdefault((item, crop), {})
        if number in found:
            raise UserError(
                f"{where}: proposition {number} about quarter {crop} of item {item!r} again"
            )
        found[number] = answer
    if not answers:
        raise UserError(f"{path} has no answers")
    return answers


def _check_origin(record: Mapping[str, Any], settings: DpgSettings, where: str) -> None:
    """Raise `UserError` where another model answered than the protocol's."""
    model, expected = record.get("model"), settings.vqa.model
    if model is None and isinstance(settings.vqa, ElsewhereVqa):
        return
    if model != expected:
        said = "names no model" if model is None else f"comes from {model}"
        raise UserError(
            f"{where}: {said}; the protocol's is {expected}: give another --protocol, scores of "
            "two models do not compare"
        )
