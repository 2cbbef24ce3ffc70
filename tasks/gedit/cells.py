"""Judgings as observed columns: scores, words, and what they cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.interfaces import Columns
from harness.interfaces.types import Status
from tasks.gedit.viescore import KINDS, Kind, Mode, Verdict, judge
from tasks.shared.text_to_image import text_column
from tasks.shared.usage import Usage


@dataclass(slots=True)
class Judging:
    """One judging of one image: replies of every try, and what became of it."""

    texts: dict[Kind, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    refusals: list[str] = field(default_factory=list)
    failure: str = ""
    """Why a reply could not be had."""
    usage: Usage = field(default_factory=Usage)
    given: Verdict | None = None
    """Scores that were stored without the replies behind them."""

    def verdict(self, mode: Mode) -> Verdict:
        """Scores, or why there are none."""
        if self.failure:
            return Verdict(problem=self.failure)
        verdict = self.given or judge(self.texts, mode)
        if verdict.problem and self.refusals:
            return Verdict(problem=f"refused ({self.refusals[-1]})")
        return verdict


def judged_columns(samples: Sequence[Sequence[Judging]], mode: Mode) -> Columns:
    """Columns of B samples with R judgings each.

    `sc`, `pq` and `overall`, float64 (B,), are means over the judgings that have scores;
    `sc_judgings` and `pq_judgings`, float64 (B, R), hold NaN where one has none. `replies` and
    `usage` are JSON. A sample without any scores is a parse error; one for which a reply could not
    be had is a judge error, so that the next run asks again.
    """
    verdicts = [[judging.verdict(mode) for judging in judgings] for judgings in samples]
    outcomes = [_outcome(judgings, mine) for judgings, mine in zip(samples, verdicts, strict=True)]
    return {
        "sc": np.array([_mean([each.sc for each in mine]) for mine in verdicts]),
        "pq": np.array([_mean([each.pq for each in mine]) for mine in verdicts]),
        "overall": np.array([_mean([each.overall for each in mine]) for mine in verdicts]),
        "sc_judgings": np.array([[each.sc for each in mine] for mine in verdicts]),
        "pq_judgings": np.array([[each.pq for each in mine] for mine in verdicts]),
        "replies": text_column([_replies(judgings) for judgings in samples]),
        "usage": text_column([_usage(judgings) for judgings in samples]),
        "status": text_column([status.value for status, _ in outcomes]),
        "error": text_column([error for _, error in outcomes]),
    }


def _outcome(judgings: Sequence[Judging], verdicts: Sequence[Verdict]) -> tuple[Status, str]:
    for judging in judgings:
        if judging.failure:
            return Status.JUDGE_ERROR, judging.failure
    problems = [verdict.problem for verdict in verdicts if verdict.problem]
    if len(problems) == len(verdicts):
        return Status.PARSE_ERROR, problems[0]
    return Status.OK, ""


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else float("nan")


def _replies(judgings: Sequence[Judging]) -> str:
    content = [
        {**judging.texts, **({"refused": judging.refusals} if judging.refusals else {})}
        for judging in judgings
    ]
    # Half a surrogate pair stays an escape: no file format but JSON takes it.
    text = json.dumps(content, ensure_ascii=False)
    return text if text.isascii() or _encodes(text) else json.dumps(content)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _usage(judgings: Sequence[Judging]) -> str:
    total = Usage()
    for judging in judgings:
        total.merge(judging.usage)
    return total.as_json()
