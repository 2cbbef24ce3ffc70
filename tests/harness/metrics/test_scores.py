"""The metrics of reconstruction on stored observations: values, weights, and why there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.interfaces import Observations
from harness.interfaces.errors import Unavailable, UserError
from harness.interfaces.types import Codebook, MetricValue
from harness.metrics.scores import (
    BPP,
    PERPLEXITY_GROUP,
    PERPLEXITY_POOLED,
    PSNR,
    SSIM,
    USAGE_GROUP,
    USAGE_JOINT,
    USAGE_POOLED,
)
from harness.metrics.stats import averaging_weights


def psnr_of(values: list[float], settings: dict[str, Any] | None = None) -> Any:
    observations = Observations(samples=pd.DataFrame({"psnr": np.array(values, float)}))
    return PSNR.score(observations, settings or {})


def test_mean_over_images_with_its_interval() -> None:
    cell = psnr_of([20.0, 22.0, 27.0])
    assert cell.value == pytest.approx(23.0)
    assert cell.ci_low < 23.0 < cell.ci_high
    assert (cell.n, cell.unit, cell.method) == (3, "dB", "bootstrap over samples")


def test_mean_of_batch_means_where_the_protocol_says_so() -> None:
    averaging = {"averaging": {"rule": "batch-means", "batch_size": 2, "world_size": 1}}
    assert psnr_of([20.0, 22.0, 27.0], averaging).value == pytest.approx((21.0 + 27.0) / 2)


def test_unnamed_averaging_is_over_images() -> None:
    np.testing.assert_allclose(averaging_weights(4, {}), 0.25)
    np.testing.assert_allclose(averaging_weights(4, {"rule": "per-image", "batch_size": 3}), 0.25)


def test_unknown_averaging_is_named() -> None:
    with pytest.raises(UserError, match="'per-batch': use per-image, batch-means or global-mse"):
        averaging_weights(4, {"rule": "per-batch"})


GLOBAL = {"averaging": {"rule": "global-mse"}}


def global_psnr_of(values: list[float], sizes: list[tuple[int, int]] | None = None) -> MetricValue:
    sizes = sizes or [(16, 16)] * len(values)
    heights, widths = zip(*sizes, strict=True) if sizes else ((), ())
    rows = pd.DataFrame(
        {"psnr": np.array(values, float), "height": list(heights), "width": list(widths)}
    )
    return PSNR.score(Observations(samples=rows), GLOBAL)


def test_global_mse_takes_one_logarithm_of_the_mean_error() -> None:
    # Differences of 1 and 10 grey levels: the published pair of golden values.
    values = [20 * np.log10(255 / difference) for difference in (1, 10)]
    cell = global_psnr_of(values)
    assert cell.value == pytest.approx(31.0979, abs=1e-4)
    assert cell.value == pytest.approx(10 * np.log10(255**2 / np.mean([1, 100])), rel=1e-12)
    assert cell.ci_low is not None
    assert cell.ci_high is not None
    assert cell.ci_low < cell.value < cell.ci_high
    assert (cell.n, cell.unit, cell.method) == (2, "dB", "bootstrap over samples")


def test_global_mse_is_that_of_all_pixels_of_all_images() -> None:
    random = np.random.default_rng(0)
    sizes = [(8, 8), (16, 4), (20, 30), (64, 64)]
    errors = [
        random.normal(0, spread, size) for spread, size in zip((1, 5, 9, 20), sizes, strict=True)
    ]
    values = [float(10 * np.log10(255**2 / np.mean(error**2))) for error in errors]
    pooled = np.concatenate([error.ravel() for error in errors])
    expected = 10 * np.log10(255**2 / np.mean(pooled**2))
    assert global_psnr_of(values, sizes).value == pytest.approx(expected, rel=1e-12)


def test_global_mse_counts_identical_images() -> None:
    cell = global_psnr_of([20.0, np.inf, 20.0, 20.0])
    assert cell.value == pytest.approx(20 + 10 * np.log10(4 / 3))
    assert (cell.n, cell.note) == (4, "1 identical image counted with an error of 0")
    with pytest.raises(Unavailable, match="infinite for the only sample: images are identical"):
        global_psnr_of([np.inf])
    with pytest.raises(Unavailable, match="infinite for all 2 samples"):
        global_psnr_of([np.inf, np.inf])


def test_global_mse_without_an_interval_where_a_resample_may_have_no_error() -> None:
    cell = global_psnr_of([20.0, np.inf])
    assert cell.value == pytest.approx(20 + 10 * np.log10(2))
    assert (cell.ci_low, cell.ci_high, cell.method) == (None, None, "")


def test_global_mse_of_bad_or_no_images() -> None:
    with pytest.raises(Unavailable, match="not a number for 1 of 2 samples"):
        global_psnr_of([20.0, np.nan])
    with pytest.raises(Unavailable, match="no sample was observed"):
        global_psnr_of([])


def test_global_mse_leaves_other_means_over_images() -> None:
    rows = pd.DataFrame({"ssim": [0.2, 0.6]})
    assert SSIM.score(Observations(samples=rows), GLOBAL).value == pytest.approx(0.4)


def test_identical_images_are_left_out_and_counted() -> None:
    cell = psnr_of([20.0, np.inf, 24.0])
    assert cell.value == pytest.approx(22.0)
    assert cell.n == 2
    assert cell.note == "1 identical image (infinite) left out"


def test_not_a_number_is_neither_left_out_nor_called_identical() -> None:
    with pytest.raises(Unavailable, match="not a number for 1 of 3 samples"):
        psnr_of([20.0, np.nan, 24.0])


def test_single_image_has_a_value_but_no_interval() -> None:
    cell = psnr_of([20.0])
    assert (cell.value, cell.ci_low, cell.ci_high, cell.method) == (20.0, None, None, "")


def test_no_image_has_no_value() -> None:
    for metric in (PSNR, BPP):
        with pytest.raises(Unavailable, match="no sample was observed"):
            metric.score(Observations(samples=pd.DataFrame({"psnr": []})), {})


def test_bits_per_pixel_is_a_mean_over_images_not_over_pixels() -> None:
    rows = pd.DataFrame({"bits": [8192, 8192], "height": [256, 512], "width": [256, 512]})
    cell = BPP.score(Observations(samples=rows), {})
    assert cell.value == pytest.approx((0.125 + 0.03125) / 2)
    assert cell.unit == "bit/px"


def usage(metric: Any, payloads: list[bytes], codebook: Codebook | None) -> Any:
    return metric.score(
        Observations(samples=pd.DataFrame(), payloads=payloads, codebook=codebook), {}
    )


def test_usage_of_a_small_codebook() -> None:
    # Two groups of two bits: tokens (0, 1), (0, 2) in one image, (0, 1) again in another.
    codebook = Codebook(groups=2, bits_per_group=2)
    payloads = [bytes([0b0100, 0b1000]), bytes([0b0100])]
    assert usage(USAGE_POOLED, payloads, codebook).value == pytest.approx(3 / 4)
    assert usage(USAGE_GROUP, payloads, codebook).value == pytest.approx((1 / 4 + 2 / 4) / 2)
    assert usage(USAGE_JOINT, payloads, codebook).value == pytest.approx(2 / 3)
    assert usage(USAGE_JOINT, payloads, codebook).n == 2


def test_a_codebook_that_is_no_power_of_two_can_be_used_whole() -> None:
    codebook = Codebook(size=5)
    payload = codebook.pack(np.arange(5)[:, None])
    assert usage(USAGE_POOLED, [payload], codebook).value == 1


@pytest.mark.parametrize(
    ("payload", "codebook", "match"),
    [
        (bytes(3), Codebook(size=1024), "none of the model's codebook"),
        (b"\x07", Codebook(size=5), "0 to 4"),
        (bytes(16), Codebook(groups=1, bits_per_group=36), "too many to count"),
    ],
)
def test_codes_that_do_not_fit_the_codebook_have_no_usage(
    payload: bytes, codebook: Codebook, match: str
) -> None:
    with pytest.raises(Unavailable, match=match):
        usage(USAGE_POOLED, [payload], codebook)


def test_perplexity_of_a_small_codebook() -> None:
    # Symbols 0, 0 in the first group; 1, 2 in the second; pooled 0, 0, 1, 2.
    codebook, payloads = Codebook(groups=2, bits_per_group=2), [bytes([0b0100, 0b1000])]
    entropy = -(0.5 * np.log(0.5) + 2 * 0.25 * np.log(0.25))
    pooled, grouped = (
        usage(metric, payloads, codebook).value for metric in (PERPLEXITY_POOLED, PERPLEXITY_GROUP)
    )
    assert pooled == pytest.approx(np.exp(entropy))
    assert grouped == pytest.approx((1 + 2) / 2)


def test_random_tokens_use_the_whole_of_a_large_codebook() -> None:
    codebook = Codebook(groups=16, bits_per_group=8)
    payloads = [np.random.default_rng(index).bytes(64 * 16) for index in range(50)]
    for metric in (USAGE_POOLED, USAGE_GROUP, USAGE_JOINT):
        assert usage(metric, payloads, codebook).value == pytest.approx(1.0, abs=1e-3)


def test_usage_has_an_interval_over_images() -> None:
    draws = np.random.default_rng(0)
    codebook = Codebook(groups=1, bits_per_group=8)
    # Skewed, so that rare symbols are seen in few images.
    symbols = np.minimum(draws.geometric(0.02, (60, 20)) - 1, 255).astype(np.uint8)
    payloads = [row.tobytes() for row in symbols]
    value = usage(USAGE_POOLED, payloads, codebook)
    assert 0 < value.ci_low < value.value < value.ci_high <= 1
    assert "jackknife" in value.method
    again = usage(USAGE_POOLED, payloads, codebook)
    assert (again.ci_low, again.ci_high) == (value.ci_low, value.ci_high)
    everything = [bytes(range(256))] * 7
    full = usage(USAGE_POOLED, everything, codebook)
    assert (full.value, full.ci_low, full.ci_high) == (1, 1, 1)
    assert usage(USAGE_POOLED, everything[:1], codebook).ci_low is None


def test_the_metrics_of_a_run_count_its_codes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    codebook, payloads = Codebook(groups=16, bits_per_group=8), []
    for index in range(30):
        payloads.append(np.random.default_rng(index // 2).bytes(64 * 16))
    metrics = (USAGE_POOLED, USAGE_GROUP, USAGE_JOINT, PERPLEXITY_POOLED, PERPLEXITY_GROUP)
    alone = [usage(metric, payloads, codebook) for metric in metrics]
    unpacked = []
    unpack = Codebook.unpack
    monkeypatch.setattr(
        Codebook, "unpack", lambda self, data: (unpacked.append(len(data)), unpack(self, data))[1]
    )
    run = Observations(samples=pd.DataFrame(), payloads=payloads, codebook=codebook)
    assert [metric.score(run, {}) for metric in metrics] == alone
    assert sum(unpacked) == sum(map(len, payloads))
    other = Observations(samples=pd.DataFrame(), payloads=payloads[:3], codebook=codebook)
    assert USAGE_JOINT.score(other, {}).n == 3


@pytest.mark.parametrize("metric", [USAGE_POOLED, USAGE_GROUP, USAGE_JOINT, PERPLEXITY_POOLED])
def test_usage_without_a_codebook_does_not_apply(metric: Any) -> None:
    with pytest.raises(Unavailable, match="no codebook") as raised:
        usage(metric, [b"riff"], None)
    assert raised.value.status == "not applicable: the model has no codebook"


def test_rates_of_single_images_average_to_the_rate() -> None:
    rows = pd.DataFrame({"bits": [96.0, 32.0], "height": [4, 8], "width": [6, 2]})
    values, weights = BPP.of_samples({name: rows[name] for name in rows}, {})
    assert values.tolist() == [4.0, 2.0]
    whole = BPP.score(Observations(samples=rows), {})
    assert np.average(values, weights=weights) == whole.value
