"""Which of lmms-eval's figures are means of scores, and what becomes of the others."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.interfaces.types import Status
from tasks.vqa.answers import Row
from tasks.vqa.lmms_code import Function
from tasks.vqa.lmms_files import TaskFile

pytest.importorskip("lmms_eval")
SCORES = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.5]


def square(items: list[Any]) -> float:
    return float(np.mean([item["score"] for item in items])) ** 2


def with_args(items: list[Any], args: Any) -> float:
    return square(items)


def drawn(items: list[Any]) -> float:
    return square(items) + random.random()


def broken(items: list[Any]) -> float:
    if len({item["place"] for item in items}) < len(items):
        raise KeyError("twice")
    return square(items)


def figure(
    aggregate: Any,
    value: float | None = None,
    failed: int | None = None,
    folder: Path | None = None,
) -> dict[str, Any]:
    """The figure of these scores, as lmms-eval would report it."""
    from tasks.vqa.figures import figures_of

    items = [{"score": score, "place": place} for place, score in enumerate(SCORES)]
    rows = [
        Row(
            id=str(place),
            question="",
            document={},
            task="t",
            results={"t/m": item},
            status=Status.MODEL_ERROR if place == failed else Status.OK,
        )
        for place, item in enumerate(items)
    ]
    named = Function(folder / "code.py", "fold") if folder else aggregate
    settings = {"metric_list": [{"metric": "m", "aggregation": named}]}
    file = TaskFile("t", Path("t.yaml"), settings)
    config = {"metric_list": [{"metric": "m", "aggregation": aggregate}]}
    reported = square(items) if value is None else value
    return figures_of([file], {"t": config}, rows, {"t": {"m,none": reported}}, 0)["t/m"]


def test_a_mean_is_known_by_its_value_on_all_and_on_parts() -> None:
    mean = float(np.mean(SCORES))
    scored = lambda items: sum(item["score"] for item in items) / len(items)  # noqa: E731
    assert figure(scored, mean) == {"mean": True}
    halfway = lambda items: mean if len(items) == len(SCORES) else 0.0  # noqa: E731
    assert figure(halfway, mean)["mean"] is False


def test_others_are_resampled_through_their_own_aggregation() -> None:
    found = figure(square)
    assert found["value"] == pytest.approx(float(np.mean(SCORES)) ** 2, abs=1e-12)
    assert found["low"] < found["value"] < found["high"]
    assert found["n"] == len(SCORES)
    assert figure(square) == found
    assert "through lmms-eval's aggregation" in found["method"]


def test_failed_questions_are_left_out_where_that_can_be() -> None:
    kept = [score for place, score in enumerate(SCORES) if place != 1]
    assert figure(square, failed=1)["value"] == pytest.approx(float(np.mean(kept)) ** 2)
    assert figure(with_args, failed=1)["value"] == pytest.approx(float(np.mean(SCORES)) ** 2)


@pytest.mark.parametrize(
    ("aggregate", "reason"),
    [(with_args, "it writes files"), (drawn, "drawn at random"), (broken, "KeyError: 'twice'")],
)
def test_what_cannot_be_resampled_says_so(aggregate: Any, reason: str) -> None:
    found = figure(aggregate)
    assert (found["low"], found["high"]) == (None, None)
    assert reason in found["method"]
    assert found["value"] == pytest.approx(float(np.mean(SCORES)) ** 2)


def test_a_judge_is_not_asked_a_thousand_times(tmp_path: Path) -> None:
    code = "import os\n\n\ndef fold(items):\n    return os.environ['JUDGING_API_KEY']\n"
    (tmp_path / "code.py").write_text(code)
    calls: list[int] = []

    def fold(items: list[Any]) -> float:
        calls.append(len(items))
        return square(items)

    assert "it asks a judge" in figure(fold, folder=tmp_path)["method"]
    assert calls == []


def test_a_scorer_that_breaks_down_fails_one_question() -> None:
    from tasks.vqa.figures import guarded, logged_of

    def score(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
        return {"m": 1 / len(doc["answer"])}

    file = TaskFile("t", Path("t.yaml"), {"metric_list": [{"metric": "m"}]})
    good, bad = (guarded(score)({"answer": text}, ["x"]) for text in ("yes", ""))
    assert logged_of(file, [good])["results"] == {"t/m": 1 / 3}
    fields = logged_of(file, [bad])
    assert (fields["status"], fields["results"]) == (Status.PARSE_ERROR, {})
    assert "ZeroDivisionError" in fields["error"]
