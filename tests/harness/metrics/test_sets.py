"""Metrics of sets of features: values as the plain functions give, intervals, and bad sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.interfaces.errors import Unavailable
from harness.interfaces.types import MetricValue
from harness.metrics import stats
from harness.metrics.features import FeatureSet, FeatureStatistics, FeatureSums
from harness.metrics.frechet import (
    frechet_distance,
    frechet_distance_from_features,
    frechet_value,
)
from harness.metrics.inception_score import SplitRule, inception_score, inception_score_value
from harness.metrics.kid import kernel_inception_distance, kid_value
from harness.metrics.prdc import precision_recall, precision_recall_values

Features = np.ndarray


def normal(n: int, d: int = 8, seed: int = 0, shift: float = 0.0) -> Features:
    return (np.random.default_rng(seed).normal(size=(n, d)) + shift).astype(np.float32)


def distance(reference: Features | FeatureSet, samples: Features, **changes: Any) -> MetricValue:
    known = reference if isinstance(reference, FeatureSet) else FeatureSet(reference)
    settings = {"seed": 0, "min_samples": 2, "small_sets": False, "paired": False} | changes
    return frechet_value(known, FeatureSet(samples), **settings)


def half_width(cell: MetricValue) -> float:
    assert cell.ci_low is not None
    assert cell.ci_high is not None
    return (cell.ci_high - cell.ci_low) / 2


@pytest.mark.parametrize("n", [60, 7])
def test_fid_is_the_plain_distance_with_an_interval_around_it(n: int) -> None:
    reference, samples = normal(n), normal(n, seed=1, shift=1.0)
    cell = distance(reference, samples)
    assert cell.value == frechet_distance_from_features(reference, samples)
    assert cell.ci_low is not None
    assert cell.ci_high is not None
    assert cell.value is not None
    assert 0 <= cell.ci_low < cell.value < cell.ci_high
    assert cell.method == f"jackknife over {min(n, 20)} groups"
    assert (cell.n, cell.note) == (n, "")


def test_leaving_out_a_group_is_the_distance_of_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, samples = normal(60), normal(90, seed=1, shift=1.0)
    seen: list[float] = []

    def record(value: float, left_out: list[float], shares: list[float]) -> Any:
        seen.extend(left_out)
        assert sum(shares) == pytest.approx(1)
        return stats.NO_INTERVAL

    monkeypatch.setattr(stats, "jackknife_interval", record)
    distance(reference, samples)
    deal = stats.deal_groups
    expected = [
        frechet_distance_from_features(
            reference[deal(60, 20, 0) != g], samples[deal(90, 20, 0) != g]
        )
        for g in range(20)
    ]
    np.testing.assert_allclose(seen, expected, rtol=1e-9)


def test_small_sets_leave_out_rows_too() -> None:
    # No more rows than columns: the distance comes from the rows, not from sums.
    reference, samples = normal(30, 64), normal(30, 64, seed=1)
    cell = distance(reference, samples)
    assert cell.value == frechet_distance_from_features(reference, samples)
    assert half_width(cell) > 0


def test_interval_depends_on_the_seed_alone() -> None:
    sets = normal(100), normal(100, seed=1)
    assert distance(*sets) == distance(*sets)
    assert distance(*sets).ci_high != distance(*sets, seed=1).ci_high


def test_pairs_that_move_together_have_a_narrow_interval() -> None:
    reference = normal(400)
    shifted, other = reference + np.float32(0.5), normal(400, seed=1, shift=0.5)
    assert half_width(distance(reference, shifted, paired=True)) < 0.01
    assert half_width(distance(reference, other)) > 0.1


def test_equal_sets_are_at_distance_zero_for_certain() -> None:
    cell = distance(normal(100), normal(100), paired=True)
    assert cell.value == pytest.approx(0, abs=1e-9)
    assert (cell.ci_low, cell.ci_high) == pytest.approx((0, 0), abs=1e-8)


def test_reference_statistics_stay_fixed() -> None:
    reference, samples = normal(5000), normal(200, seed=1, shift=0.5)
    stored = FeatureSums.from_features(reference).statistics()
    cell = distance(FeatureSet(statistics=stored), samples)
    own = FeatureSums.from_features(samples).statistics()
    assert cell.value == frechet_distance(stored, own)
    # Without the reference's share of the variance, which is small beside 200 samples.
    assert half_width(cell) == pytest.approx(half_width(distance(reference, samples)), rel=0.3)


def test_reference_statistics_without_a_count_do_not_limit() -> None:
    stored = FeatureStatistics(np.zeros(8), np.eye(8), None)
    assert FeatureSet(statistics=stored).n is None
    cell = distance(FeatureSet(statistics=stored), normal(50), min_samples=50)
    assert cell.value is not None


def test_distance_at_infinity_takes_the_bias_out() -> None:
    cell = distance(normal(400, 16), normal(400, 16, seed=1), extrapolate=True)
    assert cell.value is not None
    assert cell.value > 0.2
    words = cell.note.split()
    assert words[0] == "FID∞"
    assert words[2:] == ["from", "200", "to", "400", "images"]
    assert abs(float(words[1])) < 0.1


def test_distance_at_infinity_needs_covariances_of_full_rank() -> None:
    cell = distance(normal(30, 16), normal(30, 16, seed=1), extrapolate=True)
    assert cell.note == "FID∞ needs more than 32 images"


def test_too_few_are_withheld_unless_asked_for() -> None:
    sets = normal(20), normal(30, seed=1)
    with pytest.raises(Unavailable, match="20 images are fewer than 2048") as raised:
        distance(*sets, min_samples=2048)
    assert raised.value.kind == "withheld"
    cell = distance(*sets, min_samples=2048, small_sets=True, extrapolate=True)
    assert cell.note.startswith("fewer images than the protocol asks; FID∞ ")


def test_two_images_have_a_distance_and_no_interval() -> None:
    cell = distance(normal(2), normal(2, seed=1))
    assert cell.value is not None
    assert (cell.ci_low, cell.ci_high, cell.method) == (None, None, "")


def test_kid_is_the_plain_distance_with_its_spread_scaled() -> None:
    reference, samples = normal(400), normal(500, seed=1, shift=0.2)
    cell = kid_value(
        FeatureSet(reference), FeatureSet(samples), seed=2020, min_samples=100, small_sets=False,
        subsets=50, subset_size=100,
    )  # fmt: skip
    plain = kernel_inception_distance(reference, samples, subsets=50, subset_size=100)
    assert cell.value == plain.mean
    assert half_width(cell) == pytest.approx(1.959964 * plain.std * np.sqrt(100 / 300))
    assert cell.method == "spread of subsets of 100, scaled to 400 images"


def test_spread_of_kid_is_that_between_sets() -> None:
    def cell(seed: int) -> MetricValue:
        sets = FeatureSet(normal(300, seed=seed)), FeatureSet(normal(300, seed=seed + 1, shift=0.3))
        return kid_value(
            *sets, seed=0, min_samples=2, small_sets=False, subsets=40, subset_size=100
        )

    cells = [cell(2 * seed) for seed in range(60)]
    between = np.std([c.value for c in cells if c.value is not None], ddof=1)
    within = np.mean([half_width(c) for c in cells]) / 1.96
    assert within == pytest.approx(between, rel=0.25)


def test_kid_of_exactly_one_subset_has_no_spread_to_report() -> None:
    cell = kid_value(
        FeatureSet(normal(50)), FeatureSet(normal(50, seed=1)), seed=0, min_samples=50,
        small_sets=False, subset_size=50,
    )  # fmt: skip
    assert (cell.ci_low, cell.method) == (None, "")


def test_kid_of_less_than_a_subset_takes_halves_if_asked_for() -> None:
    sets = FeatureSet(normal(50)), FeatureSet(normal(50, seed=1))
    with pytest.raises(Unavailable, match="50 images are fewer than 1000"):
        kid_value(*sets, seed=0, min_samples=2, small_sets=False)
    cell = kid_value(*sets, seed=0, min_samples=2, small_sets=True)
    assert cell.note == "fewer images than the protocol asks"
    assert "subsets of 25" in cell.method
    few = FeatureSet(normal(3)), FeatureSet(normal(3, seed=1))
    with pytest.raises(Unavailable, match="3 images are fewer than the 4"):
        kid_value(*few, seed=0, min_samples=2, small_sets=True)


def test_kid_needs_the_features_of_the_reference() -> None:
    stored = FeatureSums.from_features(normal(50)).statistics()
    with pytest.raises(Unavailable, match="statistics, not by features"):
        kid_value(FeatureSet(statistics=stored), FeatureSet(normal(50)), seed=0, min_samples=2,
            small_sets=True)  # fmt: skip


@pytest.mark.parametrize("rule", ["torch-fidelity", "adm", "single"])
def test_inception_score_is_the_plain_score_with_an_interval(rule: SplitRule) -> None:
    logits = 3 * normal(500, 10)
    cell = inception_score_value(logits, rule=rule, seed=0)
    plain = inception_score(logits, rule)
    assert cell.value == plain.mean
    assert cell.ci_low is not None
    assert cell.ci_high is not None
    assert 1 <= cell.ci_low < plain.mean < cell.ci_high
    assert cell.method == "jackknife over 20 groups"
    assert cell.note == (f"±{plain.std:.3g} over 10 splits" if rule == "torch-fidelity" else "")


def test_spread_of_the_inception_score_is_that_between_sets() -> None:
    cells = [
        inception_score_value(3 * normal(300, 10, seed=s), rule="single", seed=0) for s in range(80)
    ]
    between = np.std([c.value for c in cells if c.value is not None], ddof=1)
    within = np.mean([half_width(c) for c in cells]) / 2.093
    assert within == pytest.approx(between, rel=0.2)


def test_inception_score_of_too_few_images() -> None:
    with pytest.raises(Unavailable, match="9 images for 10 splits, one each"):
        inception_score_value(normal(9, 10), rule="torch-fidelity", seed=0)
    with pytest.raises(Unavailable, match="0 images"):
        inception_score_value(normal(0, 10), rule="single", seed=0)
    cell = inception_score_value(normal(10, 10), rule="torch-fidelity", seed=0)
    assert (cell.value, cell.ci_low) == (pytest.approx(1.0), None)


def test_precision_and_recall_are_the_plain_ones_with_intervals() -> None:
    reference, samples = normal(200, 4), normal(300, 4, seed=1, shift=0.5)
    cells = precision_recall_values(reference, samples, k=3, seed=0)
    plain = precision_recall(reference, samples)
    assert list(cells) == ["precision", "recall", "density", "coverage"]
    for name, n in zip(cells, (300, 200, 300, 200), strict=True):
        cell = cells[name]
        assert cell.value == getattr(plain, name)
        assert half_width(cell) > 0
        assert cell.n == n
        assert cell.method == "bootstrap over samples, manifolds held fixed"


def test_neighbours_and_precision_are_passed_on() -> None:
    sets = normal(40, 4), normal(40, 4, seed=1)
    cells = precision_recall_values(*sets, k=1, precision="adm-fp16", seed=0)
    assert cells["recall"].value == precision_recall(*sets, 1, "adm-fp16").recall


def test_precision_needs_more_images_than_neighbours() -> None:
    with pytest.raises(Unavailable, match="no 3 neighbours each of 3 images; 4 are"):
        precision_recall_values(normal(3), normal(50), seed=0)


def both(reference: Features, samples: Features) -> list[Callable[[], object]]:
    few = {"seed": 0, "min_samples": 2, "small_sets": True}
    return [
        lambda: distance(reference, samples, small_sets=True),
        lambda: kid_value(FeatureSet(reference), FeatureSet(samples), **few),  # type: ignore[arg-type]
        lambda: precision_recall_values(reference, samples, seed=0),
    ]


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("metric", [0, 1, 2])
def test_empty_and_single_sets_have_no_value(n: int, metric: int) -> None:
    for sets in ((normal(n), normal(50)), (normal(50), normal(n))):
        some = "1 image" if n else "0 images"
        with pytest.raises(Unavailable, match=f"no .* of {some}; "):
            both(*sets)[metric]()


@pytest.mark.parametrize("metric", [0, 1, 2])
def test_widths_that_differ_are_named(metric: int) -> None:
    with pytest.raises(ValueError, match=r"reference has 8 columns and samples .*9"):
        both(normal(50), normal(50, 9))[metric]()


@pytest.mark.parametrize("metric", [0, 1, 2])
def test_rows_that_are_not_finite_are_named(metric: int) -> None:
    broken = normal(50)
    broken[17, 3] = np.nan
    with pytest.raises(ValueError, match="samples row 17 is not finite"):
        both(normal(50), broken)[metric]()
    with pytest.raises(ValueError, match="reference row 17 is not finite"):
        both(broken, normal(50))[metric]()


def test_logits_that_are_not_finite_are_named() -> None:
    broken = normal(50)
    broken[17, 3] = np.inf
    with pytest.raises(ValueError, match="logits row 17 is not finite"):
        inception_score_value(broken, rule="single", seed=0)


def test_pairs_need_equal_counts() -> None:
    with pytest.raises(ValueError, match="50 references and 60 samples; pairs need equal counts"):
        distance(normal(50), normal(60), paired=True)
