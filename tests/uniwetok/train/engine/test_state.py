"""Blocks that are run again for their gradients: the bits of those that keep everything."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from tests.uniwetok.train.tiny import TINY
from uniwetok.train import TrainingError
from uniwetok.train.data.opening import open_images
from uniwetok.train.engine.state import run_again, shard
from uniwetok.train.tokenizer.run import train


def gradients(network: nn.Module) -> tuple[list[torch.Tensor], int, torch.Tensor]:
    """Gradients of a pass, how many numbers it kept, and where it leaves torch's random stream."""
    torch.manual_seed(1)
    sizes: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = network(torch.randn(64, 8)).square().sum()
    loss.backward()
    found = [weight.grad for weight in network.parameters() if weight.grad is not None]
    return found, sum(sizes), torch.get_rng_state()


def test_what_cannot_be_sharded_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    place = {"device": torch.device("cpu")}
    with pytest.raises(TrainingError, match=r"several processes: .* --set shard=false"):
        shard(nn.Linear(2, 2), (), cast("Accelerator", SimpleNamespace(num_processes=1, **place)))
    monkeypatch.delattr(torch.cpu.Stream, "record_event", raising=False)
    with pytest.raises(TrainingError, match=r"torch \S+ shards on GPUs alone; --set shard=false"):
        shard(nn.Linear(2, 2), (), cast("Accelerator", SimpleNamespace(num_processes=2, **place)))


def test_dropout_is_drawn_alike_and_less_is_kept() -> None:
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Dropout(), nn.Linear(32, 8))]
    blocks += [copy.deepcopy(blocks[0])]
    keeping = nn.Sequential(*blocks)
    again = copy.deepcopy(keeping)
    run_again(again)
    (whole, much, after), (rerun, little, after_too) = gradients(keeping), gradients(again)
    assert len(whole) == len(rerun) == 8
    assert all(torch.equal(a, b) for a, b in zip(whole, rerun, strict=True))
    assert torch.equal(after, after_too)
    assert little < much / 3
    assert keeping.state_dict().keys() == again.state_dict().keys()


def test_the_tokenizer_trains_to_the_same_bits_and_may_change_it(
    tmp_path: Path, photo_folder: Path
) -> None:
    source = open_images(photo_folder)
    weights = []
    for name, first in (("kept", False), ("again", True)):
        for steps, again in ((1, first), (2, False)):
            config = dataclasses.replace(TINY, steps=steps, gradient_checkpointing=again)
            train(config, source, tmp_path / name, device="cpu")
        weights.append((tmp_path / name / "model" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
