"""Steps read nothing off the device, and a bad one is found later with the weights untouched."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.uniwetok.mllm import toys
from tests.uniwetok.train.ar.tiny import TINY_AR
from tests.uniwetok.train.tiny import TINY
from uniwetok.mllm.batch import collate
from uniwetok.train import TrainingError
from uniwetok.train.ar.trainer import ARTrainer
from uniwetok.train.codes.stream import CodeBatch
from uniwetok.train.data.stream import Batch
from uniwetok.train.engine.trainer import Trainer
from uniwetok.train.tokenizer.trainer import TokenizerTrainer

READING = {"_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "item"}
"""Operations whose result, or its shape, the host waits for."""
CLIPPED = dataclasses.replace(TINY.optimizer, max_gradient_norm=1.0)


class Reads(TorchDispatchMode):
    """Notes what would make the host wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        marks = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in READING or marks:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def tokenizer_step() -> tuple[Trainer[Any, Any], Any]:
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    config = dataclasses.replace(TINY, optimizer=CLIPPED)
    return TokenizerTrainer(config, device="cpu"), Batch(images, [], None, 0)


def ar_step() -> tuple[Trainer[Any, Any], Any]:
    packed = torch.arange(128, dtype=torch.uint8).view(4, 32)
    batch = CodeBatch(packed, torch.tensor([1, 2, 3, 4]))
    return ARTrainer(dataclasses.replace(TINY_AR, optimizer=CLIPPED), "0", device="cpu"), batch


@pytest.mark.parametrize("make", [tokenizer_step, ar_step], ids=["tokenizer", "ar"])
def test_a_step_waits_for_nothing(make: Callable[[], tuple[Trainer[Any, Any], Any]]) -> None:
    trainer, batch = make()
    trainer.step(batch, 0)
    with Reads() as reads:
        trainer.step(batch, 1)
    assert reads.seen == []
    with Reads() as reads:
        trainer.check()
    assert reads.seen == ["_local_scalar_dense"]


def test_a_pass_of_the_multimodal_model_waits_for_nothing() -> None:
    torch.manual_seed(0)
    assistant = toys.assistant()
    model = assistant.model.train()
    batch = collate([[assistant.builder.editing([], "A red square", toys.codes(2, 4))]])
    with Reads() as reads:
        model(batch, torch.Generator().manual_seed(0))["total"].backward()
    assert reads.seen == []


@pytest.mark.parametrize("make", [tokenizer_step, ar_step], ids=["tokenizer", "ar"])
@pytest.mark.parametrize("later", [0, 3])
def test_a_bad_step_and_those_after_it_move_no_weight(
    make: Callable[[], tuple[Trainer[Any, Any], Any]], later: int
) -> None:
    trainer, batch = make()
    trainer.step(batch, 0)
    trainer.check()
    (network, _), *_ = trainer._trained.values()
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    name, weight = next(iter(network.named_parameters()))
    with torch.no_grad():
        weight.view(-1)[0] = torch.nan
    trainer.step(batch, 1)
    with torch.no_grad():
        weight.copy_(before[name])
    for number in range(2, 2 + later):
        trainer.step(batch, number)
    for name, weight in network.named_parameters():
        assert torch.equal(weight, before[name]), name
    with pytest.raises(TrainingError, match="step 2: the loss or its gradient is not finite"):
        trainer.check()
