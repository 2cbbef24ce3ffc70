"""Questions with their replies as rows: a line of JSON each, and as observations to be scored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from harness.data.store import Store
from harness.interfaces import ObservedRows
from harness.interfaces.errors import counted
from harness.interfaces.types import Sample, Status, digest_of
from tasks.vqa.metrics import ANSWERS
from tasks.vqa.replies import Answered, safe
from tasks.vqa.scorers import Judged, UnparsedReply
from tasks.vqa.suites import PREFIX, Suite

TEXTS = ("question", "answer", "reply", "prediction", "category", "cluster", "question_id")
"""Text columns of the observations."""


@dataclass(frozen=True, kw_only=True)
class Row(Answered):
    """One question of a suite and what came of it: a line of `replies.jsonl`."""

    id: str
    question: str
    """The text that the model was asked."""
    document: Mapping[str, Any]
    """The data set's row without its pictures."""
    lmms_score: float | None = None
    """lmms-eval's own score of the reply."""
    task: str = ""
    """lmms-eval's task, where it alone scores."""
    target: str = ""
    """The right answer as the task has it."""
    taken: str = ""
    """What the task's filter made of the reply."""
    results: Mapping[str, Any] = field(default_factory=dict)
    """What its scorer found, by figure: what is aggregated."""

    def line(self) -> str:
        """The row as a line of JSON, what was asked first."""
        asked = {"id": self.id, "question": self.question, "document": self.document}
        facts = vars(self).items()
        kept = {name: value for name, value in facts if self.task or name not in _THEIRS}
        return json.dumps(asked | kept, default=_plain) + "\n"


_THEIRS = ("task", "target", "taken", "results")


def _plain(value: Any) -> Any:
    """Numbers of NumPy's as Python's, anything else as a text."""
    return value.item() if isinstance(value, np.generic) else str(value)


def score_of(result: Any) -> float | None:
    """A question's score in what a scorer found of it; None where it holds none."""
    if isinstance(result, Mapping):
        result = result.get("score")
    return float(result) if isinstance(result, int | float | np.number | np.bool_) else None


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows, one a line, the whole file or none."""
    Store(path.parent).write_text(path.name, "".join(row.line() for row in rows))


def read_rows(path: Path) -> list[Row]:
    """Read rows that `write_rows` wrote."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Row.of(json.loads(line)) for line in lines]


@dataclass
class _Scored:
    """A row with both scores; what our scorer cannot read has failed."""

    row: Row
    judged: Judged | None = None
    options: int = 0

    @property
    def score(self) -> float:
        """lmms-eval's where it ran, else ours."""
        own = self.judged.score if self.judged else float("nan")
        return own if self.row.lmms_score is None else self.row.lmms_score

    @property
    def differs(self) -> bool:
        """Whether both scorers found something, and not the same."""
        if self.judged is None or self.row.lmms_score is None:
            return False
        return bool(abs(self.judged.score - self.row.lmms_score) > 1e-9)

    @property
    def expected(self) -> float:
        """The score with a random option where the reply names none."""
        drawn = 1 / self.options if self.judged is None else self.judged.score
        return drawn if self.row.lmms_score is None else self.row.lmms_score


def _first_score(row: Row) -> float:
    """The score behind a task's first figure; not a number where it has none."""
    score = next(map(score_of, row.results.values()), None)
    return float("nan") if score is None else score


def _scored(suite: Suite, row: Row, *, marked: bool) -> _Scored:
    if row.status is not Status.OK:
        return _Scored(row)
    if suite.judge is None:
        score = _first_score(row) if marked else float("nan")
        return _Scored(row, Judged(score, row.target, row.taken or row.reply))
    try:
        return _Scored(row, suite.judge(row.document, row.reply))
    except UnparsedReply as unparsed:
        failed = replace(row, status=unparsed.status, error=str(unparsed))
        return _Scored(failed, options=unparsed.options)


