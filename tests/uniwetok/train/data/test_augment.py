from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from PIL import Image
from torchvision import transforms

from uniwetok.randomness import generator
from uniwetok.train.data.augment import cut, to_model_range
from uwt_images.listing import UnreadableImage

SIDES = st.integers(1, 90)


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


@given(SIDES, SIDES, st.sampled_from([8, 16, 33]))
def test_center_crop_is_torchvisions(width: int, height: int, side: int) -> None:
    image = noise(width, height)
    peer = transforms.Compose(
        [transforms.Resize(side), transforms.CenterCrop(side), transforms.PILToTensor()]
    )
    ours = cut(image, (side, side), "center", generator(0))
    torch.testing.assert_close(ours, peer(image), rtol=0, atol=0)


@given(SIDES, SIDES, st.integers(0, 5))
def test_random_crop_is_one_of_torchvisions(width: int, height: int, seed: int) -> None:
    resized = transforms.PILToTensor()(transforms.Resize(16)(noise(width, height)))
    crops = resized.unfold(1, 16, 1).unfold(2, 16, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
    ours = cut(noise(width, height), (16, 16), "random", generator(seed))
    assert (crops == ours).flatten(1).all(1).any()


def test_random_crop_reaches_every_offset() -> None:
    image = Image.fromarray(np.arange(19, dtype=np.uint8)[None, :, None].repeat(16, 0).repeat(3, 2))
    starts = {int(cut(image, (16, 16), "random", generator(seed))[0, 0, 0]) for seed in range(60)}
    assert starts == {0, 1, 2, 3}


@given(SIDES, SIDES, st.integers(1, 40), st.integers(1, 40))
def test_any_size_is_covered(width: int, height: int, cut_width: int, cut_height: int) -> None:
    flat = Image.new("RGB", (width, height), (1, 200, 3))
    pixels = cut(flat, (cut_height, cut_width), "random", generator(0))
    assert pixels.shape == (3, cut_height, cut_width)
    # A crop beyond the resized image would be padded with black.
    assert (pixels == torch.tensor([1, 200, 3])[:, None, None]).all()


def test_wide_buckets_keep_the_shape_of_things() -> None:
    image = noise(60, 40)
    ours = cut(image, (16, 32), "center", generator(0))
    resized = image.resize((32, 21), Image.Resampling.BILINEAR)
    peer = transforms.PILToTensor()(resized.crop((0, 2, 32, 18)))
    torch.testing.assert_close(ours, peer, rtol=0, atol=0)


def test_a_strip_is_not_blown_up() -> None:
    with pytest.raises(UnreadableImage, match="20000x1 pixels are too long a strip"):
        cut(Image.new("RGB", (20000, 1)), (256, 256), "center", generator(0))


def test_model_range() -> None:
    levels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    scaled = to_model_range(levels)
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled, torch.tensor([-1.0, -0.6, 1.0]))
