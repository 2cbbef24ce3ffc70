from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from uniwetok.losses import AdversarialConfig, DiscriminatorLoss, PatchDiscriminator
from uniwetok.losses.adversarial import LeCam, generator_loss, hinge_loss


def logits(seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(3, 1, 4, 4, generator=generator, dtype=dtype)).requires_grad_()


def test_discriminator_has_the_released_size():
    discriminator = PatchDiscriminator()
    assert sum(p.numel() for p in discriminator.parameters()) == 2_765_633
    shapes = {k: tuple(v.shape) for k, v in discriminator.state_dict().items()}
    assert shapes["main.0.weight"] == (64, 3, 4, 4)
    assert shapes["main.8.weight"] == (512, 256, 4, 4)
    assert shapes["main.9.running_var"] == (512,)
    assert shapes["main.11.bias"] == (1,)
    assert "main.2.bias" not in shapes
    assert discriminator(torch.zeros(1, 3, 256, 256)).shape == (1, 1, 30, 30)


def test_discriminator_initialisation():
    torch.manual_seed(0)
    for module in PatchDiscriminator().modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 10_000:
            assert module.weight.mean().item() == pytest.approx(0, abs=3e-4)
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.02)
        if isinstance(module, nn.BatchNorm2d):
            assert module.weight.mean().item() == pytest.approx(1, abs=0.01)
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.3)
            assert not module.bias.any()


@pytest.mark.parametrize("training", [True, False])
def test_discriminator_gradients(training):
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(4).double().train(training)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(discriminator, images, fast_mode=True)


def test_generator_logits_leave_the_weights_alone():
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(4)
    images = torch.randn(2, 3, 32, 32, requires_grad=True)
    generator_loss(discriminator.generator_logits(images)).backward()
    gradient, images.grad = images.grad, None
    assert all(weight.grad is None for weight in discriminator.parameters())
    generator_loss(discriminator(images)).backward()
    torch.testing.assert_close(gradient, images.grad)
    assert discriminator.get_buffer("main.3.num_batches_tracked") == 2


def test_generator_loss_is_binary_cross_entropy_of_each_images_mean():
    fake = logits(0)
    means = fake.mean((1, 2, 3))
    wanted = F.binary_cross_entropy_with_logits(means, torch.ones_like(means))
    torch.testing.assert_close(generator_loss(fake), wanted)
    assert generator_loss(torch.zeros(2, 1, 3, 3)).item() == pytest.approx(math.log(2))


def test_hinge_loss():
    real = torch.tensor([2.0, 0.0, -1.0]).view(1, 1, 1, 3)
    fake = torch.tensor([-2.0, 0.0, 1.0]).view(1, 1, 1, 3)
    assert hinge_loss(real, fake).item() == pytest.approx(0.5 * (3 / 3 + 3 / 3))
    assert hinge_loss(torch.zeros_like(real), torch.zeros_like(fake)).item() == 1


def test_gradients_of_losses():
    assert torch.autograd.gradcheck(generator_loss, logits(0))
    assert torch.autograd.gradcheck(hinge_loss, (logits(0), logits(1)))
    lecam = LeCam().double().eval()
    lecam.real_average.fill_(0.3)
    lecam.fake_average.fill_(-0.2)
    assert torch.autograd.gradcheck(lecam, (logits(0), logits(1)))


def test_lecam_follows_the_mean_logits_from_0():
    lecam = LeCam(decay=0.9)
    real_average = fake_average = 0.0
    for seed in range(4):
        real, fake = logits(seed, torch.float32), logits(seed + 10, torch.float32)
        value = lecam(real, fake)
        real_average = 0.9 * real_average + 0.1 * real.mean().item()
        fake_average = 0.9 * fake_average + 0.1 * fake.mean().item()
        wanted = (
            F.relu(real - fake_average).pow(2).mean() + F.relu(real_average - fake).pow(2).mean()
        )
        torch.testing.assert_close(value, wanted)
    assert lecam.real_average.item() == pytest.approx(real_average, abs=1e-6)
    assert lecam.fake_average.item() == pytest.approx(fake_average, abs=1e-6)


def test_lecam_averages_are_in_checkpoints_and_rest_in_evaluation():
    loss = DiscriminatorLoss()
    loss(logits(0, torch.float32), logits(1, torch.float32))
    assert set(loss.state_dict()) == {"lecam.real_average", "lecam.fake_average"}
    resumed = DiscriminatorLoss()
    resumed.load_state_dict(loss.state_dict())
    assert resumed.lecam.real_average == loss.lecam.real_average != 0
    resumed.eval()(logits(2, torch.float32), logits(3, torch.float32))
    assert resumed.lecam.fake_average == loss.lecam.fake_average


def test_lecam_averages_change_between_forward_and_backward():
    """As with accumulated gradients."""
    loss = DiscriminatorLoss()
    fake = logits(1, torch.float32)
    first = loss(logits(0, torch.float32), fake).total
    loss(logits(2, torch.float32), logits(3, torch.float32))
    first.backward()
    assert fake.grad is not None


def test_discriminator_loss_weighs_its_parts():
    terms = DiscriminatorLoss(AdversarialConfig(lecam_weight=0.5))(logits(0), logits(1))
    torch.testing.assert_close(terms.total, terms.hinge + 0.5 * terms.lecam)
    torch.testing.assert_close(terms.hinge, hinge_loss(logits(0), logits(1)).detach())
    torch.testing.assert_close(terms.real_logit, logits(0).mean().detach())
    torch.testing.assert_close(terms.fake_logit, logits(1).mean().detach())
    assert terms.total.requires_grad
    assert not terms.hinge.requires_grad


def test_bf16_logits_are_averaged_in_float32():
    real, fake = logits(0, torch.float32).bfloat16(), logits(1, torch.float32).bfloat16()
    assert generator_loss(fake).dtype == torch.float32
    assert DiscriminatorLoss()(real, fake).total.dtype == torch.float32
