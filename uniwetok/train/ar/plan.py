"""What a run of the class-to-image model will take, before it is started."""

from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from uniwetok.ar.model import BitDance
from uniwetok.train.ar.config import ARTraining
from uniwetok.train.engine.footprint import Footprint, count_flops, kept_bytes
from uniwetok.train.engine.plan import Plan, reckon
from uniwetok.train.engine.settings import check_parts

_FLOAT = 4


def make_ar_plan(
    config: ARTraining, world: int = 1, *, seconds_per_step: float | None = None
) -> Plan:
    """Plan a run on codes that are there; encoding them is not reckoned.

    Args:
        config: the run.
        world: processes, one a GPU.
        seconds_per_step: as measured with this many GPUs; None reckons from the work.

    Raises:
        TrainingError: the batch does not divide.
    """
    check_parts(config.batch_size, config.accumulation, world)
    footprint = measure_ar(config)
    weights = _FLOAT * footprint.averaged // (world if config.shard else 1)
    memory = {
        "weights": weights,
        "gradients": weights,
        "Adam": 2 * weights,
        "moving average": weights,
    }
    if world > 1 and not config.shard:
        memory["gradients in transit"] = weights
    return reckon(
        config,
        world,
        footprint,
        memory=memory,
        tokens_per_step=config.batch_size * config.model.tokens,
        seconds_per_step=seconds_per_step,
    )


def measure_ar(config: ARTraining) -> Footprint:
    """Build and run a configuration's model on tensors without data."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = BitDance(config.model)
        losses: list[torch.Tensor] = []
        flops = {
            "forward": count_flops(lambda: losses.append(_loss(model, 1, "cpu"))),
            "backward": count_flops(lambda: torch.autograd.backward(losses.pop())),
        }
        counts = dict.fromkeys(("class embedding", "transformer", "diffusion head"), 0)
        for name, weight in model.named_parameters():
            counts[_part(name)] += weight.numel()
        one, two = (_kept(config, count) for count in (1, 2))
    total = sum(counts.values())
    return Footprint(counts, {"model": total}, total, flops, two - one, 2 * one - two)


def _part(name: str) -> str:
    if name.startswith("cls_embedding"):
        return "class embedding"
    return "diffusion head" if name.startswith("head.") else "transformer"


def _loss(model: BitDance, count: int, device: str) -> torch.Tensor:
    config = model.config
    codes = torch.ones(count, config.latent_channels, config.grid, config.grid, device=device)
    return model.objective(codes, torch.zeros(count, dtype=torch.int64, device=device))


def _kept(config: ARTraining, count: int) -> int:
    with torch.device("cuda"):
        model = BitDance(config.model)

    def run() -> None:
        _loss(model, count, "cuda")

    return kept_bytes([model], config.precision, run)
