"""Answers about pictures as stored columns: scores by skill, what was asked, what it cost."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.interfaces import Columns
from harness.interfaces.errors import SampleFailure, Unavailable
from harness.interfaces.types import Status
from tasks.asked.items import Benchmark, Item
from tasks.asked.marks import agreement, judged, score
from tasks.asked.settings import AskedSettings
from tasks.shared.asking import Answer, Query, open_answering
from tasks.shared.text_to_image import DrawnImages, text_column
from tasks.shared.usage import Usage

EXTRACTOR = "asked_answers"


@dataclass(frozen=True, slots=True)
class Answered:
    """One picture of a prompt and how right the answers about it are."""

    item: Item
    scores: Sequence[float]
    """0 to 1, one a question; NaN where there is no answer."""
    answers: Sequence[Answer] = ()
    """One a question; none where scores were made elsewhere."""
    marks: tuple[float, int] = field(default=(float("nan"), 0))
    """How far the judge agrees with the marks, and how many they are."""


def to_columns(answered: Sequence[Answered]) -> dict[str, np.ndarray]:
    """Columns of B pictures of one benchmark.

    `am` and `gm` are the arithmetic and the geometric mean of a picture's scores; `SKILL_sum` and
    `SKILL_asked` are what it adds to a skill; `prompt` is a text, `answers` and `usage` are JSON.
    """
    rows = [_row(each) for each in answered]
    return {
        name: text_column([row[name] for row in rows])
        if isinstance(rows[0][name], str)
        else np.array([row[name] for row in rows], np.float64)
        for name in rows[0]
    }


def _row(answered: Answered) -> dict[str, Any]:
    item, scores = answered.item, np.asarray(answered.scores, np.float64)
    skills: dict[str, float] = {}
    for skill in item.benchmark.skills:
        mine = [skill in question.skills for question in item.questions]
        skills |= {f"{skill}_sum": float(scores[mine].sum()), f"{skill}_asked": float(sum(mine))}
    with np.errstate(divide="ignore"):
        gm = float(np.exp(np.log(scores).mean()))
    usage = Usage()
    for answer in answered.answers:
        if answer.reply is not None:
            usage.add(answer.reply)
    words = answered.answers or [Answer()] * len(scores)
    told = [
        {
            "question": question.text,
            "skills": list(question.skills),
            "expected": question.expected,
            "answer": answer.text,
            "score": None if np.isnan(value) else float(value),
        }
        for question, answer, value in zip(item.questions, words, scores, strict=True)
    ]
    return {
        "am": float(scores.mean()),
        "gm": gm,
        "atoms": item.atoms,
        **skills,
        "marks_agreed": answered.marks[0],
        "marks": answered.marks[1],
        "prompt": item.text,
        "answers": json.dumps(told, ensure_ascii=False),
        "usage": usage.as_json(),
    }


class AskedAnswers:
    """Asks a model every question about every picture.

    Args:
        settings: The protocol's.
        device: Where the model runs.

    Raises:
        UserError: There is no such model, or it tells no probabilities where they are scored.
        Unavailable: Weights are missing.
    """

    concurrent = True

    def __init__(self, settings: Mapping[str, Any], device: str) -> None:
        if "vqa" not in settings or "scoring" not in settings:
            raise Unavailable("the protocol asks nothing about pictures", kind="not applicable")
        chosen = AskedSettings.of(settings)
        self._soft = chosen.scoring == "soft"
        self._vqa = open_answering(chosen.vqa, device, soft=self._soft)
        self.works_on = self._vqa.works_on
        self.identity = {"version": 1, **self._vqa.identity}
        """What the model's answers depend on."""
        self._marks: tuple[float, int] | None = None
        self._lock = threading.Lock()

    def preflight(self) -> None:
        """See that the model can be asked, before pictures are drawn for it."""
        self._vqa.preflight()

    def observe(self, drawn: DrawnImages[Item]) -> Columns:
        """The columns of `to_columns`; a picture without all of its answers is not observed."""
        items = [drawing.about for drawing in drawn.drawings]
        unmarked = ""
        try:
            marks = self._agreement(items[0].benchmark)
        except SampleFailure as error:
            # Pictures without them would have another figure than those of the next try.
            marks, unmarked = (float("nan"), 0), str(error)
        queries = [
            Query(image, question.text, question.right)
            for image, item in zip(drawn.images, items, strict=True)
            for question in item.questions
        ]
        found = iter(self._vqa.ask(queries))
        answered = []
        for item in items:
            answers = [next(found) for _ in item.questions]
            pairs = zip(answers, item.questions, strict=True)
            scores = [score(answer, question, soft=self._soft) for answer, question in pairs]
            answered.append(Answered(item, scores, answers, marks))
        outcomes = [_outcome(each, unmarked) for each in answered]
        return {
            **to_columns(answered),
            "status": text_column([status for status, _ in outcomes]),
            "error": text_column([error for _, error in outcomes]),
        }

    def _agreement(self, benchmark: Benchmark) -> tuple[float, int]:
        with self._lock:
            if self._marks is None:
                marks = judged(benchmark, self._vqa, soft=self._soft, whole=True)
                self._marks = agreement(marks)
            return self._marks


def _outcome(answered: Answered, unmarked: str) -> tuple[Status, str]:
    for question, answer, value in zip(
        answered.item.questions, answered.answers, answered.scores, strict=True
    ):
        if answer.failure:
            return Status.JUDGE_ERROR, answer.failure
        if np.isnan(value):
            declined = answer.reply.refusal if answer.reply is not None else ""
            why = f"refused ({declined})" if declined else "an empty answer"
            return Status.PARSE_ERROR, f"{question.text!r}: {why}"
    return (Status.JUDGE_ERROR, unmarked) if unmarked else (Status.OK, "")
