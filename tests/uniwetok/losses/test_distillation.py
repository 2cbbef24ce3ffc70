from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from uniwetok.losses import DistillationConfig
from uniwetok.losses.distillation import (
    AttentionHead,
    LinearHead,
    PrePostDistillation,
    cosine_loss,
)
from uniwetok.tokenizer.quantizer import quantize_straight_through

CHANNELS, WIDTH = 16, 32


def inputs(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents, their straight-through codes, and a teacher's embeddings."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(3, CHANNELS, 2, 4, generator=generator, dtype=dtype).tanh()
    latents.requires_grad_()
    codes = quantize_straight_through(latents)
    target = F.normalize(torch.randn(3, WIDTH, generator=generator, dtype=dtype), dim=-1)
    return latents, codes, target


@pytest.mark.parametrize("shape", [(2, 128, 8, 8), (1, 128, 4, 12)])
def test_head_shapes_and_sizes(shape):
    torch.manual_seed(0)
    linear, attention = LinearHead(128, 1152), AttentionHead(128, 1152)
    assert linear(torch.randn(shape)).shape == (shape[0], 1152)
    assert attention(torch.randn(shape)).shape == (shape[0], 1152)
    assert sum(p.numel() for p in linear.parameters()) == 128 * 1152 + 1152


def test_attention_head_ignores_the_order_of_tokens():
    torch.manual_seed(0)
    head = AttentionHead(CHANNELS, WIDTH, heads=4)
    latents = torch.randn(2, CHANNELS, 3, 3)
    torch.testing.assert_close(head(latents), head(latents.flip(2, 3)))


@pytest.mark.parametrize("kind", ["linear", "attention"])
def test_terms(kind):
    config = DistillationConfig(head=kind, post_weight=0.5, attention_heads=4)
    loss = PrePostDistillation(config, CHANNELS, WIDTH)
    terms = loss(*inputs())
    assert terms.pre is not None
    assert terms.post is not None
    assert 0 <= terms.pre.item() <= 2
    assert 0 <= terms.post.item() <= 2
    torch.testing.assert_close(terms.total, terms.pre + 0.5 * terms.post)
    assert loss.pre is not loss.post


def test_cosine_loss_range():
    pooled = torch.randn(4, 8)
    assert cosine_loss(pooled, 3 * pooled).item() == pytest.approx(0, abs=1e-6)
    assert cosine_loss(pooled, -pooled).item() == pytest.approx(2)
    orthogonal = cosine_loss(torch.eye(2), torch.eye(2).flip(0))
    assert orthogonal.item() == pytest.approx(1)


@pytest.mark.parametrize(("pre", "post"), [(True, False), (False, True)])
def test_terms_switched_off(pre, post):
    loss = PrePostDistillation(DistillationConfig(pre=pre, post=post), CHANNELS, WIDTH)
    terms = loss(*inputs())
    assert (terms.pre is not None, terms.post is not None) == (pre, post)
    assert (loss.pre is not None, loss.post is not None) == (pre, post)
    assert terms.total == (terms.pre if pre else terms.post)


def test_both_terms_reach_the_latents_and_none_the_teacher():
    for config in (DistillationConfig(post=False), DistillationConfig(pre=False)):
        latents, codes, target = inputs()
        target.requires_grad_()
        PrePostDistillation(config, CHANNELS, WIDTH)(latents, codes, target).total.backward()
        assert latents.grad is not None
        assert latents.grad.abs().sum() > 0
        assert target.grad is None


@pytest.mark.parametrize("kind", ["linear", "attention"])
def test_gradients(kind):
    torch.manual_seed(0)
    config = DistillationConfig(head=kind, attention_heads=4)
    loss = PrePostDistillation(config, CHANNELS, WIDTH).double()
    latents, codes, target = (x.detach() for x in inputs(torch.float64))
    assert torch.autograd.gradcheck(
        lambda x, q: loss(x, q, target).total,
        (latents.requires_grad_(), codes.requires_grad_()),
        fast_mode=True,
    )


def test_bf16_autocast():
    torch.manual_seed(0)
    loss = PrePostDistillation(
        DistillationConfig(head="attention", attention_heads=4), CHANNELS, WIDTH
    )
    with torch.autocast("cpu", torch.bfloat16):
        terms = loss(*inputs())
    assert terms.total.dtype == torch.float32
    torch.testing.assert_close(terms.total, loss(*inputs()).total, rtol=0.02, atol=0)


def test_width_of_another_teacher():
    latents, codes, target = inputs()
    loss = PrePostDistillation(DistillationConfig(), CHANNELS, 8)
    with pytest.raises(ValueError, match=r"embeddings are \(3, 32\), the heads give \(3, 8\)"):
        loss(latents, codes, target)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match=r"attention_heads=5 does not divide.*32"):
        AttentionHead(CHANNELS, WIDTH, heads=5)
