from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from uniwetok.ar import BitDance, BitDanceConfig
from uniwetok.losses import GenerativeAwarePrior, PriorConfig
from uniwetok.tokenizer.quantizer import quantize_straight_through

if TYPE_CHECKING:
    from collections.abc import Callable

BITS = 8
TINY = {
    "width": 32,
    "heads": 2,
    "layers": 1,
    "diffusion_width": 32,
    "diffusion_blocks": 2,
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny(grid: int = 2, **choices: object) -> GenerativeAwarePrior:
    """A small prior whose weights all take part, unlike the initial ones."""
    torch.manual_seed(0)
    prior = GenerativeAwarePrior(PriorConfig(**{**TINY, **choices}), BITS, grid)
    with torch.no_grad():
        for weight in prior.parameters():
            weight.add_(torch.randn(weight.shape) * 0.1)
    return prior


def random_codes(batch: int = 3, height: int = 2, width: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(batch, BITS, height, width, generator=seeded(seed)).sign()


def parameters(module: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def test_default_size_is_bitdance_t():
    """A BitDance of these sizes with one class token holds it as the row of its single class."""
    with torch.device("meta"):
        prior = GenerativeAwarePrior(PriorConfig())
        without = GenerativeAwarePrior(PriorConfig(query=False))
        sizes = {"width": 320, "heads": 5, "layers": 4, "diffusion_width": 320}
        model = BitDance(
            BitDanceConfig(
                **sizes, diffusion_blocks=4, diffusion_modulations=1, classes=1, class_tokens=1
            )
        )
    assert parameters(prior) == 8_606_848
    assert parameters(prior) == parameters(model) - 320
    assert parameters(prior) - parameters(without) == 320


@pytest.mark.parametrize(("objective", "expected"), [("x", 1.0), ("bitdance", 3.08)])
def test_loss_at_the_initial_weights(objective, expected):
    """The head starts at zero, so the loss is that of predicting 0."""
    config = PriorConfig(**TINY, objective=objective, repeats=200)
    loss = GenerativeAwarePrior(config, BITS, 2)(random_codes(), seeded())
    assert loss.item() == pytest.approx(expected, abs=0.25 if objective == "bitdance" else 1e-6)


def test_loss_is_equation_7():
    prior, codes = tiny(), random_codes()
    tokens = codes.flatten(2).mT
    condition = prior.conditions(tokens, (2, 2)).flatten(0, 1)
    generator = seeded(7)
    time = torch.rand(12, generator=generator)
    noise = torch.randn(12, BITS, generator=generator)
    target = tokens.flatten(0, 1)
    noisy = time[:, None] * target + (1 - time[:, None]) * noise
    expected = (target - prior.head.net(noisy, time, condition)).square().mean()
    torch.testing.assert_close(prior(codes, seeded(7)), expected)


def test_conditions_depend_on_earlier_tokens_alone():
    for query in (True, False):
        prior = tiny(query=query)
        tokens = random_codes(height=2, width=3).flatten(2).mT
        other = tokens.clone()
        other[:, 3] *= -1
        before, after = (prior.conditions(each, (2, 3)) for each in (tokens, other))
        changed = (before != after).any(2).any(0).tolist()
        assert changed == ([False] * 4 + [True] * 2)[0 if query else 1 :]


def test_without_query_the_first_token_is_context_only():
    prior = tiny(query=False, detach_context=True)
    codes = random_codes().requires_grad_()
    prior(codes, seeded()).backward()
    predicted = codes.grad.flatten(2).any(1).any(0).tolist()
    assert predicted == [False, True, True, True]


@pytest.mark.parametrize("choices", [{"query": True}, {"query": False}, {"objective": "bitdance"}])
def test_gradients(choices):
    prior = tiny(**choices).double()
    codes = random_codes(2).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: prior(x, seeded()), codes)


def test_every_weight_gets_a_gradient():
    prior = tiny()
    prior(random_codes(), seeded()).backward()
    for name, weight in prior.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.any(), name


def latent_gradient(**choices: bool) -> Tensor:
    latents = torch.randn(3, BITS, 2, 2, generator=seeded()).tanh().requires_grad_()
    loss = tiny(**choices)(quantize_straight_through(latents), seeded(1))
    return torch.autograd.grad(loss, latents)[0]


def test_gradient_reaches_latents_as_target_and_as_context():
    whole = latent_gradient()
    as_target = latent_gradient(detach_context=True)
    as_context = latent_gradient(detach_target=True)
    torch.testing.assert_close(as_target + as_context, whole)
    assert as_target.flatten(2).any(1).all()
    # No token is predicted from the last one.
    assert as_context.flatten(2).any(1).all(0).tolist() == [True, True, True, False]


def test_switches_that_leave_no_way_to_the_latents():
    codes = random_codes().requires_grad_()
    loss = tiny(detach_target=True, detach_context=True)(codes, seeded())
    assert torch.autograd.grad(loss, codes, allow_unused=True) == (None,)


@pytest.mark.parametrize("shape", [(4, 6), (2, 3), (1, 2), (12, 4)])
def test_other_grids(shape):
    for query in (True, False):
        prior = tiny(grid=4, query=query)
        prior(random_codes(2, *shape), seeded()).backward()
        assert prior.trunk.pos_for_diff.weight.grad.any()


def test_positions_are_interpolated():
    prior = tiny(grid=4)
    learned = prior.trunk.pos_for_diff.weight
    assert prior._positions((4, 4)) is learned
    halved = learned.view(2, 2, 2, 2, -1).mean((1, 3)).flatten(0, 1)
    torch.testing.assert_close(prior._positions((2, 2)), halved)


def test_the_shape_of_the_grid_matters():
    prior = tiny()
    flat = random_codes(height=2, width=3).flatten(2)
    tall, wide = (prior(flat.view(3, BITS, *grid), seeded()) for grid in ((3, 2), (2, 3)))
    assert not tall.equal(wide)


def test_generators_decide_the_loss():
    prior, codes = tiny(), random_codes()
    assert prior(codes, seeded(1)).equal(prior(codes, seeded(1)))
    assert not prior(codes, seeded(1)).equal(prior(codes, seeded(2)))


def test_loss_under_autocast():
    prior, codes = tiny(), random_codes(batch=32)
    exact = prior(codes, seeded())
    with torch.autocast("cpu", torch.bfloat16):
        rounded = prior(codes, seeded())
    assert rounded.dtype == prior(codes.bfloat16(), seeded()).dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=0.02)


def held_out_loss(draw: Callable[[int, torch.Generator], Tensor], steps: int = 120) -> float:
    """Train on fresh codes, and average the loss of further ones."""
    torch.manual_seed(0)
    prior = GenerativeAwarePrior(PriorConfig(**TINY), BITS, 2)
    optimizer = torch.optim.Adam(prior.parameters(), lr=5e-3)
    generator = seeded(1)
    for _ in range(steps):
        optimizer.zero_grad()
        prior(draw(64, generator), generator).backward()
        optimizer.step()
    with torch.no_grad():
        return prior(draw(4096, generator), generator).item()


def independent(batch: int, generator: torch.Generator) -> Tensor:
    return torch.randn(batch, BITS, 2, 2, generator=generator).sign()


def repeated(batch: int, generator: torch.Generator) -> Tensor:
    """The first token is random, and the others are its copies."""
    return independent(batch, generator)[:, :, :1, :1].expand(-1, -1, 2, 2)


def floor() -> float:
    """Loss of the best possible guess, tanh(t z / (1 - t)^2), of a random bit."""
    generator = seeded(2)
    time = torch.rand(1_000_000, generator=generator, dtype=torch.float64)
    noisy = time + (1 - time) * torch.randn(len(time), generator=generator, dtype=torch.float64)
    guess = torch.tanh(time * noisy / (1 - time) ** 2)
    return (guess - 1).square().mean().item()


def test_random_bits_stay_at_the_floor():
    assert floor() - 0.02 < held_out_loss(independent) < floor() + 0.06


def test_predictable_codes_are_learned():
    """Only the first of four tokens is random, so a quarter of the floor can be reached."""
    assert held_out_loss(repeated) < 0.4 * floor()


@pytest.mark.parametrize("shape", [(3, BITS, 4), (3, 16, 2, 2), (3, BITS, 1, 1)])
def test_bad_shapes(shape):
    with pytest.raises(ValueError, match=r"the prior takes \(batch, 8, h, w\) of at least two"):
        tiny()(torch.ones(shape))
