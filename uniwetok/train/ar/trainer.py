"""One step of the class-to-image model's training, and its state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from uniwetok.ar.model import BitDance
from uniwetok.randomness import stream, stream_seed
from uniwetok.tokenizer import CheckpointError
from uniwetok.tokenizer.quantizer import unpack_bytes
from uniwetok.train.ar.config import UNDECAYED, ARTraining
from uniwetok.train.codes.stream import CodeBatch
from uniwetok.train.engine.config import check_parts
from uniwetok.train.engine.ema import Ema
from uniwetok.train.engine.errors import TrainingError
from uniwetok.train.engine.optimizers import build_adamw, learning_rate
from uniwetok.train.engine.state import copy_into, full, network_state, restore_network, shard
from uniwetok.train.engine.updates import MIXED_PRECISION, RunningMeans, no_sync, update

TOKENIZER_FILE = "tokenizer.json"
"""Beside exported weights: digest of the encoder whose codes they were trained on."""
_CHECKPOINT_FLOATS = 4
"""Of each weight: itself, Adam's two moments and its average."""


class ARTrainer:
    """Model, optimiser and averages of one run, on one process of many or alone.

    A step depends on the state, the batch and its number alone: flips, dropped labels, times and
    noise are drawn from streams that the number and the part of the batch address, so that a
    resumed run repeats what it would have done, and so do more processes that accumulate less.

    Attributes:
        config: the run.
        accelerator: the processes, the device and the precision.
        model: what is trained.
        ema: moving averages of its weights.
    """

    def __init__(self, config: ARTraining, tokenizer: str, *, device: str = "auto") -> None:
        """Build and place everything.

        Args:
            config: the run.
            tokenizer: digest of the encoder that the codes come from; exported beside the weights.
            device: "cpu", or "auto" for this process's GPU where there is one.

        Raises:
            TrainingError: initial weights do not fit, the batch cannot be divided, or one process
                is to shard.
        """
        self.config = config
        self.accelerator = Accelerator(
            cpu=device == "cpu", mixed_precision=MIXED_PRECISION[config.precision]
        )
        check_parts(config.batch_size, config.accumulation, self.accelerator.num_processes)
        self._tokenizer = tokenizer
        self.model = _build(config).to(self.accelerator.device).train()
        if config.compile:
            for block in self.model.layers:
                block.compile()
            self.model.head.net.compile()
        if config.shard:
            shard(self.model, self.model.layers, self.accelerator)
        # Sharded networks are already wrapped; all that is left to add is autocast.
        self._wrapped: nn.Module = self.accelerator.prepare_model(
            self.model, evaluation_mode=config.shard
        )
        weights = dict(self.model.named_parameters())
        self._adam = self.accelerator.prepare_optimizer(
            build_adamw(weights, config.optimizer, UNDECAYED)
        )
        self.ema = Ema(weights, config.ema_decay)
        self._means = RunningMeans(self.accelerator)

    @property
    def checkpoint_bytes(self) -> int:
        """Size of a checkpoint, up to its small parts."""
        return 4 * _CHECKPOINT_FLOATS * sum(weight.numel() for weight in self.model.parameters())

    def step(self, batch: CodeBatch, number: int) -> None:
        """Train on one batch of this process.

        Args:
            batch: codes of the model's size, and their classes.
            number: of the step, from 0.

        Raises:
            TrainingError: the loss or a gradient is not finite; weights are as before the step.
        """
        config, device = self.config, self.accelerator.device
        rate = learning_rate(config.optimizer, number, config.steps)
        count = min(config.accumulation, len(batch))
        parts = zip(batch.packed.tensor_split(count), batch.labels.tensor_split(count), strict=True)
        loss = torch.zeros((), device=device)
        for index, (packed, labels) in enumerate(parts):
            share = len(labels) / len(batch)
            address = (config.seed, "step", number, self.accelerator.process_index * count + index)
            grid = (config.model.grid, config.model.grid)
            codes = unpack_bytes(packed.to(device), grid, config.model.latent_channels)
            with no_sync(self.accelerator, self._wrapped, index + 1 < count):
                part: Tensor = self._wrapped(
                    codes, labels.to(device), stream(*address, device=device)
                )
                self.accelerator.backward(share * part)
            loss = loss + share * part.detach()
        norm = update(
            self.accelerator,
            self.model,
            self._adam,
            rate=rate,
            limit=config.optimizer.max_gradient_norm,
            loss=loss,
        )
        self.ema.update()
        self._means.add({"loss": loss, "gradient_norm": norm})

    def averages(self) -> dict[str, float]:
        """Give the means, over the steps since the last call and over processes, of all terms."""
        return self._means.read()

    def state(self) -> dict[str, Any]:
        """Give everything a run needs to go on; every process must call this."""
        state: dict[str, Any] = {
            "model": network_state(self.model, self._adam.optimizer),
            "ema": {name: full(value).cpu() for name, value in self.ema.averages.items()},
        }
        if self.accelerator.scaler is not None:
            state["scaler"] = self.accelerator.scaler.state_dict()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Bring back a ``state``; every process must call this."""
        restore_network(self.model, self._adam.optimizer, state["model"])
        for name, value in state["ema"].items():
            copy_into(self.ema.averages[name], value)
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])

    def averaged_model(self) -> BitDance:
        """Build a model from the averages, on the CPU; every process must call this."""
        with torch.device("meta"):
            model = BitDance(self.config.model)
        weights = {name: full(value).cpu().clone() for name, value in self.ema.averages.items()}
        model.load_state_dict(weights, assign=True)
        return model.eval()

    def export(self, folder: Path) -> None:
        """Write the averaged model as plug-ins load it.

        Every process must call this; the main one writes.
        """
        model = self.averaged_model()
        if self.accelerator.is_main_process:
            model.save_pretrained(folder)
            text = json.dumps({"encoder_sha256": self._tokenizer}, indent=2)
            (folder / TOKENIZER_FILE).write_text(text + "\n", encoding="utf-8")


def _build(config: ARTraining) -> BitDance:
    """Build the model, the same in every process."""
    torch.manual_seed(stream_seed(config.seed, "weights"))
    model = BitDance(config.model)
    if config.init is not None:
        try:
            source = BitDance.from_checkpoint(config.init, config.model)
        except CheckpointError as error:
            raise TrainingError(str(error)) from error
        model.load_state_dict(source.state_dict())
    return model
