"""ADM's crops, by what they must hold."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from uniwetok.randomness import generator
from uniwetok.train.ar.config import CodesConfig
from uniwetok.train.codes.views import FreshViews, center_view, random_view
from uwt_images.listing import UnreadableImage


def ramp(width: int, height: int) -> Image.Image:
    """Red grows to the right, green downwards, over the whole range."""
    x = np.broadcast_to(np.linspace(0, 255, width), (height, width))
    y = np.broadcast_to(np.linspace(0, 255, height)[:, None], (height, width))
    return Image.fromarray(np.stack([x, y, np.zeros_like(x)], -1).astype(np.uint8))


@pytest.mark.parametrize("size", [(100, 100), (37, 300), (600, 33), (512, 512)])
def test_views_have_their_size(size: tuple[int, int]) -> None:
    image = ramp(*size)
    assert center_view(image, 32).shape == (3, 32, 32)
    for number in range(5):
        assert random_view(image, 32, 0.8, generator(0, number)).shape == (3, 32, 32)


def test_the_center_is_the_center() -> None:
    view = center_view(ramp(64, 128), 32).float()
    assert view[0].mean() == pytest.approx(127, abs=2)
    assert view[1].mean() == pytest.approx(127, abs=2)
    assert float(view[0].max() - view[0].min()) > 240, "all of the shorter side is seen"
    assert float(view[1].max() - view[1].min()) == pytest.approx(127, abs=6), "half of the longer"


def test_random_crops_keep_at_least_the_smallest_share() -> None:
    shares, mirrored, offsets = [], 0, set()
    for number in range(200):
        view = random_view(ramp(64, 64), 32, 0.5, generator(1, number)).float()
        row = view[0, 16]
        mirrored += bool(row[0] > row[-1])
        shares.append(float(row.max() - row.min()) / 255)
        offsets.add(int(view[1, 0, 0]))
    assert 0.4 < min(shares) < 0.6 < 0.9 < max(shares) <= 1
    assert 70 < mirrored < 130
    assert len(offsets) > 10


def test_a_strip_is_unreadable_rather_than_resized_to_gigabytes() -> None:
    with pytest.raises(UnreadableImage, match="too long a strip"):
        center_view(Image.new("RGB", (60_000, 1)), 256)


def test_fresh_views_end_with_the_center_and_its_mirror_image() -> None:
    image = ramp(64, 64)
    views = FreshViews(CodesConfig(resolution=32), positions=100)
    center = center_view(image, 32)
    late = {views(image, (32, 32), generator(0, i), 99).numpy().tobytes() for i in range(20)}
    assert late == {center.numpy().tobytes(), center.flip(-1).numpy().tobytes()}
    early = {views(image, (32, 32), generator(0, i), 0).numpy().tobytes() for i in range(20)}
    assert len(early) > 10
