"""Float tensors and 8-bit images: the way there and back changes nothing."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data.images import Rounding, through_float, to_float, to_images, to_tensor, to_uint8


def test_all_256_levels_come_back() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(np.stack([levels, levels.T, 255 - levels], axis=-1))
    tensor = to_tensor([image, image])
    assert tensor.shape == (2, 3, 16, 16)
    assert tensor.dtype == torch.float32
    assert (tensor.min(), tensor.max()) == (-1, 1)
    for back in to_images(tensor):
        np.testing.assert_array_equal(np.asarray(back), np.asarray(image))


def test_values_out_of_range_are_clamped_and_others_rounded_to_the_nearest() -> None:
    values = torch.tensor([-3.0, -1.0, 0.4 / 127.5 - 1, 0.6 / 127.5 - 1, 1.0, 7.0])
    (image,) = to_images(values.expand(1, 3, 1, 6))
    assert np.asarray(image)[0, :, 0].tolist() == [0, 0, 0, 1, 255, 255]


def test_grey_and_palette_images_become_rgb() -> None:
    assert to_tensor([Image.new("L", (4, 2), 255)]).shape == (1, 3, 2, 4)
    assert to_tensor([Image.new("P", (4, 2))]).shape == (1, 3, 2, 4)


def test_floats_are_the_formula_rounded_once() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    exact = (2 * levels.astype(np.float64) - 255) / 255
    np.testing.assert_array_equal(
        to_float(levels).numpy(), exact.astype(np.float32).transpose(0, 3, 1, 2)
    )


@pytest.mark.parametrize("rule", get_args(Rounding))
def test_a_table_is_the_way_through_floats(rule: Rounding) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 30, 3), dtype=np.uint8)
    looked_up = through_float(images, rule)
    np.testing.assert_array_equal(looked_up, to_uint8(to_float(images), rule))
    assert looked_up.flags.c_contiguous


def test_truncation_lowers_95_levels_by_one() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    fallen = levels.astype(int) - through_float(levels, "truncate")
    assert np.bincount(fallen[..., 0].ravel()).tolist() == [161, 95]
