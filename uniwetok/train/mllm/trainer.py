"""One step of the multimodal model's training, and its state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from uniwetok.mllm.layout import NO_TARGET
from uniwetok.mllm.model import MLLM
from uniwetok.randomness import stream
from uniwetok.train.engine.config import check_parts
from uniwetok.train.engine.ema import Ema
from uniwetok.train.engine.errors import TrainingError
from uniwetok.train.engine.optimizers import build_adamw, learning_rate
from uniwetok.train.engine.state import copy_into, full, network_state, restore_network
from uniwetok.train.engine.updates import MIXED_PRECISION, RunningMeans, no_sync, update
from uniwetok.train.mllm.config import MLLMTraining
from uniwetok.train.mllm.data.stream import PackedRows, Row
from uniwetok.train.mllm.means import TokenMeans
from uniwetok.train.mllm.objective import Objective, count_predicted
from uniwetok.train.mllm.parts import Parts

_FLOAT = 4


class MLLMTrainer:
    """Model, optimiser and averages of one run, on one process of many or alone.

    A step depends on the state, the rows and its number alone: flips, times and noise are drawn
    from streams that the number addresses, so that a resumed run repeats what it would have done.

    Attributes:
        config: the run.
        accelerator: the processes, the device and the precision.
        model: what is trained.
        ema: moving averages of its weights, or None.
    """

    def __init__(
        self,
        config: MLLMTraining,
        parts: Parts,
        accelerator: Accelerator,
    ) -> None:
        """Place everything.

        Args:
            config: the run.
            parts: the model to train, the same in every process, and its tokenizers.
            accelerator: see `make_accelerator`.

        Raises:
            TrainingError: the rows cannot be divided, or sharding has one process only.
        """
        self.config = config
        self.accelerator = accelerator
        check_parts(config.batch_size, config.accumulation, accelerator.num_processes)
        self._parts = parts
        model = parts.model
        if config.gradient_checkpointing:
            language_model: Any = model.language_model
            language_model.gradient_checkpointing_enable({"use_reentrant": False})
        self.model = model.to(accelerator.device).train()
        objective = Objective(self.model)
        if config.shard:
            _shard(objective, accelerator)
        # Sharded networks are already wrapped; all that is left to add is autocast.
        self._wrapped: nn.Module = accelerator.prepare_model(
            objective, evaluation_mode=config.shard
        )
        weights = dict(self.model.named_parameters())
        self._adam = accelerator.prepare_optimizer(build_adamw(weights, config.optimizer, ()))
        self.ema = Ema(weights, config.ema_decay) if config.ema_decay else None
        self._means = RunningMeans(accelerator)
        self._losses = TokenMeans(accelerator)

    @property
    def checkpoint_bytes(self) -> int:
        """Size of a checkpoint, up to its small parts."""
        return checkpoint_bytes(self.config, sum(p.numel() for p in self.model.parameters()))

    def step(self, batch: PackedRows, number: int) -> None:
        """Train on a step's rows of this process, one after the other.

        Args:
            batch: the rows.
            number: of the step, from 0.

        Raises:
            TrainingError: the loss or a gradient is not finite; weights are as before the step.
        """
        config, device = self.config, self.accelerator.device
        rate = learning_rate(config.optimizer, number, config.steps)
        own = torch.stack([count_predicted(row.batch) for row in batch.rows]).sum(0)
        totals: Tensor = self.accelerator.reduce(own.to(device), "sum")
        world = self.accelerator.num_processes
        loss = torch.zeros((), device=device)
        for place, row in enumerate(batch.rows):
            address = (config.seed, "step", number, self.accelerator.process_index, place)
            draws = stream(*address, device=device)
            with no_sync(self.accelerator, self._wrapped, place + 1 < len(batch.rows)):
                share, values = self._wrapped(row.batch.to(device), totals, draws)
                # Gradients are averaged over processes, and shares add up over them.
                self.accelerator.backward(world * share)
            loss = loss + world * share.detach()
            self._log(row, values)
        norm = update(
            self.accelerator,
            self.model,
            self._adam,
            rate=rate,
            limit=config.optimizer.max_gradient_norm,
            loss=loss,
        )
        if self.ema is not None:
            self.ema.update()
        tokens = torch.tensor([row.batch.tokens for row in batch.rows], dtype=torch.float32)
        filled = tokens.mean().to(device) / config.data.row_tokens
        self._means.add({"loss": loss, "gradient_norm": norm, "row_filled": filled})

    def _log(self, row: Row, values: dict[str, Tensor]) -> None:
        """Count the losses of a row's tokens, by the kind of their record."""
        batch = row.batch
        samples = batch.samples.flatten()
        spoken = row.kinds[samples[batch.text_targets.flatten() != NO_TARGET]]
        self._losses.add("text", values["text_losses"], spoken)
        drawn = row.kinds[samples[batch.condition_index]]
        self._losses.add("vision", values["vision_losses"], drawn)

    def averages(self) -> dict[str, float]:
        """Give the means, over the steps since the last call and over processes, of all terms."""
        return {**self._means.read(), **self._losses.read()}

    def state(self) -> dict[str, Any]:
        """Give everything a run needs to go on; every process must call this."""
        state: dict[str, Any] = {"model": network_state(self.model, self._adam.optimizer)}
        if self.ema is not None:
            averages = self.ema.averages.items()
            state["ema"] = {name: full(value).cpu() for name, value in averages}
        if self.accelerator.scaler is not None:
            state["scaler"] = self.accelerator.scaler.state_dict()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Bring back a ``state``; every process must call this."""
        restore_network(self.model, self._adam.optimizer, state["model"])
        if self.ema is not None:
            for name, value in state["ema"].items():
                copy_into(self.ema.averages[name], value)
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])

    def export(self, folder: Path) -> None:
        """Write the model, averaged where it is, with its tokenizers as plug-ins load them.

        Every process must call this; the main one writes.
        """
        weights = self.ema.averages if self.ema else dict(self.model.named_parameters())
        whole = {name: full(value.detach()).cpu() for name, value in weights.items()}
        if self.accelerator.is_main_process:
            self._parts.with_weights(whole).save_pretrained(folder)


def make_accelerator(config: MLLMTraining, device: str) -> Accelerator:
    """Join the processes.

    Args:
        config: the run.
        device: "cpu", or "auto" for this process's GPU where there is one.
    """
    return Accelerator(cpu=device == "cpu", mixed_precision=MIXED_PRECISION[config.precision])


def checkpoint_bytes(config: MLLMTraining, parameters: int) -> int:
    """Size of a checkpoint: of each weight itself, Adam's two moments and perhaps its average."""
    return _FLOAT * (3 + bool(config.ema_decay)) * parameters


def _shard(objective: Objective, accelerator: Accelerator) -> None:
    """Shard weights, gradients and optimiser state over all processes.

    What is gathered on its own is run in every pass, even where a row has no such tokens; else
    processes would wait for each other.
    """
    if accelerator.num_processes == 1:
        raise TrainingError(
            "shard=true needs several processes: start with torchrun, or --set shard=false"
        )
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    model = objective.model
    net = model.vision_head.net
    units: list[nn.Module] = [*_layers(model), *net.res_blocks, *net.ada_ln_blocks]
    language_model: Any = model.language_model
    reads, speaks = language_model.get_input_embeddings(), language_model.get_output_embeddings()
    if reads.weight is not speaks.weight:
        units += [reads, speaks]
    for unit in units:
        fully_shard(unit, mesh=mesh)
    fully_shard(objective, mesh=mesh)


def _layers(model: MLLM) -> nn.ModuleList:
    """Give the language model's layers: the one list of modules right below its base."""
    for child in model.language_model.base_model.children():
        if isinstance(child, nn.ModuleList):
            return child
    raise TrainingError("shard=true: the language model's layers were not found; drop it")
