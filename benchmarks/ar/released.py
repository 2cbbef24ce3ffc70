"""The released model, imported from a checkout: its sampler, and its training step."""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks.train_step.released import attend
from uniwetok.ar.config import BitDanceConfig
from uniwetok.train.ar.config import ARTraining

_PIXELS = 32
"""Along a side of a token; only its quotient with the image's side matters."""


class _Codes(nn.Module):
    """Stands for the tokenizer, which is no part of what is compared: it hands codes on."""

    def __init__(self, *_: object) -> None:
        super().__init__()

    def decode(self, codes: Tensor) -> Tensor:
        return codes


def build(bitdance: Path, config: BitDanceConfig, *, compiled: bool) -> Any:
    """Build the released model at our sizes, with its own random weights.

    Args:
        bitdance: checkout.
        config: sizes and objective.
        compiled: compile what the released code marks; else it runs as it is written.
    """
    module = _import(bitdance / "imagenet_gen", compiled=compiled)
    return module.BitDance(
        dim=config.width,
        n_layer=config.layers,
        n_head=config.heads,
        diff_layers=config.diffusion_blocks,
        diff_dim=config.diffusion_width,
        diff_adanln_layers=config.diffusion_modulations,
        latent_dim=config.latent_channels,
        down_size=_PIXELS,
        patch_size=1,
        resolution=config.grid * _PIXELS,
        diff_batch_mul=config.loss_repeats,
        cls_token_num=config.class_tokens,
        num_classes=config.classes,
        class_dropout_prob=config.label_dropout,
        perturb_rate=config.flip_rate,
        P_std=config.time_std,
        P_mean=config.time_mean,
    )


class ReleasedTraining:
    """The released training step on codes, in the order of `imagenet_gen/train.py`."""

    def __init__(self, model: Any, config: ARTraining) -> None:
        self.model = model.train()
        self._limit = config.optimizer.max_gradient_norm or 0.0
        self._decay = config.ema_decay
        self._averaged = deepcopy(model).eval().requires_grad_(False)
        spared = model.non_decay_keys()
        groups: dict[bool, list[Tensor]] = {True: [], False: []}
        for name, weight in model.named_parameters():
            decays = weight.dim() >= 2 and not any(key in name for key in spared)
            groups[decays].append(weight)
        optimizer = config.optimizer
        self._adam = torch.optim.AdamW(
            [
                {"params": groups[True], "weight_decay": optimizer.weight_decay},
                {"params": groups[False], "weight_decay": 0.0},
            ],
            lr=optimizer.learning_rate,
            betas=optimizer.betas,
            fused=True,
        )

    def step(self, codes: Tensor, labels: Tensor, seed: int, rate: float) -> dict[str, float]:
        """Train on a batch.

        Args:
            codes: (batch, bits, grid, grid), +1 or -1.
            labels: (batch,) int64.
            seed: of the step's noise.
            rate: learning rate of the step.
        """
        torch.manual_seed(seed)
        self._adam.zero_grad(set_to_none=True)
        # The released code reshapes codes in the way that only this layout allows.
        codes = codes.contiguous(memory_format=torch.channels_last)
        loss = self.model(codes, labels, cached=True)
        value = loss.item()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._limit).item()
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()
        averages, weights = list(self._averaged.parameters()), list(self.model.parameters())
        with torch.no_grad():
            torch._foreach_lerp_(averages, weights, 1 - self._decay)
        return {"loss": value, "gradient_norm": norm}


def _import(folder: Path, *, compiled: bool) -> Any:
    """Import the model's module, beside stand-ins for what it needs and we lack.

    They stay, and so does the folder in the path: compiled code looks its modules up again.
    """
    attention: Any = types.ModuleType("flash_attn")
    attention.flash_attn_func = attend
    tokenizer: Any = types.ModuleType("src.qae")
    tokenizer.VQModel = _Codes
    sys.modules |= {"flash_attn": attention, "src.qae": tokenizer}
    sys.path.insert(0, str(folder))
    as_written = mock.patch.object(torch, "compile", return_value=lambda function: function)
    with contextlib.nullcontext() if compiled else as_written:
        return importlib.import_module("src.model")
