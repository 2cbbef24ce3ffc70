from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.metrics.today import DISTS_HEADS, dists_peer
from benchmarks.random_weights import random_trunk_state_dict
from harness.data import assets
from harness.data.digests import sha256_file
from harness.metrics.dists import Dists, shortened


@pytest.fixture(scope="module")
def trunk():
    return random_trunk_state_dict("vgg", 0)


@pytest.fixture(scope="module")
def metric(trunk):
    return Dists(trunk, DISTS_HEADS)


def signed(images: np.ndarray, side: int = 32) -> torch.Tensor:
    cropped = np.ascontiguousarray(images[:, 80 : 80 + side, 80 : 80 + side + 6])
    return torch.from_numpy(cropped).permute(0, 3, 1, 2).float() / 127.5 - 1


@pytest.mark.parity
def test_distances_match_torchmetrics(metric, trunk, photos, degraded) -> None:
    # In float64, for its variances of float32 maps cancel to a relative 1e-5.
    peer = dists_peer(trunk).double()
    x, y = signed(photos[:1]), signed(degraded[:1])
    for other in (y, x * 0.5):
        expected = peer((x.double() + 1) / 2, (other.double() + 1) / 2)
        np.testing.assert_allclose(metric(x, other), expected.detach(), rtol=0, atol=1e-7)


def test_the_asset_is_the_file_that_torchmetrics_ships() -> None:
    assert sha256_file(DISTS_HEADS) == assets.find("dists").sha256


def test_identical_images_are_at_distance_zero_and_noise_moves_them(metric, photos) -> None:
    x = signed(photos[:2], 16)
    np.testing.assert_allclose(metric(x, x), 0, atol=1e-12)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    weak, strong = (metric(x, (x + noise * size).clamp(-1, 1)) for size in (0.05, 0.3))
    assert bool((weak > 0).all())
    assert bool((weak < strong).all())
    np.testing.assert_allclose(metric(x[1:], x[:1]), metric(x[:1], x[1:]), rtol=1e-9)


def test_larger_images_are_resized_as_the_authors_resize_them() -> None:
    from torchvision.transforms.functional import resize, to_pil_image

    levels = np.random.default_rng(0).integers(0, 256, (2, 300, 411, 3), dtype=np.uint8)
    expected = [np.asarray(resize(to_pil_image(each), 256)) for each in levels]
    np.testing.assert_array_equal(shortened(levels), np.stack(expected))
    np.testing.assert_array_equal(shortened(levels[:, :200]), levels[:, :200])


def test_bad_input_is_named(metric, trunk, photos) -> None:
    x = signed(photos[:1])
    with pytest.raises(ValueError, match=r"reconstruction.*outside"):
        metric(x, x * 3)
    with pytest.raises(ValueError, match="same size"):
        metric(x, x[..., 1:])
    with pytest.raises(ValueError, match="DISTS's heads"):
        Dists(trunk, {"alpha": torch.zeros(1)})
