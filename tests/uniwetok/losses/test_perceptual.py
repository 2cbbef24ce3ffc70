from __future__ import annotations

import importlib.util

import lpips
import pytest
import torch

from uniwetok.losses import Lpips, MissingWeights


def pair(side: int = 48, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(2, 3, side, side, generator=generator, dtype=dtype) * 2 - 1
    noise = torch.randn(2, 3, side, side, generator=generator, dtype=dtype)
    return images, (images + 0.3 * noise).requires_grad_()


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:.*weight:UserWarning:torchvision")
def test_equals_the_lpips_package():
    torch.manual_seed(0)
    theirs = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    state = {
        f"features.{name.split('.', 1)[1]}": weight
        for name, weight in theirs.net.named_parameters()
    }
    images, reconstruction = pair()
    wanted = theirs(images, reconstruction).flatten()
    distances = Lpips(state)(images, reconstruction)
    torch.testing.assert_close(distances, wanted, rtol=0, atol=1e-6)
    (wanted_gradient,) = torch.autograd.grad(wanted.mean(), reconstruction)
    (gradient,) = torch.autograd.grad(distances.mean(), reconstruction)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-3, atol=1e-8)


def test_identical_images_have_distance_0(lpips_loss):
    images, _ = pair()
    assert torch.equal(lpips_loss(images, images), torch.zeros(2))


def test_gradients(trunk):
    images, reconstruction = pair(16, torch.float64)
    module = Lpips(trunk).double()
    assert torch.autograd.gradcheck(
        lambda x: module(images[:1], x),
        reconstruction[:1].detach().requires_grad_(),
        fast_mode=True,
    )


def test_gradient_is_finite_where_all_features_are_0(trunk):
    """The lpips package divides 0 by 0 in this gradient."""
    dead = {k: v - 100 if k == "features.2.bias" else v for k, v in trunk.items()}
    images, reconstruction = pair()
    Lpips(dead)(images, reconstruction).sum().backward()
    assert reconstruction.grad is not None
    assert torch.isfinite(reconstruction.grad).all()


def test_images_receive_no_gradient(lpips_loss):
    images, reconstruction = pair()
    images.requires_grad_()
    lpips_loss(images, reconstruction).sum().backward()
    assert images.grad is None


def test_bf16_autocast_returns_float32(lpips_loss):
    images, reconstruction = pair()
    with torch.autocast("cpu", torch.bfloat16):
        distances = lpips_loss(images, reconstruction)
    assert distances.dtype == torch.float32
    torch.testing.assert_close(distances, lpips_loss(images, reconstruction), rtol=0.05, atol=0)


def test_network_is_no_part_of_checkpoints_and_optimisers(lpips_loss):
    assert not lpips_loss.state_dict()
    assert not list(lpips_loss.parameters())


def test_trunk_from_a_file(trunk, tmp_path, lpips_loss):
    path = tmp_path / "vgg16.pth"
    torch.save({**trunk, "classifier.0.bias": torch.zeros(3)}, path)
    assert torch.equal(Lpips(path)(*pair()), lpips_loss(*pair()))


def test_missing_weights_say_what_to_fetch(tmp_path):
    with pytest.raises(MissingWeights, match=r"vgg16\.pth is missing; run `uwt-eval assets fetch"):
        Lpips(tmp_path / "vgg16.pth")


def test_missing_heads_say_what_to_install(trunk, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingWeights, match="install lpips"):
        Lpips(trunk)


def test_weights_of_another_network(trunk):
    with pytest.raises(ValueError, match=r"features.0.weight is missing, expected \(64, 3, 3, 3\)"):
        Lpips({k: v for k, v in trunk.items() if k != "features.0.weight"})
    with pytest.raises(ValueError, match=r"features.0.bias is of shape \(1,\)"):
        Lpips({**trunk, "features.0.bias": torch.zeros(1)})


def test_bad_images(lpips_loss):
    with pytest.raises(ValueError, match="compares two batches"):
        lpips_loss(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 64))
    with pytest.raises(ValueError, match="8x32 are too small"):
        lpips_loss(torch.zeros(1, 3, 8, 32), torch.zeros(1, 3, 8, 32))
