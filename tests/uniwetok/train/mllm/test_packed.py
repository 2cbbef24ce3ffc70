"""Packing changes no loss and no gradient."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.uniwetok.mllm import toys
from tests.uniwetok.train.mllm.tiny import records, write_images
from uniwetok.mllm.batch import collate
from uniwetok.mllm.head import VisionHead
from uniwetok.train.mllm.data.layout import Draws, segments
from uniwetok.train.mllm.data.records import parse_record
from uniwetok.train.mllm.trainer import Objective, count_predicted


def fixed_losses(
    head: VisionHead, target: torch.Tensor, condition: torch.Tensor, _: object = None
) -> torch.Tensor:
    """Losses whose times and noise follow from a token's bits, not from its place in a batch."""
    weights = torch.arange(1, target.shape[-1] + 1, dtype=torch.float32)
    time = (target @ weights).mean(1).sin() * 0.4 + 0.5
    mixed = (1 - time)[:, None, None] * (target * weights).cos() + time[:, None, None] * target
    return (head.net(mixed, time, condition) - target).square().mean(-1)


@pytest.mark.parametrize("parallel_tokens", [1, 4])
def test_packed_training_equals_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parallel_tokens: int
) -> None:
    monkeypatch.setattr(VisionHead, "token_losses", fixed_losses)
    assistant = toys.assistant(parallel_tokens, flip_rate=0.0, text_weight=0.5)
    objective = Objective(assistant.model.train())
    codes = [toys.codes(2, 2 + 2 * (seed % 2), seed) for seed in range(3)]
    sequences = [
        assistant.builder.build(segments(parse_record(value), codes, Draws()))
        for value in records(write_images(tmp_path))
    ]
    losses, gradients = [], []
    packings = [
        [[sequence] for sequence in sequences],
        [sequences],
        [sequences[:3], sequences[3:]],
        [sequences[::-1]],
    ]
    for rows in packings:
        batches = [collate([row]) for row in rows]
        totals = torch.stack([count_predicted(batch) for batch in batches]).sum(0)
        assert (totals > 0).all()
        objective.zero_grad()
        total = torch.zeros(())
        for batch in batches:
            share, _ = objective(batch, totals, None)
            share.backward()
            total = total + share.detach()
        losses.append(total.item())
        gradients.append({n: p.grad.clone() for n, p in objective.named_parameters()})
    for loss, gradient in zip(losses[1:], gradients[1:], strict=True):
        assert loss == pytest.approx(losses[0], rel=1e-5)
        for name, value in gradient.items():
            scale = gradients[0][name].abs().max().clamp(min=1e-6)
            assert (value - gradients[0][name]).abs().max() / scale < 1e-4, name
            assert (value - gradients[0][name]).abs().max() < 1e-5, name