def observed(
    suite: Suite,
    rows: Sequence[Row],
    label: str = "",
    identity: Mapping[str, Any] = MappingProxyType({}),
    notices: Sequence[str] = (),
    figures: Mapping[str, Any] = MappingProxyType({}),
) -> ObservedRows:
    """Score rows with our own scorer, beside lmms-eval's scores where they are known.

    `score` is lmms-eval's where it ran; `own_score` is ours. Both stand in samples.parquet. Where
    the rows come from is told by `label` to people, by `identity` to the run's files. `figures`
    are `LmmsFigures` as lmms-eval's process left them.
    """
    # What is right can be told of shares alone, and not of marks from 1 to 5.
    marked = not any(_first_score(row) < 0 or _first_score(row) > 1 for row in rows)
    scored = [_scored(suite, row, marked=marked) for row in rows]
    texts = [_texts(suite, item) for item in scored]
    columns: dict[str, np.ndarray] = {
        "score": np.array([item.score for item in scored], float),
        "own_score": np.array(
            [item.judged.score if item.judged else float("nan") for item in scored], float
        ),
        "cut": np.array([item.row.cut for item in scored], float),
        **{name: np.array([text[name] for text in texts], dtype=object) for name in TEXTS},
    }
    if suite.name == "mmmu":
        columns |= _with_random_options(scored)
    columns |= _figures(rows, figures)
    return ObservedRows(
        samples=_samples([(row, row.images) for row in rows]),
        statuses=[item.row.status for item in scored],
        errors=[item.row.error for item in scored],
        columns={ANSWERS: columns},
        identities={ANSWERS: identity},
        label=label,
        notice="; ".join([*notices, *_notices(scored)]),
        replies=[row.reply.encode("utf-8", "replace") for row in rows],
    )


def unopened(rows: Sequence[Row]) -> list[Sample]:
    """The samples as far as they are known before their pictures are opened."""
    return _samples([(row, ()) for row in rows])


def _samples(rows: Sequence[tuple[Row, tuple[str, ...]]]) -> list[Sample]:
    """Samples by the content of document and pictures."""
    return [
        Sample(id=row.id, index=index, sha256=digest_of([dict(row.document), images]))
        for index, (row, images) in enumerate(rows)
    ]


def _texts(suite: Suite, item: _Scored) -> dict[str, str]:
    row, judged = item.row, item.judged
    if judged is None:
        return dict.fromkeys(TEXTS, "")
    cluster = suite.pair(row.document) or " ".join(row.images) or row.id
    values = {
        "question": row.question,
        "answer": judged.answer,
        "reply": row.reply,
        "prediction": judged.prediction,
        "category": suite.category(row.document) or (row.task if len(suite.tasks) > 1 else ""),
        "cluster": cluster,
        "question_id": str(row.document.get("question_id", row.id)),
    }
    return {name: safe(text)[0] for name, text in values.items()}


def _figures(rows: Sequence[Row], figures: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Scores behind each figure that is their mean; any other figure with its interval."""
    columns: dict[str, np.ndarray] = {}
    for name, facts in figures.items():
        if facts["mean"]:
            scores = [score_of(row.results.get(name)) for row in rows]
            columns[PREFIX + name] = np.array([np.nan if s is None else s for s in scores], float)
            continue
        for key in ("value", "low", "high", "n"):
            number = np.nan if facts[key] is None else facts[key]
            columns[f"{PREFIX}{name} {key}"] = np.full(len(rows), number, float)
        columns[f"{PREFIX}{name} method"] = np.full(len(rows), facts["method"], object)
    return columns


def _with_random_options(scored: Sequence[_Scored]) -> dict[str, np.ndarray]:
    """lmms-eval's figure of the whole suite, in every row: it counts rows that have failed here."""
    replied = [item for item in scored if item.judged is not None or item.options]
    mean = np.mean([item.expected for item in replied]) if replied else float("nan")
    return {
        "random_accuracy": np.full(len(scored), mean, float),
        "random_n": np.full(len(scored), len(replied), float),
    }


def _notices(scored: Sequence[_Scored]) -> list[str]:
    told = []
    compared = sum(item.row.lmms_score is not None for item in scored)
    if differing := sum(item.differs for item in scored):
        told.append(
            f"our scorer and lmms-eval's differ on {differing} of {compared} replies: see the "
            "columns own_score and score"
        )
    if cut := sum(item.row.cut for item in scored):
        told.append(f"{counted(cut, 'answer')} cut at the protocol's limit")
    if odd := sum(item.row.controls > 0 for item in scored):
        told.append(f"control characters of {counted(odd, 'answer')} replaced")
    return told
