"""Outputs against those of the released modules, and against our own of a known-good state."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.uniwetok.ar.toys import waves
from uniwetok.ar import BitDance, BitDanceConfig, Guidance, sample
from uniwetok.ar.diffusion_head import time_features
from uniwetok.ar.solver import Solver
from uniwetok.ar.transformer import to_tokens

OWN = Path(__file__).parent / "data" / "golden.safetensors"
RELEASED = Path(__file__).parents[3].parent / "shared" / "golden" / "bitdance_tiny.pt"
TOLERANCE = 1e-5


def error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return (actual - expected).abs().max().item()


@torch.no_grad()
def outputs_by_formula(model, codes, labels):
    """Hidden states, a prediction of the head, and what the solver makes of noise."""
    config = model.config
    hidden = model.hidden_states(to_tokens(codes, config), labels)
    rows = hidden.reshape(-1, config.parallel_tokens, config.width)[:4]
    shape = (config.parallel_tokens, config.latent_channels)
    predicted = model.head.net(waves((4, *shape), 1.5), torch.tensor([0, 0.1, 0.5, 1]), rows)
    noise = 2 * waves((6, 2, *shape), 2.5)
    solved = Solver(model.head.net, steps=5).solve(rows, noise, [3.0] * 6)
    return {"hidden": hidden, "predicted": predicted, "solved": solved}


def test_outputs_of_weights_by_formula(model, codes, labels):
    """``golden.safetensors`` was written when the model agreed with the released modules."""
    golden = load_file(OWN)
    for name, actual in outputs_by_formula(model, codes, labels).items():
        expected = golden[f"{model.config.parallel_tokens}.{name}"]
        assert error(actual, expected) / expected.abs().max() < TOLERANCE, name


needs_released = pytest.mark.skipif(
    not RELEASED.exists(), reason="released outputs are not at hand"
)


@pytest.fixture(scope="module")
def released():
    return torch.load(RELEASED, weights_only=True)


@pytest.fixture(scope="module")
def twin(released):
    """Our model with the sizes and weights of the released one."""
    sizes = released["config"]
    config = BitDanceConfig(
        width=sizes["dim"],
        layers=sizes["n_layer"],
        heads=sizes["n_head"],
        diffusion_width=sizes["diff_dim"],
        diffusion_blocks=sizes["diff_layers"],
        diffusion_modulations=sizes["diff_adanln_layers"],
        latent_channels=sizes["latent_dim"],
        grid=sizes["resolution"] // sizes["down_size"],
        classes=sizes["num_classes"],
        class_tokens=sizes["cls_token_num"],
        loss_repeats=sizes["diff_batch_mul"],
    )
    model = BitDance(config).eval()
    model.load_state_dict(released["state_dict"])
    return model


@pytest.mark.parity
@needs_released
@torch.no_grad()
def test_networks_of_the_released_modules(released, twin):
    tokens = to_tokens(released["lat"], twin.config)
    assert error(twin.hidden_states(tokens, released["cls"]), released["hidden"]) < TOLERANCE
    assert error(twin.head.net(*released["head_in"]), released["head_out"]) < TOLERANCE
    times = torch.tensor([0.0, 0.1, 0.5, 1.0])
    assert error(time_features(times, 16), released["temb"]) < TOLERANCE


@pytest.mark.parity
@needs_released
@torch.no_grad()
def test_loss_of_the_released_modules(released, twin):
    loss = twin(released["lat"], released["cls"], torch.Generator().manual_seed(7))
    assert error(loss, released["loss_seed7"]) < TOLERANCE


@pytest.mark.parity
@needs_released
@pytest.mark.parametrize(("scale", "seed"), [(3.0, 11), (1.0, 12)])
def test_samples_of_the_released_modules(released, twin, scale, seed):
    codes = sample(
        twin,
        released["cls"],
        torch.Generator().manual_seed(seed),
        guidance=Guidance(scale=scale),
        steps=4,
        streams="released",
    )
    assert torch.equal(codes, released[f"sample_cfg{scale:.0f}_seed{seed}"])


@pytest.mark.parity
@needs_released
@torch.no_grad()
def test_solver_of_the_released_modules(released, twin):
    generator = torch.Generator().manual_seed(13)
    noise = torch.stack([torch.randn(3, 1, 16, generator=generator) for _ in range(6)])
    condition = released["head_in"][2][:, None]
    solved = Solver(twin.head.net, steps=5).solve(condition, noise, [2.0] * 6)
    assert error(solved[:, 0].repeat(2, 1), released["em_seed13"]) < TOLERANCE
