"""From answers about one picture to its score and its share of the categories: pure functions.

The published script (TencentQQGYLab/ELLA at 3c228f1, `dpg_bench/compute_dpg_bench.py`) makes
mistakes that move numbers. Under 'official' they are made, under 'fixed' mended:

| official | fixed |
| --- | --- |
| the file's first question is dropped | it counts |
| a question about a question that is not there drops its prompt from all means | it depends on \
those that are there |
| only the answer 'yes', letter by letter, counts | any that begins with the word yes, in any case |
| an answer is set to no if a question before it, that it depends on, was no or was set to no: \
what stands first in the file decides | ... if any question that it depends on, at any remove, \
was no |
| categories count the answers of the last picture, as they were given | ... of all four pictures, \
with answers set to no |

One mistake is made under neither: with several processes the script confuses the categories.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.dpg.questions import Question, Quirks, lineage

LAST = 3
"""The picture whose answers the published script sorts into categories."""
_YES = re.compile(r"\W*yes\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Scored:
    """What the answers about one picture come to."""

    score: float
    """Share of questions answered with yes, after dependencies; NaN where the prompt is dropped."""
    counted: Mapping[int, float]
    """What each question adds to its category, 0 or 1; empty where the picture adds nothing."""


def score_picture(
    questions: Sequence[Question], answers: Mapping[int, str], number: int, quirks: Quirks
) -> Scored:
    """Score one picture.

    Args:
        questions: All of its prompt.
        answers: By proposition id.
        number: Which of its prompt's four pictures, from 0.
        quirks: Whether the published script's mistakes are made.
    """
    if quirks == "fixed":
        settled = _settle(questions, {q.number: _is_yes(answers[q.number]) for q in questions})
        return Scored(sum(settled.values()) / len(settled), settled)
    asked = [question for question in questions if not question.first]
    raw = {question.number: float(answers[question.number] == "yes") for question in asked}
    try:
        settled = _settle_in_order(asked, raw)
    except KeyError:
        return Scored(float("nan"), {})
    score = sum(settled.values()) / len(settled) if settled else float("nan")
    return Scored(score, raw if number == LAST else {})


def _is_yes(answer: str) -> float:
    return float(_YES.match(answer) is not None)


def _settle(questions: Sequence[Question], raw: Mapping[int, float]) -> dict[int, float]:
    """Answers that stay: yes where all that a question depends on, at any remove, is yes."""
    # 'Is the cat black?' is meaningless without a cat, and so is what depends on its colour: a no
    # anywhere above counts, also where an answer in between was yes.
    parents = {question.number: question.parents for question in questions}
    return {number: min(raw[above] for above in lineage([number], parents)) for number in parents}


def _settle_in_order(questions: Sequence[Question], raw: Mapping[int, float]) -> dict[int, float]:
    """The published script's way; `KeyError` where it meets a parent that is not there."""
    # In file order and in place: a parent that comes later has not been set to no yet, so that its
    # children escape. DPG-Bench's published numbers were made this way.
    settled = dict(raw)
    for question in questions:
        if any(settled[parent] == 0 for parent in question.parents):
            settled[question.number] = 0.0
    return settled
