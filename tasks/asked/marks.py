"""A judge's agreement with marks by construction: questions about drawings whose truth is known."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from harness.interfaces import Marked
from harness.interfaces.errors import SampleFailure, Status
from tasks.asked.items import Benchmark, Question
from tasks.asked.scenes import SCENES
from tasks.shared.asking import Answer, Answering, Query

MOST = 10
"""Questions of each kind that are true, and that are not."""
_FIRST_WORD = re.compile(r"\W*(\w+)")


def score(answer: Answer, question: Question, *, soft: bool) -> float:
    """How right an answer is, 0 to 1; NaN where there is none."""
    if soft:
        return answer.probability
    word = _FIRST_WORD.match(answer.text.casefold())
    if word is None:
        return float("nan")
    return float(word[1] in {text.strip().casefold() for text in question.right})


def judged(
    benchmark: Benchmark, vqa: Answering, *, soft: bool, without: str = "", whole: bool = False
) -> list[Marked]:
    """What the judge says of the drawings, about the questions of all scenes but of one kind.

    Raises:
        SampleFailure: It is to be the whole, and a question may have its answer another time.
    """
    asked = [each for each in _asked(benchmark) if each[2] != without]
    answers = vqa.ask([Query(image, each.text, each.right) for image, each, _, _ in asked])
    failure = next((answer.failure for answer in answers if answer.failure), "")
    if whole and failure:
        raise SampleFailure(Status.JUDGE_ERROR, f"asked about drawings of ours: {failure}")
    return [
        Marked(kind, truth, score(answer, question, soft=soft))
        for (_, question, kind, truth), answer in zip(asked, answers, strict=True)
    ]


def _asked(benchmark: Benchmark) -> Iterator[tuple[np.ndarray, Question, str, bool]]:
    """Of each kind as many that are true as are not: who always agrees is right about half."""
    drawings = [scene.draw() for scene in SCENES]
    found: dict[str, dict[bool, list[tuple[int, Question]]]] = {}
    # Several scenes have some of their questions in common.
    for picture, question, kind, truth in dict.fromkeys(_pairs(benchmark)):
        found.setdefault(kind, {True: [], False: []})[truth].append((picture, question))
    for kind, sides in found.items():
        few = min(MOST, *map(len, sides.values()))
        for truth, side in sides.items():
            for place in range(few):
                picture, question = side[place * len(side) // few]
                yield drawings[picture], question, kind, truth


def _pairs(benchmark: Benchmark) -> Iterator[tuple[int, Question, str, bool]]:
    """Every scene's questions about every scene's picture, by the picture's place."""
    for place, scene in enumerate(SCENES):
        atoms = list(scene.atoms())
        questions = benchmark.drawn(f"scene{place}", scene.prompt, atoms).questions
        for picture, other in enumerate(SCENES):
            truths, kinds = [other.truth(atom) for atom in atoms], [atom.skill for atom in atoms]
            if len(questions) != len(atoms):  # One question about the whole prompt.
                truths, kinds = [all(truths)], ["prompt"]
            for question, kind, truth in zip(questions, kinds, truths, strict=True):
                if truth is not None:
                    yield picture, question, kind, truth


def agreement(marks: Sequence[Marked]) -> tuple[float, int]:
    """Share of answered marks that the judge is right about, and how many; NaN and 0 for none."""
    known = [mark for mark in marks if mark.probability == mark.probability]
    if not known:
        return float("nan"), 0
    return sum(mark.agrees for mark in known) / len(known), len(known)
