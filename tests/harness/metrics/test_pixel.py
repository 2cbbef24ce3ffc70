from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from harness.metrics.pixel import luma, psnr, ssim

PAIRS = st.integers(0, 2**32 - 1).flatmap(
    lambda seed: st.builds(
        lambda h, w, c, spread: _random_pair(seed, h, w, c, spread),
        st.integers(7, 50),
        st.integers(7, 50),
        st.sampled_from([1, 3, 4]),
        st.sampled_from([1, 20, 256]),
    )
)


def _random_pair(seed: int, height: int, width: int, channels: int, spread: int):
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, (1, height, width, channels))
    other = np.clip(base + rng.integers(-spread, spread, base.shape), 0, 255)
    return base.astype(np.uint8), other.astype(np.uint8)


def _constant(*values: int):
    return np.stack([np.full((16, 16, 3), value, dtype=np.uint8) for value in values])


def test_luma_is_weighted_by_rec_601():
    colours = np.array([[[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]]], np.uint8)
    assert luma(colours).tolist() == [[[[76], [150], [29], [9]]]]


def test_psnr_of_a_difference_of_one():
    assert psnr(_constant(7), _constant(8))[0] == pytest.approx(48.1308036086791, abs=1e-12)


def test_psnr_keeps_infinity_of_identical_images():
    values = psnr(_constant(7, 7), _constant(7, 8))
    assert values[0] == np.inf
    assert np.isfinite(values[1])


def test_mean_of_image_psnrs_is_not_the_psnr_of_the_mean_error():
    values = psnr(_constant(100, 100), _constant(101, 110))
    assert values.mean() == pytest.approx(38.1308, abs=1e-4)
    mean_error = np.mean(255**2 / 10 ** (values / 10))
    assert 10 * np.log10(255**2 / mean_error) == pytest.approx(31.0979, abs=1e-4)


def test_psnr_of_the_largest_error_is_exact_for_large_images():
    black, white = (
        np.zeros((1, 1500, 1500, 3), np.uint8),
        np.full((1, 1500, 1500, 3), 255, np.uint8),
    )
    assert psnr(black, white)[0] == 0


def test_ssim_of_constants():
    value = ssim(_constant(100), _constant(120))[0]
    assert value == pytest.approx(0.98361092499836877, abs=1e-12)


def test_ssim_of_extreme_images_does_not_overflow():
    rng = np.random.default_rng(0)
    x = (rng.integers(0, 2, (1, 40, 40, 3)) * 255).astype(np.uint8)
    for y in (x, 255 - x, np.zeros_like(x), np.full_like(x, 255)):
        expected = structural_similarity(x[0], y[0], data_range=255, channel_axis=-1)
        assert ssim(x, y)[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parity
def test_matches_scikit_image_on_photos(photos, degraded):
    pairs = list(zip(photos, degraded, strict=True))
    expected_ssim = [structural_similarity(x, y, data_range=255, channel_axis=-1) for x, y in pairs]
    expected_psnr = [peak_signal_noise_ratio(x, y, data_range=255) for x, y in pairs]
    np.testing.assert_allclose(ssim(photos, degraded), expected_ssim, rtol=0, atol=1e-12)
    np.testing.assert_allclose(psnr(photos, degraded), expected_psnr, rtol=0, atol=1e-12)


@pytest.mark.parity
@settings(max_examples=40)
@given(PAIRS)
def test_matches_scikit_image_on_any_size(pair):
    x, y = pair
    expected = structural_similarity(x[0], y[0], data_range=255, channel_axis=-1)
    assert ssim(x, y)[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parity
def test_gaussian_window_matches_scikit_image(photos, degraded):
    expected = structural_similarity(
        photos[0],
        degraded[0],
        data_range=255,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    value = ssim(photos[:1], degraded[:1], window="gaussian11")[0]
    assert value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parity
def test_float32_precision_matches_the_original_resolution_script(photos, degraded):
    x, y = (images[0].astype(np.float32) / np.float32(255) for images in (photos, degraded))
    expected = structural_similarity(x, y, data_range=1.0, channel_axis=-1)
    value = ssim(photos[:1], degraded[:1], precision="float32")[0]
    assert value == pytest.approx(float(expected), abs=1e-7)
    assert value == pytest.approx(ssim(photos[:1], degraded[:1])[0], abs=1e-6)


@pytest.mark.parity
def test_published_values_of_the_noisy_camera_image():
    camera = data.camera()
    noise = np.random.RandomState(5).randn(*camera.shape) * 20
    noisy = np.clip(camera + noise, 0, 255).astype(camera.dtype)
    x, y = camera[None, :, :, None], noisy[None, :, :, None]
    # The first two are asserted by scikit-image's own tests, the third is the IPOL demo's.
    assert psnr(x, y)[0] == pytest.approx(22.409353363576034, abs=1e-5)
    assert ssim(x, y)[0] == pytest.approx(0.3674518327910367, abs=1e-12)
    assert ssim(x, y, window="gaussian11")[0] == pytest.approx(0.357959, abs=1e-5)


@settings(max_examples=20)
@given(PAIRS)
def test_symmetric_bounded_and_one_for_equal_images(pair):
    x, y = pair
    assert psnr(x, y)[0] == psnr(y, x)[0]
    assert ssim(x, y)[0] == pytest.approx(ssim(y, x)[0], abs=1e-14)
    assert -1 <= ssim(x, y)[0] <= 1
    assert ssim(x, x)[0] == 1


@settings(max_examples=10)
@given(hnp.arrays(np.uint8, (3, 20, 45, 3)), hnp.arrays(np.uint8, (3, 20, 45, 3)))
def test_values_do_not_depend_on_the_batch(x, y):
    singly = [metric(x[i : i + 1], y[i : i + 1])[0] for metric in (psnr, ssim) for i in range(3)]
    assert singly == [*psnr(x, y), *ssim(x, y)]


def test_bad_input_is_named():
    image = np.zeros((1, 16, 16, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="float32"):
        psnr(image.astype(np.float32), image)
    with pytest.raises(ValueError, match=r"\(1, 16, 8, 3\)"):
        ssim(image, image[:, :, :8])
    with pytest.raises(ValueError, match="B >= 1"):
        psnr(image[:0], image[:0])
    with pytest.raises(ValueError, match="at least 7"):
        ssim(image[:, :6], image[:, :6])
    with pytest.raises(ValueError, match="at least 11"):
        ssim(image[:, :9], image[:, :9], window="gaussian11")
