"""One step of the class-to-image model's training, and its state."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from uniwetok.ar.checkpoint import TOKENIZER_FILE
from uniwetok.ar.model import BitDance
from uniwetok.files import write_json
from uniwetok.randomness import stream, stream_seed
from uniwetok.tensors import CheckpointError
from uniwetok.tokenizer.quantizer import unpack_bytes
from uniwetok.train import TrainingError
from uniwetok.train.ar.config import UNDECAYED, ARTraining
from uniwetok.train.codes.stream import CodeBatch
from uniwetok.train.engine.optimizers import build_adamw
from uniwetok.train.engine.settings import check_parts
from uniwetok.train.engine.state import run_again
from uniwetok.train.engine.trainer import Trainer, make_accelerator


class ARTrainer(Trainer[ARTraining, CodeBatch]):
    """Model, optimiser and averages of one run.

    Flips, dropped labels, times and noise are drawn by step and part of the batch, so that more
    processes that accumulate less draw the same.

    Attributes:
        model: what is trained.
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
        super().__init__(config, make_accelerator(config, device))
        check_parts(config.batch_size, config.accumulation, self.accelerator.num_processes)
        self._tokenizer = tokenizer
        self.model = _build(config).to(self.accelerator.device).train()
        inner = blocks(self.model)
        again = config.gradient_checkpointing
        self.compile(inner if again else (*self.model.layers, self.model.head.net))
        if again:
            run_again(inner)
        self._wrapped = self.wrap(self.model, inner)
        weights = dict(self.model.named_parameters())
        self.train("model", self.model, build_adamw(weights, config.optimizer, UNDECAYED))
        self.evaluate(weights)

    def step(self, batch: CodeBatch, number: int) -> None:
        """Train on one batch of this process.

        Args:
            batch: codes of the model's size, and their classes.
            number: of the step, from 0.
        """
        config, device = self.config, self.accelerator.device
        count = min(config.accumulation, len(batch))
        parts = zip(batch.packed.tensor_split(count), batch.labels.tensor_split(count), strict=True)
        loss = torch.zeros((), device=device)
        for index, (packed, labels) in enumerate(parts):
            # Parts may differ in size by one: weighed so, they sum to the whole batch's mean.
            share = len(labels) / len(batch)
            # Numbered over all processes: two that pass once draw what one that passes twice does.
            address = (config.seed, "step", number, self.accelerator.process_index * count + index)
            grid = (config.model.grid, config.model.grid)
            codes = unpack_bytes(
                packed.to(device, non_blocking=True), grid, config.model.latent_channels
            )
            with self.no_sync(self._wrapped, index + 1 < count):
                part: Tensor = self._wrapped(
                    codes, labels.to(device, non_blocking=True), stream(*address, device=device)
                )
                self.accelerator.backward(share * part)
            loss = loss + share * part.detach()
        norm = self.update("model", number, loss)
        self.average()
        self._means.add({"loss": loss, "gradient_norm": norm})

    def averaged_model(self) -> BitDance:
        """Build a model from the averages, on the CPU; every process must call this."""
        with torch.device("meta"):
            model = BitDance(self.config.model)
        # Cloned: on a CPU the averages themselves would become the model's weights.
        weights = {name: weight.clone() for name, weight in self.exported().items()}
        model.load_state_dict(weights, assign=True)
        return model.eval()

    def export(self, folder: Path) -> None:
        """Write the averaged model as plug-ins load it.

        Every process must call this; the main one writes.
        """
        model = self.averaged_model()
        if self.accelerator.is_main_process:
            model.save_pretrained(folder)
            write_json(folder / TOKENIZER_FILE, {"encoder_sha256": self._tokenizer})


def blocks(model: BitDance) -> list[nn.Module]:
    """Give what is sharded one by one, and may be run again for its gradients."""
    return [*model.layers, *model.head.net.res_blocks]


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
