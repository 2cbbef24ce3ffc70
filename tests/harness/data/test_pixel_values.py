"""Float tensors and 8-bit images: the way there and back changes nothing."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from harness.data.images import to_images, to_tensor


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
