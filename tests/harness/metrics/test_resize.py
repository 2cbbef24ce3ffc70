from __future__ import annotations

import numpy as np
import pytest
import torch
from cleanfid.resize import build_resizer
from skimage import data
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from harness.metrics.resize import bilinear, pil_bicubic, tf1_bilinear


def _tensor(images):
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)


@pytest.mark.parity
@pytest.mark.parametrize("shape", [(256, 256), (300, 451), (299, 299), (64, 40), (1, 1)])
def test_tf1_bilinear_equals_torch_fidelity_bit_for_bit(shape):
    images = _tensor(data.astronaut()[None, : shape[0], : shape[1]])
    expected = interpolate_bilinear_2d_like_tensorflow1x(
        images.float(), size=(299, 299), align_corners=False
    )
    assert torch.equal(tf1_bilinear(images, 299), expected)


@pytest.mark.parity
def test_bilinear_equals_pytorch_fid(photos):
    images = _tensor(photos[:2]).float() / 255
    expected = torch.nn.functional.interpolate(
        images, size=(299, 299), mode="bilinear", align_corners=False
    )
    assert torch.equal(bilinear(images, 299), expected)


@pytest.mark.parity
@pytest.mark.parametrize("image", ["astronaut", "chelsea", "coffee", "rocket"])
@pytest.mark.parametrize("side", [256, None])
def test_bicubic_equals_clean_fid(image, side):
    pixels = getattr(data, image)()[:side, :side]
    expected = build_resizer("clean")(pixels).transpose(2, 0, 1)
    value = pil_bicubic(_tensor(pixels[None]), 299).clamp(0, 255)[0].numpy()
    assert np.linalg.norm(value - expected) <= 1e-7 * np.linalg.norm(expected)


def test_constants_stay_constant():
    images = torch.full((1, 3, 37, 50), 77, dtype=torch.uint8)
    for resize in (tf1_bilinear, bilinear, pil_bicubic):
        torch.testing.assert_close(resize(images, 299), torch.full((1, 3, 299, 299), 77.0))


@pytest.mark.parametrize("resize", [tf1_bilinear, bilinear, pil_bicubic])
@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (1, 1, 8, 8), (3, 8, 8)])
def test_bad_shape_is_named(resize, shape):
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\)"):
        resize(torch.zeros(shape), 299)
