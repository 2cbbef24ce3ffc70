"""The identity loses nothing and pays for it."""

from __future__ import annotations

import torch

from harness.baselines.lossless import Identity


def test_every_8_bit_image_comes_back_exactly() -> None:
    levels = torch.randint(0, 256, (2, 3, 37, 53), generator=torch.Generator().manual_seed(0))
    images = (levels.double() / 127.5 - 1).float()
    model = Identity()
    model.load("cpu")
    codes = model.encode(images)
    assert torch.equal(model.decode(codes, [0, 1]), images)
    assert [(code.height, code.width) for code in codes] == [(37, 53)] * 2


def test_rate_counts_every_byte_of_the_file() -> None:
    (code,) = Identity().encode(torch.zeros(1, 3, 64, 64))
    assert code.payload.startswith(b"\x89PNG")
    assert code.bits == 8 * len(code.payload)
