"""DPG-Bench's arithmetic against the published script's results, and what 'fixed' mends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.interfaces import Observations
from tasks.dpg.answers import Answered, to_columns
from tasks.dpg.data import fine_categories
from tasks.dpg.questions import CATEGORIES, Item, read_questions
from tasks.dpg.scores import OVERALL, Category
from tasks.dpg.scoring import score_picture

GOLDEN = json.loads((Path(__file__).parent / "official.json").read_text())


@pytest.fixture
def items(tmp_path: Path) -> dict[str, Item]:
    path = tmp_path / "questions.csv"
    pd.DataFrame(GOLDEN["rows"]).to_csv(path, index=False)
    return {item.id: item for item in read_questions(path)}


def answers_of(item: Item, number: int) -> dict[int, str]:
    known = GOLDEN["answers"][item.id]
    # The published script never asks the first question of all.
    return {q.number: known[q.text][number] if q.text in known else "yes" for q in item.questions}


def table(items: dict[str, Item], quirks: Any) -> pd.DataFrame:
    answered = [
        Answered(item, number, answers_of(item, number))
        for item in items.values()
        for number in range(4)
    ]
    ids = [f"{each.item.id}/{each.number:04d}" for each in answered]
    return pd.DataFrame({"id": ids, "status": "ok", **to_columns(answered, quirks)})


def test_official_pictures(items: dict[str, Item]) -> None:
    for name, expected in GOLDEN["per_item"].items():
        item = items[name]
        scored = [
            score_picture(item.questions, answers_of(item, n), n, "official") for n in range(4)
        ]
        if "error" in expected:
            assert all(np.isnan(each.score) for each in scored)
            continue
        assert [each.score for each in scored] == expected["per_crop_scores"]
        last = {str(number): value for number, value in scored[3].counted.items()}
        assert last == expected["last_crop_raw_scores_used_for_categories"]
        assert not any(each.counted for each in scored[:3])


def test_official_summary(items: dict[str, Item]) -> None:
    rows = table(items, "official")
    observations = Observations(samples=rows)
    overall = OVERALL.score(observations, {})
    assert overall.value == pytest.approx(GOLDEN["official_summary"]["DPG-Bench score"])
    assert "2 prompts dropped" in overall.note
    assert overall.n == 20
    for category in CATEGORIES:
        cell = Category(category).score(observations, {})
        assert cell.value == pytest.approx(GOLDEN["official_summary"][category])
    fine = {name: each["score"] for name, each in fine_categories(rows).items()}
    named = {*CATEGORIES, "DPG-Bench score"}
    expected = {k: v for k, v in GOLDEN["official_summary"].items() if k not in named}
    assert fine == pytest.approx(expected)


def test_fixed_pictures(items: dict[str, Item]) -> None:
    def scores(name: str) -> list[float]:
        item = items[name]
        numbers = range(4)
        return [
            score_picture(item.questions, answers_of(item, n), n, "fixed").score for n in numbers
        ]

    assert scores("first0") == [1, 1, 1, 1], "the first question counts"
    assert scores("flat1") == pytest.approx([1, 2 / 3, 0, 1]), "'Yes' and 'yes.' are yes"
    assert scores("chain2") == pytest.approx([0, 1 / 3, 1, 0])
    assert scores("rev4") == pytest.approx([0, 1, 1 / 3, 1]), "parents that stand behind count"
    assert scores("self6") == [1, 0, 1, 1], "a question about itself asks nothing more"


def test_fixed_summary_by_hand(items: dict[str, Item]) -> None:
    rows = table({name: items[name] for name in ("flat1", "chain2")}, "fixed")
    observations = Observations(samples=rows)
    assert OVERALL.score(observations, {}).value == pytest.approx(100 * (2 / 3 + 1 / 3) / 2)
    # Dogs: yes yes no yes; a: no yes yes no; all four pictures count.
    assert Category("entity").score(observations, {}).value == pytest.approx(100 * 5 / 8)
    # Blue, where there is an a: only in the third picture.
    assert Category("attribute").score(observations, {}).value == pytest.approx(100 * 1 / 4)
    assert fine_categories(rows)["entity - whole"] == {"score": 62.5, "n": 8}


@pytest.mark.parametrize("answer", ["yes", "Yes", " yes.", '"Yes, there is."'])
def test_fixed_takes_any_yes(answer: str, items: dict[str, Item]) -> None:
    questions = items["self6"].questions
    assert score_picture(questions, {1: answer}, 0, "fixed").score == 1
    assert score_picture(questions, {1: "yesterday"}, 0, "fixed").score == 0
