from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from harness.interfaces import Observations
from harness.interfaces.errors import Unavailable
from tasks.vqa.metrics import (
    ACCURACY,
    ACCURACY_ALL,
    ACCURACY_HUMAN,
    ACCURACY_RANDOM,
    F1,
    F1_SPLIT_MEAN,
    PERCEPTION_SCORE,
    TOTAL,
    cluster_interval,
    cluster_sums,
)
from tasks.vqa.suites import SUITES


def rows(**columns: list[object]) -> Observations:
    n = len(next(iter(columns.values())))
    defaults = {"category": [""] * n, "cluster": [str(place) for place in range(n)]}
    return Observations(samples=pd.DataFrame({**defaults, **columns}))


def test_accuracy_has_the_binomial_interval_where_pictures_differ() -> None:
    scores = (np.arange(400) < 240).astype(float)
    cell = ACCURACY.score(rows(score=list(scores)), {})
    assert cell.value == pytest.approx(0.6)
    half = 1.96 * np.sqrt(0.6 * 0.4 / 400)
    assert cell.ci_low == pytest.approx(0.6 - half, abs=0.01)
    assert cell.ci_high == pytest.approx(0.6 + half, abs=0.01)


def test_questions_about_one_picture_widen_the_interval() -> None:
    scores = list((np.arange(400) < 240).astype(float))
    apart = ACCURACY.score(rows(score=scores), {})
    shared = [str(place // 10) for place in range(400)]
    together = ACCURACY.score(rows(score=scores, cluster=shared), {})
    assert together.value == apart.value
    widths = [cell.ci_high - cell.ci_low for cell in (apart, together)]
    assert widths[1] / widths[0] == pytest.approx(np.sqrt(10), rel=0.15)
    assert together.method == "bootstrap over 40 clusters"


def test_the_protocol_names_the_category_of_the_headline() -> None:
    observations = rows(score=[1.0, 0.0, 0.0], category=["image", "image", "video"])
    assert ACCURACY.score(observations, {"headline": "image"}).value == pytest.approx(0.5)
    assert ACCURACY_ALL.score(observations, {"headline": "image"}).value == pytest.approx(1 / 3)
    with pytest.raises(Unavailable, match="no question of this kind"):
        ACCURACY_HUMAN.score(observations, {})


def test_f1_of_all_questions_and_by_split() -> None:
    observations = rows(
        answer=["yes", "no", "yes", "no", "yes"],
        prediction=["yes", "yes", "no", "no", "yes."],
        category=["random", "random", "popular", "popular", "popular"],
        score=[1.0, 0.0, 0.0, 1.0, 0.0],
    )
    assert F1.score(observations, {}).value == pytest.approx(2 / 4)
    cell = F1_SPLIT_MEAN.score(observations, {})
    assert cell.value == pytest.approx((2 / 3 + 0) / 2)
    assert cell.note == "mean of popular, random"


@pytest.mark.parametrize("named", ["", "random"])
def test_questions_without_a_category_are_of_no_split(named: str) -> None:
    documents = [{"category": named} if named else {}, {"category": None}]
    observations = rows(
        answer=["yes", "no"],
        prediction=["yes", "no"],
        category=[SUITES["pope"].category(document) for document in documents],
        score=[1.0, 1.0],
    )
    assert F1.score(observations, {}).value == 1
    bare = "1 question" if named else "2 questions"
    with pytest.raises(Unavailable, match=f"^{bare} without a category") as told:
        F1_SPLIT_MEAN.score(observations, {})
    assert told.value.kind == "not applicable"


def test_pairs_without_two_replies_are_left_out() -> None:
    observations = rows(
        score=[1.0, 1.0, 1.0, 0.0, 1.0],
        category=["existence"] * 4 + ["count"],
        cluster=["a", "a", "b", "b", "c"],
    )
    cell = PERCEPTION_SCORE.score(observations, {})
    assert cell.value == pytest.approx((200 + 50) / 2)
    assert cell.n == 4
    assert cell.note == "1 picture without both replies left out; 9 of 10 kinds not asked"
    assert TOTAL.score(observations, {}).value == cell.value


def test_interval_of_marks_keeps_the_size_of_every_kind() -> None:
    kinds = ["existence"] * 60 + ["OCR"] * 2
    observations = rows(
        score=[1.0] * 124,
        category=[kind for kind in kinds for _ in range(2)],
        cluster=[str(place // 2) for place in range(124)],
    )
    cell = PERCEPTION_SCORE.score(observations, {})
    assert (cell.value, cell.ci_low, cell.ci_high) == (400.0, 400.0, 400.0)


def test_random_fallback_counts_replies_that_failed_here() -> None:
    observations = rows(score=[1.0, 0.0], random_accuracy=[0.25] * 2, random_n=[4.0] * 2)
    cell = ACCURACY_RANDOM.score(observations, {})
    assert (cell.value, cell.n) == (0.25, 4)
    assert cell.ci_low < 0.25 < cell.ci_high
    with pytest.raises(Unavailable, match="only MMMU"):
        ACCURACY_RANDOM.score(rows(score=[1.0]), {})


def test_no_replies_and_no_public_answers() -> None:
    with pytest.raises(Unavailable, match="no reply was observed"):
        ACCURACY.score(rows(score=[]), {})
    with pytest.raises(Unavailable, match="not public"):
        ACCURACY.score(rows(score=[float("nan")]), {})


def test_clusters_are_added_up_in_order() -> None:
    names, sums = cluster_sums(["b", "a", "b"], np.array([[1.0, 0], [2, 1], [4, 1]]))
    assert names == ["b", "a"]
    assert sums.tolist() == [[5, 1], [2, 1]]


def test_one_cluster_has_no_interval() -> None:
    interval = cluster_interval(np.ones((1, 2)), lambda sums: sums[:, 0] / sums[:, 1], 0)
    assert interval.low is None
