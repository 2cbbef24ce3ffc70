from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from skimage import data
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from harness.interfaces import Observations
from harness.interfaces.errors import Unavailable
from harness.metrics.ms_ssim import ms_ssim
from harness.metrics.pair_extractors import MultiScaleSsim
from harness.metrics.scores import MS_SSIM


def pair(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.stack([image[:height, :width] for image in (data.astronaut(), data.coffee())])
    noise = np.random.default_rng(0).normal(0, 12, x.shape)
    return x, np.clip(x + noise, 0, 255).astype(np.uint8)


def float64(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).double()


@pytest.mark.parity
@pytest.mark.parametrize("size", [(192, 176), (177, 181)])
def test_torchmetrics_rule_gives_its_values(size: tuple[int, int]) -> None:
    x, y = (images[:1] for images in pair(*size))
    expected = multiscale_structural_similarity_index_measure(
        float64(y), float64(x), data_range=255.0, reduction="none"
    )
    np.testing.assert_allclose(ms_ssim(x, y, "torchmetrics"), expected, rtol=0, atol=1e-8)


@pytest.mark.parity
@pytest.mark.parametrize("size", [(256, 256), (299, 181)])
def test_default_rule_gives_the_values_of_pytorch_msssim(size: tuple[int, int]) -> None:
    peer = pytest.importorskip("pytorch_msssim")
    x, y = pair(*size)
    expected = peer.ms_ssim(float64(x), float64(y), data_range=255, size_average=False)
    # Its window is rounded to float32, and so no longer of sum 1, whatever the images are.
    np.testing.assert_allclose(ms_ssim(x, y), expected, rtol=0, atol=5e-6)


def test_default_rule_is_the_published_product_over_scales() -> None:
    """Scale by scale, from scikit-image's Gaussian SSIM and its means of 2x2 pixels."""
    from skimage.metrics import structural_similarity

    x, y = (image[0].astype(float) for image in pair(176, 208))
    product = np.ones(3)
    for weight in (0.0448, 0.2856, 0.3001, 0.2363, 0.1333):
        factors = []
        for channel in range(3):
            # Luminance is the similarity of blurred images that lack contrast's term.
            similarity, maps = structural_similarity(
                x[..., channel], y[..., channel], data_range=255, gaussian_weights=True, sigma=1.5,
                use_sample_covariance=False, full=True,
            )  # fmt: skip
            blurred = [_gaussian(image[..., channel]) for image in (x, y)]
            a, b = (image[5:-5, 5:-5] for image in blurred)
            c1 = (0.01 * 255) ** 2
            luminance = (2 * a * b + c1) / (a * a + b * b + c1)
            inside = maps[5:-5, 5:-5]
            factors.append(similarity if weight == 0.1333 else (inside / luminance).mean())
        product *= np.array(factors) ** weight
        if weight != 0.1333:
            x, y = (image.reshape(len(image) // 2, 2, -1, 2, 3).mean((1, 3)) for image in (x, y))
    first, second = pair(176, 208)
    assert ms_ssim(first[:1], second[:1])[0] == pytest.approx(product.mean(), abs=1e-9)


def _gaussian(image: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image, 1.5, truncate=3.5)


def test_identical_images_are_alike_and_small_ones_have_no_value() -> None:
    x, y = pair(161, 170)
    assert ms_ssim(x, x).tolist() == [1, 1]
    assert (ms_ssim(x, y) < 1).all()
    assert np.isnan(ms_ssim(x[:, :160], y[:, :160])).all()
    with pytest.raises(ValueError, match="pair the images"):
        ms_ssim(x, y[:1])


def test_a_set_with_small_images_says_how_many() -> None:
    rows = pd.DataFrame({"ms_ssim": [0.9, np.nan, 0.8]})
    with pytest.raises(Unavailable, match="1 of 3 images have a side of fewer than 161 pixels"):
        MS_SSIM.score(Observations(samples=rows), {})
    whole = MS_SSIM.score(Observations(samples=rows.dropna()), {})
    assert whole.value == pytest.approx(0.85)
    assert whole.ci_low is not None


def test_rule_is_the_protocols() -> None:
    settings = {"ssim": {"window": "uniform7"}}
    assert MultiScaleSsim(settings, "cpu").identity["rule"] == "pytorch-msssim"
    settings = {**settings, "ms_ssim": {"rule": "torchmetrics"}}
    assert MultiScaleSsim(settings, "cpu").identity["rule"] == "torchmetrics"
    with pytest.raises(Unavailable, match="no pixel measures"):
        MultiScaleSsim({}, "cpu")
