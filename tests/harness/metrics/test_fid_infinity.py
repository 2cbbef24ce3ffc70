from __future__ import annotations

import numpy as np
import pytest

from harness.interfaces import Observations
from harness.interfaces.errors import Unavailable
from harness.metrics.feature_scores import FID_INF
from harness.metrics.features import FeatureSet, FeatureStatistics, FeatureSums
from harness.metrics.fid_infinity import infinity_value
from harness.metrics.frechet import frechet_distance, frechet_distance_from_features

WIDTH = 8
RULE = {"seed": 3, "points": 15, "smallest": 100, "small_sets": False}


def rows(seed: int, count: int = 1000, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    draws = np.random.default_rng(seed).normal(size=(count, WIDTH))
    return (scale * draws + shift).astype(np.float32)


def test_value_is_dgm_evals_line_over_one_by_n() -> None:
    """Its sizes, its draws and its whole reference; the line by numpy."""
    x, y = rows(0), rows(1, scale=1.2, shift=0.2)
    known = FeatureSums.from_features(x).statistics()
    draws, distances = np.random.default_rng(3), []
    sizes = np.linspace(100, 1000, 15).astype("int32")
    for size in sizes:
        drawn = draws.choice(y, size, replace=False)
        distances.append(frechet_distance(known, FeatureSums.from_features(drawn).statistics()))
    expected = np.polyfit(1 / sizes, distances, 1)[1]
    found = infinity_value(FeatureSet(x), FeatureSet(y), paired=False, **RULE)
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert found.ci_low < found.value < found.ci_high
    assert found.method == "jackknife over 20 groups, and the line's error"


def test_it_finds_the_distance_that_fid_overestimates() -> None:
    """Of normal distributions, whose distance is known; its intervals hold it, FID's rarely do."""
    true = FeatureStatistics(np.zeros(WIDTH), np.eye(WIDTH), None)
    exact = WIDTH * (0.2**2 + 0.1**2)
    values, held = [], 0
    for seed in range(20):
        judged = FeatureSet(rows(seed, scale=1.2, shift=0.1))
        found = infinity_value(FeatureSet(statistics=true), judged, paired=False, **RULE)
        values.append(found.value)
        held += found.ci_low <= exact <= found.ci_high
    biased = [
        frechet_distance_from_features(rows(1000 + seed), rows(seed, scale=1.2, shift=0.1))
        for seed in range(20)
    ]
    error = np.std(values) / np.sqrt(20)
    assert abs(np.mean(values) - exact) < 3 * error
    assert np.mean(biased) - exact > 3 * error
    assert held >= 17


def test_pairs_leave_together() -> None:
    x = rows(0)
    y = x + np.float32(0.05) * rows(1)
    found = infinity_value(FeatureSet(x), FeatureSet(y), paired=True, **RULE)
    apart = infinity_value(FeatureSet(x), FeatureSet(y), paired=False, **RULE)
    assert abs(found.value) < abs(apart.value)
    assert found.ci_high - found.ci_low < apart.ci_high - apart.ci_low
    with pytest.raises(ValueError, match="pairs need equal counts"):
        infinity_value(FeatureSet(x[1:]), FeatureSet(y), paired=True, **RULE)


def test_few_images_are_withheld_or_noted() -> None:
    few = FeatureSet(rows(0, 150))
    with pytest.raises(Unavailable, match="150 images are fewer than 200"):
        infinity_value(FeatureSet(rows(1, 150)), few, paired=False, **RULE)
    rule = {**RULE, "small_sets": True}
    noted = infinity_value(FeatureSet(rows(1, 150)), few, paired=False, **rule)
    assert noted.note == "fewer images than the protocol asks"
    with pytest.raises(Unavailable, match="19 images are fewer than the 20"):
        infinity_value(FeatureSet(rows(1)), FeatureSet(rows(0, 19)), paired=False, **rule)


def test_metric_takes_the_protocols_sizes() -> None:
    x, y = rows(0), rows(1, scale=1.2)
    seen = Observations(
        samples=None,  # type: ignore[arg-type]
        features={"reference_pool3": x, "reconstruction_pool3": y},
        seed=3,
    )
    settings = {"inception": {"tap": "pool3"}, "fid_inf": {"points": 15, "smallest": 100}}
    expected = infinity_value(FeatureSet(x), FeatureSet(y), paired=True, **RULE)
    assert FID_INF.score(seen, settings) == expected
    with pytest.raises(Unavailable, match="1000 images are fewer than 10000"):
        FID_INF.score(seen, {"inception": {}})
