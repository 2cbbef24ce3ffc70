from __future__ import annotations

import dataclasses

import pytest
import torch

from uniwetok.losses import (
    AdversarialConfig,
    DistillationConfig,
    EntropyConfig,
    PatchDiscriminator,
    TokenizerLoss,
    TokenizerLossConfig,
)
from uniwetok.losses.total import commitment_loss
from uniwetok.tokenizer.quantizer import quantize, quantize_straight_through

CHANNELS, GROUPS, WIDTH = 16, 2, 12
BARE = TokenizerLossConfig(lpips_weight=0, adversarial=None, distillation=None)


def step() -> dict[str, torch.Tensor]:
    """Tensors of one training step; the leaves are the latents and the reconstruction."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    images = draw(2, 3, 32, 32).tanh()
    latents = (0.01 * draw(2, CHANNELS, 2, 2)).requires_grad_()
    return {
        "images": images,
        "reconstruction": (images + 0.2 * draw(2, 3, 32, 32)).requires_grad_(),
        "latents": latents,
        "codes": quantize_straight_through(latents),
    }


def test_total_is_the_weighted_sum(lpips_loss):
    torch.manual_seed(0)
    config = TokenizerLossConfig(
        lpips_weight=0.7,
        commitment_weight=0.25,
        entropy=EntropyConfig(weight=0.2, token_weight=0.5, codebook_weight=2.0),
        adversarial=AdversarialConfig(generator_weight=0.3),
        distillation=DistillationConfig(weight=1.5, post_weight=0.5),
    )
    loss = TokenizerLoss(
        config, channels=CHANNELS, groups=GROUPS, lpips=lpips_loss, teacher_width=WIDTH
    )
    tensors = step()
    terms = loss(
        **tensors,
        fake_logits=PatchDiscriminator(4).generator_logits(tensors["reconstruction"]),
        target=torch.randn(2, WIDTH),
    )
    v = {name: value.item() for name, value in terms.parts().items()}
    wanted = (
        v["l1"]
        + 0.7 * v["lpips"]
        + 0.25 * v["commitment"]
        + 0.2 * (0.5 * v["token_entropy"] - 2.0 * v["codebook_entropy"])
        + 0.3 * v["generator"]
        + 1.5 * (v["pre_distillation"] + 0.5 * v["post_distillation"])
    )
    assert terms.total.item() == pytest.approx(wanted, rel=1e-6)
    broadcast = (tensors["images"] - tensors["reconstruction"]).abs() + 0.7 * lpips_loss(
        tensors["images"], tensors["reconstruction"]
    ).view(-1, 1, 1, 1)
    assert v["l1"] + 0.7 * v["lpips"] == pytest.approx(broadcast.mean().item(), rel=1e-6)
    terms.total.backward()
    for leaf in ("latents", "reconstruction"):
        gradient = tensors[leaf].grad
        assert gradient is not None
        assert gradient.isfinite().all()
        assert gradient.any()
    assert all(weight.grad is not None for weight in loss.parameters())
    assert [name for name, term in vars(terms).items() if term.requires_grad] == ["total"]


def test_default_weights_are_the_released_ones():
    config = TokenizerLossConfig()
    assert (config.lpips_weight, config.commitment_weight, config.entropy.weight) == (1, 0, 0.1)
    assert config.adversarial == AdversarialConfig(
        generator_weight=0.1, lecam_weight=0.05, lecam_decay=0.999
    )


def test_parts_left_out():
    terms = TokenizerLoss(BARE, channels=CHANNELS, groups=GROUPS)(**step())
    assert (
        terms.lpips is terms.generator is terms.pre_distillation is terms.post_distillation is None
    )
    assert set(terms.parts()) == {"l1", "token_entropy", "codebook_entropy", "commitment"}


def test_squared_errors_are_added_where_they_are_weighed():
    tensors = step()
    plain = TokenizerLoss(BARE, channels=CHANNELS, groups=GROUPS)(**tensors).total
    config = dataclasses.replace(BARE, l2_weight=3.0)
    total = TokenizerLoss(config, channels=CHANNELS, groups=GROUPS)(**tensors).total
    squares = (tensors["images"] - tensors["reconstruction"]).square().mean()
    torch.testing.assert_close(total, plain + 3 * squares)


def test_frozen_latents():
    """As where only the decoder is trained."""
    tensors = {name: tensor.detach() for name, tensor in step().items()}
    tensors["reconstruction"].requires_grad_()
    TokenizerLoss(BARE, channels=CHANNELS, groups=GROUPS)(**tensors).total.backward()
    assert tensors["reconstruction"].grad is not None


def test_checkpoint_holds_the_heads_alone(lpips_loss):
    loss = TokenizerLoss(
        TokenizerLossConfig(),
        channels=CHANNELS,
        groups=GROUPS,
        lpips=lpips_loss,
        teacher_width=WIDTH,
    )
    assert set(loss.state_dict()) == {
        f"distillation.{head}.projection.{kind}"
        for head in ("pre", "post")
        for kind in ("weight", "bias")
    }


def test_gradient_of_the_total():
    loss = TokenizerLoss(BARE, channels=CHANNELS, groups=GROUPS)
    tensors = {name: tensor.detach().double() for name, tensor in step().items()}
    images, codes = tensors["images"], tensors["codes"]
    assert torch.autograd.gradcheck(
        lambda x, z: loss(images, x, z, codes).total,
        (tensors["reconstruction"].requires_grad_(), tensors["latents"].requires_grad_()),
        fast_mode=True,
        eps=1e-8,
    )


def test_bf16_autocast(lpips_loss):
    config = TokenizerLossConfig(adversarial=None, distillation=None)
    loss = TokenizerLoss(config, channels=CHANNELS, groups=GROUPS, lpips=lpips_loss)
    wanted = loss(**step()).total
    tensors = step()
    with torch.autocast("cpu", torch.bfloat16):
        total = loss(**tensors).total
    total.backward()
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, wanted, rtol=0.02, atol=0)
    assert tensors["reconstruction"].grad is not None
    assert tensors["reconstruction"].grad.isfinite().all()


def test_missing_parts_are_named(lpips_loss):
    with pytest.raises(ValueError, match=r"lpips_weight=1\.0 needs lpips"):
        TokenizerLoss(TokenizerLossConfig())
    with pytest.raises(ValueError, match="distillation needs teacher_width"):
        TokenizerLoss(TokenizerLossConfig(), lpips=lpips_loss)
    adversarial = TokenizerLossConfig(lpips_weight=0, distillation=None)
    with pytest.raises(ValueError, match="pass fake_logits, or set adversarial=None"):
        TokenizerLoss(adversarial, channels=CHANNELS, groups=GROUPS)(**step())
    distilled = TokenizerLossConfig(lpips_weight=0, adversarial=None)
    loss = TokenizerLoss(distilled, channels=CHANNELS, groups=GROUPS, teacher_width=WIDTH)
    with pytest.raises(ValueError, match="pass target, or set distillation=None"):
        loss(**step())


def test_sizes_must_agree():
    tensors = {**step(), "reconstruction": torch.zeros(2, 3, 64, 64)}
    with pytest.raises(ValueError, match="crop or pad them"):
        TokenizerLoss(BARE, channels=CHANNELS, groups=GROUPS)(**tensors)


def test_commitment_is_the_mean_squared_distance_and_spares_the_codes():
    latents = torch.tensor([[0.5, -0.2, 0.0]], requires_grad=True)
    codes = quantize(latents.detach()).requires_grad_()
    loss = commitment_loss(latents, codes)
    assert loss.item() == pytest.approx((0.25 + 0.64 + 1.0) / 3)
    loss.backward()
    torch.testing.assert_close(latents.grad, torch.tensor([[-0.5, 0.8, 1.0]]) * 2 / 3)
    assert codes.grad is None


def test_gradients_of_commitment():
    latents = torch.linspace(-1, 1, 14, dtype=torch.float64, requires_grad=True)
    codes = quantize(latents.detach())
    assert torch.autograd.gradcheck(lambda x: commitment_loss(x, codes), latents)


def test_commitment_in_half_precision_is_averaged_in_float32():
    assert commitment_loss(torch.zeros(4).bfloat16(), torch.ones(4)).dtype == torch.float32


def test_shapes_of_latents_and_codes_must_agree():
    with pytest.raises(ValueError, match=r"\(2, 3\) and codes \(2, 4\) differ"):
        commitment_loss(torch.zeros(2, 3), torch.ones(2, 4))
