"""The class-to-image model's training and sampling on a GPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState

from tests.uniwetok.train.ar.tiny import TINY_AR
from uniwetok.ar import BitDance, Guidance, sample
from uniwetok.ar.diffusion_head import PatchAttention
from uniwetok.ar.solver import CapturedSolver, Solver, solver_of
from uniwetok.train.ar.trainer import ARTrainer
from uniwetok.train.codes.stream import CodeBatch

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def own_accelerator() -> Iterator[None]:
    """Accelerate keeps one device and precision a process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_trains_and_resumes_exactly(precision: str, compiled: bool) -> None:
    config = dataclasses.replace(TINY_AR, precision=precision, compile=compiled)
    batch = CodeBatch(torch.arange(128, dtype=torch.uint8).view(4, 32), torch.tensor([1, 2, 3, 4]))
    trainers = [ARTrainer(config, "0") for _ in range(2)]
    trainers[0].step(batch, 0)
    trainers[1].restore(trainers[0].state())
    for trainer in trainers:
        trainer.step(batch, 1)
    first, second = (trainer.averaged_model().state_dict() for trainer in trainers)
    assert all(weight.isfinite().all() for weight in first.values())
    for name, weight in first.items():
        torch.testing.assert_close(weight, second[name], rtol=1e-6, atol=1e-7)


def test_a_step_waits_for_nothing() -> None:
    batch = CodeBatch(torch.arange(128, dtype=torch.uint8).view(4, 32), torch.tensor([1, 2, 3, 4]))
    trainer = ARTrainer(dataclasses.replace(TINY_AR, precision="bfloat16"), "0")
    trainer.step(batch, 0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.step(batch, 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    trainer.check()


@pytest.mark.parametrize(
    "guidance",
    [
        Guidance(),
        Guidance(scale=2.0),
        Guidance(scale=2.0, schedule="interval", interval=(0.3, 0.8)),
        Guidance(scale=2.0, schedule="constant", first_token="shared"),
    ],
    ids=lambda guidance: f"{guidance.schedule}-{guidance.scale:g}",
)
def test_compiled_and_captured_samples_are_the_eager_ones(guidance: Guidance) -> None:
    torch.manual_seed(0)
    model = BitDance(TINY_AR.model).eval().to("cuda")
    net = model.head.net
    kept = solver_of(net, 20, compiled=True)
    drawn = []
    for solver in (Solver(net, 20), solver_of(net, 20), kept, kept):
        noise = [torch.Generator().manual_seed(seed) for seed in range(3)]
        codes = sample(
            model, torch.tensor([1, 2, 3]), noise, guidance=guidance, steps=20, solver=solver
        )
        drawn.append(codes)
    for codes in drawn[1:]:
        assert (codes == drawn[0]).float().mean() > 0.99
    assert torch.equal(drawn[2], drawn[3])


@torch.no_grad()
def test_a_captured_solver_is_the_eager_one() -> None:
    torch.manual_seed(0)
    net = BitDance(TINY_AR.model).eval().to("cuda").head.net
    for weight in net.parameters():  # Gates that start at zero would hide the network.
        weight.add_(0.1 * torch.randn_like(weight))
    eager = Solver(net, 5)
    captured = CapturedSolver(eager)
    bits, width = TINY_AR.model.latent_channels, TINY_AR.model.width
    kinds: list[list[Any]] = [[3.0] * 6, [1.0, 2.0, 2.0, 2.0, 1.0, 1.0], [(3.0, 1.5)] * 6]
    for weights in (*kinds, [2.0] * 6):
        for _ in range(5):
            rows = 6 if isinstance(weights[0], tuple) else 4
            condition = torch.randn(rows, 1, width, device="cuda")
            noise = torch.randn(6, 2, 1, bits, device="cuda")
            torch.testing.assert_close(
                captured.solve(condition, noise, weights),
                eager.solve(condition, noise, weights),
                rtol=1e-5,
                atol=1e-5,
            )
    again, recorded = (
        solver.solve(condition, noise, [2.0] * 6) for solver in (CapturedSolver(eager), captured)
    )
    assert torch.equal(again, recorded)  # Called the first time, and replayed.
    assert len(captured._graphs._graphs) == len(kinds)


def test_a_model_in_mixed_precision_is_not_captured() -> None:
    """Autocast's copies of the weights would be gone when the graph reads them."""
    torch.manual_seed(0)
    model = BitDance(TINY_AR.model).eval().to("cuda")
    solver = solver_of(model.head.net, 5)
    for _ in range(2):
        noise = [torch.Generator().manual_seed(seed) for seed in range(3)]
        with torch.autocast("cuda", torch.bfloat16):
            kept = sample(model, torch.tensor([1, 2, 3]), noise, steps=5, solver=solver)
        noise = [torch.Generator().manual_seed(seed) for seed in range(3)]
        with torch.autocast("cuda", torch.bfloat16):
            eager = Solver(model.head.net, 5)
            plain = sample(model, torch.tensor([1, 2, 3]), noise, steps=5, solver=eager)
        assert torch.equal(kept, plain)


def test_lone_tokens_take_no_memory_of_attention() -> None:
    attention = PatchAttention(256, 2).to("cuda", torch.bfloat16)
    tokens = torch.randn(40_000, 1, 256, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    attention(tokens).sum().backward()
    # With the fused kernels 5 GB, 64 KiB a token and head.
    assert torch.cuda.max_memory_allocated() - before < 40 * tokens.nbytes


def test_samples_are_those_of_the_cpu() -> None:
    torch.manual_seed(0)
    model = BitDance(TINY_AR.model).eval()
    labels = torch.tensor([1, 2, 3])
    drawn = []
    for device in ("cpu", "cuda"):
        noise = [torch.Generator().manual_seed(seed) for seed in range(3)]
        codes = sample(model.to(device), labels, noise, guidance=Guidance(scale=2.0), steps=5)
        drawn.append(codes.cpu())
    assert (drawn[0] == drawn[1]).float().mean() > 0.99
