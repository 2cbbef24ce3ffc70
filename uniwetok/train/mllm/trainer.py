"""One step of the multimodal model's training, and its state."""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from uniwetok.mllm.assistant import Assistant
from uniwetok.mllm.batch import Batch
from uniwetok.mllm.model import MLLM
from uniwetok.randomness import stream
from uniwetok.train import TrainingError
from uniwetok.train.engine.optimizers import build_adamw
from uniwetok.train.engine.settings import check_parts
from uniwetok.train.engine.state import run_again
from uniwetok.train.engine.trainer import Trainer
from uniwetok.train.mllm.config import MLLMTraining
from uniwetok.train.mllm.data.records import KINDS
from uniwetok.train.mllm.data.stream import PackedRows, Row
from uniwetok.train.mllm.parts import with_weights

_TERMS = ("text", "vision")


class Objective(nn.Module):
    """Weighs the losses of rows as if all of a step's tokens were one batch.

    A mean over all tokens of a step does not depend on how samples are packed into rows or rows
    are spread over processes; a mean of the rows' means would.

    Attributes:
        model: what is trained.
    """

    def __init__(self, model: MLLM) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, batch: Batch, totals: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Give a row's share of the step's loss.

        Args:
            batch: one row.
            totals: (2,) text tokens and image tokens that are predicted in the step.
            generator: see ``MLLM.forward``.

        Returns:
            () share, and ``MLLM.forward``'s values, without gradient.
        """
        out = self.model(batch, generator)
        # A step may predict no text, or no image: 0 tokens then weigh 0, not 0 / 0.
        shares = torch.stack([out["text_tokens"], out["vision_tokens"]]) / totals.clamp(min=1)
        loss = self.model.config.text_weight * shares[0] * out["text"] + shares[1] * out["vision"]
        return loss, {name: value.detach() for name, value in out.items()}


def count_predicted(batch: Batch) -> Tensor:
    """Count text and image tokens that a batch predicts, (2,) float64 on the CPU."""
    return torch.tensor([len(batch.text_index), len(batch.generated)], dtype=torch.float64)


class TokenMeans:
    """Sums of losses a token and numbers of tokens, by term and kind, until they are read."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._sums = self._zeros()

    def add(self, term: str, losses: Tensor, kinds: Tensor) -> None:
        """Count losses.

        Args:
            term: "text" or "vision".
            losses: (tokens,).
            kinds: (tokens,) places in `KINDS`.
        """
        values = torch.stack([losses.detach().double(), torch.ones_like(losses).double()], dim=1)
        self._sums[_TERMS.index(term)].index_add_(
            0, kinds.to(losses.device, non_blocking=True), values
        )

    def read(self) -> dict[str, float]:
        """Give the means since the last reading, of all and by kind; every process calls this."""
        sums = self._accelerator.reduce(self._sums, "sum")
        self._sums = self._zeros()
        means = {}
        for term, by_kind in zip(_TERMS, sums.tolist(), strict=True):
            total, count = (sum(column) for column in zip(*by_kind, strict=True))
            if count:
                means[f"{term}_loss"] = total / count
            for kind, (of_kind, tokens) in zip(KINDS, by_kind, strict=True):
                if tokens:
                    means[f"{term}_loss/{kind}"] = of_kind / tokens
        return means

    def _zeros(self) -> Tensor:
        shape = (len(_TERMS), len(KINDS), 2)
        return torch.zeros(shape, dtype=torch.float64, device=self._accelerator.device)


