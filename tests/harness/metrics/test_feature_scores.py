"""Metrics of sets on stored features: values, intervals, and why there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.interfaces import Observations
from harness.interfaces.errors import Unavailable
from harness.metrics import prdc
from harness.metrics.feature_scores import (
    COVERAGE,
    DENSITY,
    INCEPTION_SCORE,
    KID,
    PRECISION,
    RECALL,
    RFID,
    SFID,
)
from harness.metrics.inception_score import inception_score
from harness.metrics.kid import kernel_inception_distance
from harness.metrics.prdc import precision_recall

INCEPTION = {"inception": {"tap": "pool3", "min_samples": 2048}}
ALL = [RFID, SFID, KID, INCEPTION_SCORE, PRECISION, RECALL, DENSITY, COVERAGE]


def features_of(
    n: int, shift: float = 0.0, small_sets: bool = False, output: str = "pool3"
) -> Observations:
    random = np.random.default_rng(0)
    reference = random.normal(size=(n, 8)).astype(np.float32)
    return Observations(
        samples=pd.DataFrame({"id": [f"photo {i}" for i in range(n)]}),
        features={
            f"reference_{output}": reference,
            f"reconstruction_{output}": reference + np.float32(shift),
        },
        small_sets=small_sets,
    )


@pytest.mark.parametrize(("metric", "output"), [(RFID, "pool3"), (SFID, "spatial")])
def test_frechet_of_equal_features_is_zero_and_of_a_shift_its_square(
    metric: Any, output: str
) -> None:
    equal = metric.score(features_of(2048, output=output), INCEPTION)
    assert equal.value == pytest.approx(0, abs=1e-3)
    shifted = metric.score(features_of(2048, shift=0.5, output=output), INCEPTION)
    assert shifted.value == pytest.approx(8 * 0.25, rel=1e-3)
    assert (shifted.n, shifted.note) == (2048, "")
    assert shifted.method == "jackknife over 20 groups"


def test_rfid_of_few_images_is_withheld_unless_asked_for() -> None:
    with pytest.raises(Unavailable, match="2047 images are fewer than 2048") as raised:
        RFID.score(features_of(2047), INCEPTION)
    assert raised.value.status.startswith("withheld: ")
    cell = RFID.score(features_of(20, shift=0.5, small_sets=True), INCEPTION)
    assert cell.value == pytest.approx(2.0, rel=1e-3)
    assert cell.note == "fewer images than the protocol asks"


def test_rfid_of_a_single_image_is_always_withheld() -> None:
    with pytest.raises(Unavailable):
        RFID.score(features_of(1, small_sets=True), INCEPTION)


def test_intervals_of_pairs_know_that_they_are_pairs() -> None:
    cell = RFID.score(features_of(2048, shift=0.5), INCEPTION)
    assert cell.ci_high - cell.ci_low < 1e-4


def test_kid_follows_the_protocol_and_asks_for_one_subset_and_no_more() -> None:
    observations = features_of(60, shift=0.5)
    rule = {"subsets": 7, "subset_size": 20, "seed": 1}
    cell = KID.score(observations, INCEPTION | {"kid": rule})
    assert cell.value == kernel_inception_distance(*observations.features.values(), **rule).mean
    assert cell.ci_low < cell.value < cell.ci_high
    with pytest.raises(Unavailable, match="999 images are fewer than 1000"):
        KID.score(features_of(999), INCEPTION)


def test_inception_score_is_that_of_the_judged_images() -> None:
    logits = 3 * np.random.default_rng(0).normal(size=(300, 10)).astype(np.float32)
    observations = Observations(samples=pd.DataFrame(), features={"reconstruction_logits": logits})
    assert INCEPTION_SCORE.score(observations, {}).value == inception_score(logits, "single").mean
    cell = INCEPTION_SCORE.score(observations, {"inception_score": {"rule": "torch-fidelity"}})
    assert cell.value == inception_score(logits, "torch-fidelity").mean


def test_precision_and_its_like_come_out_of_one_computation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    compute = prdc.precision_recall_values

    def counting(*args: Any, **settings: Any) -> Any:
        calls.append(1)
        return compute(*args, **settings)

    monkeypatch.setattr(prdc, "precision_recall_values", counting)
    observations = features_of(100, shift=0.5)
    expected = precision_recall(*observations.features.values())
    for metric, name in zip((PRECISION, RECALL, DENSITY, COVERAGE), FIGURES, strict=True):
        cell = metric.score(observations, INCEPTION)
        assert cell.value == getattr(expected, name)
    assert len(calls) == 1
    five = PRECISION.score(observations, INCEPTION | {"prc": {"k": 5, "precision": "float32"}})
    assert five.value == precision_recall(*observations.features.values(), 5).precision
    PRECISION.score(features_of(100), INCEPTION)
    assert len(calls) == 3


FIGURES = ("precision", "recall", "density", "coverage")


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: str(ALL.index(metric)))
def test_features_of_no_sample_have_no_value(metric: Any) -> None:
    empty = {
        f"{side}_{output}": np.empty((0, 8), np.float32)
        for side in ("reference", "reconstruction")
        for output in ("pool3", "spatial", "logits")
    }
    for features in ({}, empty):
        with pytest.raises(Unavailable, match="no sample was observed"):
            metric.score(Observations(samples=pd.DataFrame(), features=features), INCEPTION)


@pytest.mark.parametrize("metric", [RFID, KID, PRECISION])
def test_features_that_are_not_finite_name_the_sample(metric: Any) -> None:
    observations = features_of(2048)
    observations.features["reconstruction_pool3"][17, 3] = np.nan
    message = "reconstruction_pool3 of sample 'photo 17' is not finite"
    with pytest.raises(Unavailable, match=message):
        metric.score(observations, INCEPTION)
