"""Our scorers against what lmms-eval 0.7.3 gave for the same replies."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.interfaces import Observations
from tasks.vqa.metrics import ACCURACY, COGNITION_SCORE, F1, PERCEPTION_SCORE, TOTAL
from tasks.vqa.scorers import UnparsedReply
from tasks.vqa.scorers.choices import ai2d, ai2d_answer, realworldqa, scienceqa, seedbench
from tasks.vqa.scorers.consensus import normalised, textvqa, vqav2
from tasks.vqa.scorers.literal import (
    COGNITION,
    PERCEPTION,
    chartqa,
    equal_words,
    pope,
    relaxed_equal,
    yes_or_no,
)
from tasks.vqa.scorers.mmmu import candidates, find_option, mmmu, open_match

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent / "lmms_eval_0.7.3.json").read_text(encoding="utf-8")
)
UNPARSED = {"blue plum", "", "E", "none of these"}
"""Replies of the vectors for which lmms-eval draws an option."""


@pytest.mark.parametrize(("reply", "expected"), VECTORS["mme_parse_pred_ans"])
def test_mme_reads_yes_and_no(reply: str, expected: str) -> None:
    assert yes_or_no(reply) == expected


def test_mme_marks() -> None:
    given = VECTORS["mme_aggregate"]
    assert given["categories"] == {"Perception": list(PERCEPTION), "Cognition": list(COGNITION)}
    records = pd.DataFrame(given["records"])
    records["cluster"] = records["category"] + "/" + records["question_id"]
    observations = Observations(samples=records)
    assert PERCEPTION_SCORE.score(observations, {}).value == given["perception"]
    assert COGNITION_SCORE.score(observations, {}).value == given["cognition"]
    assert TOTAL.score(observations, {}).value == given["MME-S (sum)"]


def test_pope() -> None:
    given = VECTORS["pope"]
    judged = [pope({"answer": answer}, reply) for reply, answer in given["cases"]]
    assert [each.score for each in judged] == given["per_case_score"]
    frame = pd.DataFrame(
        {
            "score": [each.score for each in judged],
            "answer": [each.answer for each in judged],
            "prediction": [each.prediction for each in judged],
            "category": "random",
            "cluster": [str(place) for place in range(len(judged))],
        }
    )
    observations = Observations(samples=frame)
    assert F1.score(observations, {}).value == pytest.approx(given["f1_score"])
    assert ACCURACY.score(observations, {}).value == pytest.approx(given["accuracy"])


@pytest.mark.parametrize(("reply", "answer", "expected"), VECTORS["chartqa_relaxed"])
def test_chartqa_relaxed(reply: str, answer: str, expected: bool) -> None:
    assert relaxed_equal(reply, answer) is expected


@pytest.mark.parametrize(("reply", "kind", "answer", "expected"), VECTORS["chartqa_process"])
def test_chartqa_replies(reply: str, kind: str, answer: str, expected: dict[str, float]) -> None:
    assert chartqa({"answer": answer, "type": kind}, reply).score == expected["relaxed_overall"]


@pytest.mark.parametrize(("text", "expected"), VECTORS["evalai_processor"])
def test_normaliser(text: str, expected: str) -> None:
    assert normalised(text) == expected


@pytest.mark.parametrize(("reply", "answers", "expected"), VECTORS["vqav2_accuracy"])
def test_vqav2(reply: str, answers: list[str], expected: float) -> None:
    people = [{"answer": answer, "answer_id": place} for place, answer in enumerate(answers)]
    assert vqav2({"answers": people}, reply).score == expected


def test_vqav2_without_public_answers() -> None:
    judged = vqav2({"answers": None}, "The red ball.")
    assert math.isnan(judged.score)
    assert judged.prediction == "red ball"


@pytest.mark.parametrize(("reply", "answers", "expected"), VECTORS["textvqa_accuracy"])
def test_textvqa(reply: str, answers: list[str], expected: float) -> None:
    assert textvqa({"answers": answers}, reply).score == expected


@pytest.mark.parametrize(
    ("reply", "answer", "expected"), VECTORS["gqa_exact_match(ignore_case,ignore_punctuation)"]
)
def test_gqa(reply: str, answer: str, expected: float) -> None:
    assert float(equal_words(reply, answer)) == expected


@pytest.mark.parametrize(("reply", "expected"), VECTORS["scienceqa"])
def test_scienceqa(reply: str, expected: float) -> None:
    assert scienceqa({"answer": 1, "choices": ["x", "y", "z"]}, reply).score == expected


@pytest.mark.parametrize(("reply", "expected"), VECTORS["seedbench"])
def test_seedbench(reply: str, expected: float) -> None:
    assert seedbench({"answer": "B"}, reply).score == expected


@pytest.mark.parametrize(("reply", "filtered", "expected"), VECTORS["ai2d"])
def test_ai2d(reply: str, filtered: str, expected: float) -> None:
    assert ai2d_answer(reply) == filtered
    assert ai2d({"answer": "2", "options": ["x", "y", "z"]}, reply).score == expected


@pytest.mark.parametrize(("place", "letter"), [(0, "A"), (2, "C"), (-1, "C"), (-3, "A")])
def test_a_place_may_count_from_the_end_as_lmms_eval_lets_it(place: int, letter: str) -> None:
    options = ["x", "y", "z"]
    assert scienceqa({"answer": place, "choices": options}, letter).score == 1
    assert ai2d({"answer": str(place), "options": options}, letter).score == 1


@pytest.mark.parametrize(("reply", "answer", "expected"), VECTORS["realworldqa"])
def test_realworldqa(reply: str, answer: str, expected: float) -> None:
    assert realworldqa({"answer": answer}, reply).score == expected


@pytest.mark.parametrize(
    ("reply", "expected"), VECTORS["mmmu_multi_choice(random.seed(0) before each)"]["cases"]
)
def test_mmmu_options(reply: str, expected: str) -> None:
    options = list(VECTORS["mmmu_multi_choice(random.seed(0) before each)"]["options"].values())
    if reply in UNPARSED:
        with pytest.raises(UnparsedReply, match="no option is named") as raised:
            find_option(reply, options)
        assert raised.value.options == len(options)
    else:
        assert find_option(reply, options) == expected


@pytest.mark.parametrize(("reply", "answer", "found", "expected"), VECTORS["mmmu_open"])
def test_mmmu_open(reply: str, answer: str, found: list[str], expected: bool) -> None:
    assert sorted(map(str, candidates(reply))) == sorted(found)
    assert open_match(answer, candidates(reply)) is expected


def test_mmmu_suite() -> None:
    given = VECTORS["mmmu_aggregate"]
    scores = [
        mmmu(document, reply).score
        for document, reply in zip(given["docs"], given["preds"], strict=True)
    ]
    assert np.mean(scores) == pytest.approx(given["overall"], abs=1e-5)


def test_every_vector_is_used() -> None:
    prompts = {name for name in VECTORS if name.endswith("_prompt")}
    named = Path(__file__).read_text(encoding="utf-8")
    scored = set(VECTORS) - prompts - {"source", "python"}
    assert all(f'VECTORS["{name}"]' in named for name in scored)