class MLLMTrainer(Trainer[MLLMTraining, PackedRows]):
    """Model, optimiser and perhaps averages of one run.

    Attributes:
        model: what is trained.
    """

    def __init__(self, config: MLLMTraining, parts: Assistant, accelerator: Accelerator) -> None:
        """Place everything.

        Args:
            config: the run.
            parts: the model to train, the same in every process, and its tokenizers.
            accelerator: the processes.

        Raises:
            TrainingError: the rows cannot be divided, or sharding has one process only.
        """
        super().__init__(config, accelerator)
        check_parts(config.batch_size, config.accumulation, accelerator.num_processes)
        self._parts = parts
        model = parts.model
        inner = [*_layers(model), *model.vision_head.net.res_blocks]
        # For rows of any length: a resumed run must not begin with kernels for another.
        self.compile(inner, dynamic=True)
        if config.gradient_checkpointing:
            run_again(inner)
        # A sharded model is moved part by part: no GPU need hold all of it.
        self.model = (model if config.shard else model.to(accelerator.device)).train()
        self._wrapped = self.wrap(Objective(self.model), units(self.model) if config.shard else ())
        weights = dict(self.model.named_parameters())
        self.train("model", self.model, build_adamw(weights, config.optimizer, ()))
        self.evaluate(weights)
        self._losses = TokenMeans(accelerator)

    def step(self, batch: PackedRows, number: int) -> None:
        """Train on a step's rows of this process, one after the other.

        Args:
            batch: the rows.
            number: of the step, from 0.
        """
        config, device = self.config, self.accelerator.device
        own = torch.stack([count_predicted(row.batch) for row in batch.rows]).sum(0)
        totals: Tensor = self.accelerator.reduce(own.to(device, non_blocking=True), "sum")
        world = self.accelerator.num_processes
        loss = torch.zeros((), device=device)
        for place, row in enumerate(batch.rows):
            # Numbered over all processes, whose rows follow each other: however many share them.
            row_number = self.accelerator.process_index * len(batch.rows) + place
            address = (config.seed, "step", number, 0, row_number)
            draws = stream(*address, device=device)
            with self.no_sync(self._wrapped, place + 1 < len(batch.rows)):
                share, values = self._wrapped(row.batch.to(device), totals, draws)
                # Gradients are averaged over processes, and shares add up over them.
                self.accelerator.backward(world * share)
            loss = loss + world * share.detach()
            self._log(row, values)
        norm = self.update("model", number, loss)
        self.average()
        tokens = torch.tensor([row.batch.tokens for row in batch.rows], dtype=torch.float32)
        filled = tokens.mean().to(device, non_blocking=True) / config.data.row_tokens
        self._means.add({"loss": loss, "gradient_norm": norm, "row_filled": filled})

    def _log(self, row: Row, values: dict[str, Tensor]) -> None:
        """Count the losses of a row's tokens, by the kind of their record."""
        batch = row.batch
        samples = batch.samples.flatten()
        spoken = row.kinds[samples[batch.text_index]]
        self._losses.add("text", values["text_losses"], spoken)
        drawn = row.kinds[samples[batch.condition_index]]
        self._losses.add("vision", values["vision_losses"], drawn)

    def averages(self) -> dict[str, float]:
        """Give the means, over the steps since the last call and over processes, of all terms."""
        return {**super().averages(), **self._losses.read()}

    def export(self, folder: Path) -> None:
        """Write the model, averaged where it is, with its tokenizers as plug-ins load them.

        Every process must call this; the main one writes.
        """
        weights = self.exported()
        if self.accelerator.is_main_process:
            with_weights(self._parts, weights).save_pretrained(folder)


def units(model: MLLM) -> list[nn.Module]:
    """Give what a sharded model gathers one at a time.

    Each is run in every pass, even where a row has no such tokens; else processes would wait for
    each other.
    """
    net = model.vision_head.net
    found: list[nn.Module] = [*_layers(model), *net.res_blocks, *net.ada_ln_blocks]
    if model.table.weight is not model.output_layer.weight:
        found += [model.table, model.output_layer]
    return found


def _layers(model: MLLM) -> nn.ModuleList:
    """Give the language model's layers: the one list of modules right below its base."""
    for child in model.language_model.base_model.children():
        if isinstance(child, nn.ModuleList):
            return child
    raise TrainingError(
        "the language model's layers were not found; --set shard=false and "
        "--set gradient_checkpointing=false train it without"
    )
