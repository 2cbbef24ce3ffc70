"""One step of the tokenizer's training, and its state."""

from __future__ import annotations

import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from accelerate import DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions

from uniwetok.losses.distillation import PrePostDistillation
from uniwetok.losses.heads import save_heads
from uniwetok.losses.teachers import Teacher
from uniwetok.randomness import stream
from uniwetok.tokenizer.model import UniWeTok
from uniwetok.train.data.stream import Batch
from uniwetok.train.engine.optimizers import build_adam
from uniwetok.train.engine.settings import check_parts
from uniwetok.train.engine.state import run_again
from uniwetok.train.engine.trainer import Trainer, make_accelerator
from uniwetok.train.tokenizer.config import LITE_TEACHER, TEACHER_TAG, TokenizerTraining
from uniwetok.train.tokenizer.networks import build_networks


class TokenizerTrainer(Trainer[TokenizerTraining, Batch]):
    """Tokenizer and discriminator, an optimiser each, and averages of the tokenizer.

    Attributes:
        networks: what is trained, and the teacher.
    """

    def __init__(
        self,
        config: TokenizerTraining,
        *,
        device: str = "auto",
        vgg16: Path | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        """Build and place everything.

        Args:
            config: the run.
            device: "cpu", or "auto" for this process's GPU where there is one.
            vgg16: file of VGG16's weights for LPIPS.
            teacher: takes the place of the one that the configuration names, such as embeddings
                that were computed before; on the device.

        Raises:
            TrainingError: weights are missing or do not fit, or the batch cannot be divided.
        """
        # Buffers are LeCAM's averages, of which each process keeps its own. What torch 2.15 would
        # have instead, no earlier one takes, nor does accelerate hand it on.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        handler = DistributedDataParallelKwargs(broadcast_buffers=False)
        super().__init__(config, make_accelerator(config, device, handler))
        if not config.data.buckets:
            check_parts(config.batch_size, config.accumulation, self.accelerator.num_processes)
        self.networks = build_networks(config, self.accelerator.device, vgg16, teacher)
        generator, discriminator = self.networks.generator, self.networks.discriminator
        sides = (generator.tokenizer.encoder, generator.tokenizer.decoder)
        # At once: compiled by itself each of their blocks, all of other sizes, would be another.
        self.compile(generator.blocks() if config.gradient_checkpointing else sides)
        if config.gradient_checkpointing:
            run_again(generator.blocks())
        self._generator = self.wrap(generator, generator.blocks())
        self._add("generator", generator)
        self.evaluate(generator.averaged())
        if discriminator is not None:
            # Small enough for every process to hold it whole, where the generator is sharded too.
            self._discriminator: nn.Module = self.accelerator.prepare_model(discriminator)
            self._add("discriminator", discriminator)

    def _add(self, name: str, network: nn.Module) -> None:
        trained = [weight for weight in network.parameters() if weight.requires_grad]
        self.train(name, network, build_adam(trained, self.config.optimizer))

    def step(self, batch: Batch, number: int) -> None:
        """Train the tokenizer, then the discriminator, on one batch of this process.

        Args:
            batch: images; labels are ignored.
            number: of the step, from 0.
        """
        config, images = self.config, batch.images
        parts = [
            part.to(self.accelerator.device, non_blocking=True)
            for part in images.tensor_split(min(config.accumulation, len(images)))
        ]
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=parts[0].device))
        reconstructions = []
        for index, part in enumerate(parts):
            # Parts may differ in size by one, and processes in pixels: weighed so, they sum to the
            # mean over all pixels of the step.
            weight = batch.weight * len(part) / len(images)
            with self.no_sync(self._generator, index + 1 < len(parts)):
                result = self._generator_pass(part, number, index, len(parts))
                total = result.terms.total
                if result.prior is not None and config.prior is not None:
                    total = total + config.prior.weight * result.prior
                    sums["prior"] += weight * result.prior.detach()
                self.accelerator.backward(weight * total)
            sums["loss"] += weight * total.detach()
            for name, value in result.terms.parts().items():
                sums[name] += weight * value
            reconstructions.append(result.reconstruction)
        sums["gradient_norm"] = self.update("generator", number, sums["loss"])
        self.average()
        if self.networks.discriminator is not None:
            # On the reconstructions that the generator was just judged by: no second pass.
            for index, (part, fake) in enumerate(zip(parts, reconstructions, strict=True)):
                weight = batch.weight * len(part) / len(images)
                with self.no_sync(self._discriminator, index + 1 < len(parts)):
                    terms = self._discriminator(part, fake)
                    self.accelerator.backward(weight * terms.total)
                sums["discriminator"] += weight * terms.total.detach()
                for name in ("lecam", "real_logit", "fake_logit"):
                    sums[name] += weight * getattr(terms, name)
            self.update("discriminator", number, sums["discriminator"])
        self._means.add(sums)

    def _generator_pass(self, images: Tensor, number: int, part: int, parts: int) -> Any:
        config, accelerator = self.config, self.accelerator
        # Numbered over all processes: two that pass once draw what one that passes twice does.
        address = (config.seed, "step", number, accelerator.process_index * parts + part, 0)
        rows, columns = (side // config.model.downsample for side in images.shape[2:])
        noise = torch.randn(
            (len(images), config.model.latent_channels, rows, columns),
            generator=stream(*address, "noise"),
        ).to(images.device, non_blocking=True)
        teacher, discriminator = self.networks.teacher, self.networks.discriminator
        return self._generator(
            images,
            noise,
            None if teacher is None else teacher.embed(images),
            None if discriminator is None else discriminator.network,
            stream(*address, "prior", device=images.device),
        )

    def state(self, options: StateDictOptions | None = None) -> dict[str, Any]:
        """Give everything a run needs to go on; every process must call this."""
        state = super().state(options)
        if self.networks.discriminator is not None:
            # Of every process, (processes, 2): each follows its own images.
            own = torch.stack(list(self.networks.discriminator.loss.lecam.buffers()))
            state["lecam"] = self.accelerator.gather(own[None]).tolist()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Bring back a ``state``; every process must call this."""
        super().restore(state)
        if self.networks.discriminator is not None:
            gathered = torch.as_tensor(state["lecam"])
            same = len(gathered) == self.accelerator.num_processes
            own = gathered[self.accelerator.process_index] if same else gathered.mean(0)
            averages = self.networks.discriminator.loss.lecam.buffers()
            for buffer, value in zip(averages, own, strict=True):
                buffer.copy_(value)

    def averaged_tokenizer(self) -> UniWeTok:
        """Build a tokenizer from the averages, on the CPU; every process must call this."""
        tokenizer = UniWeTok(self.config.model)
        tokenizer.load_state_dict(self.exported("tokenizer."))
        return tokenizer.eval()

    def averaged_heads(self) -> PrePostDistillation | None:
        """Build the distillation's heads from the averages; every process must call this."""
        trained = self.networks.generator.loss.distillation
        if trained is None:
            return None
        heads = PrePostDistillation(trained.config, trained.channels, trained.width)
        heads.load_state_dict(self.exported("loss.distillation."))
        return heads.eval()

    def export(self, folder: Path) -> UniWeTok:
        """Write the averaged tokenizer, and its heads, as plug-ins load them.

        Every process must call this; the main one writes.
        """
        tokenizer = self.averaged_tokenizer()
        heads = self.averaged_heads()
        if self.accelerator.is_main_process:
            tokenizer.save_pretrained(folder)
            if heads is not None:
                tag = None if self.config.teacher == LITE_TEACHER else TEACHER_TAG
                save_heads(folder, heads, teacher=self.config.teacher, tag=tag)
        return tokenizer
