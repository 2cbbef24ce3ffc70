"""Answers made elsewhere: a JSON object a line, a line an answer.

```
{"item_id": "12", "crop": 0, "proposition_id": 1, "answer": "yes", "model": "…"}
```

`crop` is the grid's quarter: 0 top left, 1 top right, 2 bottom left, 3 bottom right. `model` says
which model answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.data.digests import DigestCache
from harness.interfaces import ObservedRows
from harness.interfaces.errors import UserError
from harness.interfaces.types import Status
from tasks.dpg.answers import EXTRACTOR, Answered, empty_answer, to_columns
from tasks.dpg.data import about, as_prompt
from tasks.dpg.questions import Item, read_questions
from tasks.dpg.settings import DpgSettings, ElsewhereVqa
from tasks.shared.jsonl import read_objects
from tasks.shared.text_to_image import samples_of

_FIELDS = ("item_id", "crop", "proposition_id", "answer")
Answers = dict[tuple[str, int], dict[int, str]]


def read_observations(path: Path, questions: Path, settings: DpgSettings) -> ObservedRows:
    """Score every picture of the questions' prompts by a file of answers.

    Raises:
        UserError: A line or a row is not as it should be, or another model answered.
    """
    items = read_questions(questions)
    answers = _read(path, items, settings)
    pictures = [
        Answered(item, number, answers.get((item.id, number), {}))
        for item in items
        for number in range(settings.images_per_prompt)
    ]
    problems = [_problem(picture) for picture in pictures]
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
                "file": DigestCache().of_file(path),
                "questions": DigestCache().of_file(questions),
                "model": settings.vqa.model,
            }
        },
        label=f"{questions.name}, {settings.vqa.model}",
        notice=about(items, settings.quirks),
    )


def _problem(picture: Answered) -> tuple[Status, str]:
    wanted = [question.number for question in picture.item.questions]
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
    for where, record in read_objects(path):
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
