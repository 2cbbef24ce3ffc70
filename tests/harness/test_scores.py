"""The metrics of reconstruction on stored observations: values, weights, and why there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.errors import Unavailable
from harness.interfaces import Observations
from harness.scores import (
    BPP,
    PSNR,
    RFID,
    USAGE_GROUP,
    USAGE_JOINT,
    USAGE_POOLED,
    averaging_weights,
)
from harness.types import Codebook

INCEPTION = {"inception": {"tap": "pool3", "min_samples": 2048}}


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


def test_identical_images_are_left_out_and_counted() -> None:
    cell = psnr_of([20.0, np.inf, 24.0])
    assert cell.value == pytest.approx(22.0)
    assert cell.n == 2
    assert cell.note == "1 identical images (infinite) left out"


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


def test_random_tokens_use_the_whole_of_a_large_codebook() -> None:
    codebook = Codebook(groups=16, bits_per_group=8)
    payloads = [np.random.default_rng(index).bytes(64 * 16) for index in range(50)]
    for metric in (USAGE_POOLED, USAGE_GROUP, USAGE_JOINT):
        assert usage(metric, payloads, codebook).value == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("metric", [USAGE_POOLED, USAGE_GROUP, USAGE_JOINT])
def test_usage_without_a_codebook_does_not_apply(metric: Any) -> None:
    with pytest.raises(Unavailable, match="no codebook") as raised:
        usage(metric, [b"riff"], None)
    assert raised.value.status == "not applicable: the model has no codebook"


def features_of(n: int, shift: float = 0.0, small_sets: bool = False) -> Observations:
    random = np.random.default_rng(0)
    reference = random.normal(size=(n, 8)).astype(np.float32)
    features = {"reference_pool3": reference, "reconstruction_pool3": reference + shift}
    return Observations(samples=pd.DataFrame(), features=features, small_sets=small_sets)


def test_rfid_of_equal_features_is_zero_and_of_a_shift_its_square() -> None:
    assert RFID.score(features_of(2048), INCEPTION).value == pytest.approx(0, abs=1e-3)
    shifted = RFID.score(features_of(2048, shift=0.5), INCEPTION)
    assert shifted.value == pytest.approx(8 * 0.25, rel=1e-3)
    assert (shifted.n, shifted.note) == (2048, "")


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
