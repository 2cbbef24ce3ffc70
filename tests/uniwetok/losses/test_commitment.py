from __future__ import annotations

import pytest
import torch

from uniwetok.losses.commitment import commitment_loss
from uniwetok.tokenizer.quantizer import quantize


def test_is_the_mean_squared_distance_and_spares_the_codes():
    latents = torch.tensor([[0.5, -0.2, 0.0]], requires_grad=True)
    codes = quantize(latents.detach()).requires_grad_()
    loss = commitment_loss(latents, codes)
    assert loss.item() == pytest.approx((0.25 + 0.64 + 1.0) / 3)
    loss.backward()
    torch.testing.assert_close(latents.grad, torch.tensor([[-0.5, 0.8, 1.0]]) * 2 / 3)
    assert codes.grad is None


def test_gradients():
    latents = torch.linspace(-1, 1, 14, dtype=torch.float64, requires_grad=True)
    codes = quantize(latents.detach())
    assert torch.autograd.gradcheck(lambda x: commitment_loss(x, codes), latents)


def test_half_precision_is_averaged_in_float32():
    assert commitment_loss(torch.zeros(4).bfloat16(), torch.ones(4)).dtype == torch.float32


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(2, 3\) and codes \(2, 4\) differ"):
        commitment_loss(torch.zeros(2, 3), torch.ones(2, 4))
