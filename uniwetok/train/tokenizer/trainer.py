"""One step of the tokenizer's training, and its state."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn

from uniwetok.losses.distillation import PrePostDistillation
from uniwetok.losses.heads import save_heads
from uniwetok.randomness import stream
from uniwetok.tokenizer.model import UniWeTok
from uniwetok.train.engine.config import LITE_TEACHER, TEACHER_TAG, check_division
from uniwetok.train.engine.ema import Ema
from uniwetok.train.engine.networks import build_networks
from uniwetok.train.engine.optimizers import build_adam, learning_rate
from uniwetok.train.engine.state import copy_into, full, network_state, restore_network, shard
from uniwetok.train.engine.updates import MIXED_PRECISION, RunningMeans, no_sync, update

if TYPE_CHECKING:
    from uniwetok.losses.teachers import Teacher
    from uniwetok.train.data import Batch
    from uniwetok.train.engine.config import TokenizerTraining

_CHECKPOINT_FLOATS = 4
"""Of each weight: itself, Adam's two moments and its average."""


class TokenizerTrainer:
    """Networks, optimisers and averages of one run, on one process of many or alone.

    A step depends on the state, the batch and its number alone: noise is drawn from streams that
    the number addresses, so that a resumed run repeats what it would have done.

    Attributes:
        config: the run.
        accelerator: the processes, the device and the precision.
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
        self.config = config
        self.accelerator = Accelerator(
            cpu=device == "cpu",
            mixed_precision=MIXED_PRECISION[config.precision],
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
        check_division(config, self.accelerator.num_processes)
        self.networks = build_networks(config, self.accelerator.device, vgg16, teacher)
        generator, discriminator = self.networks.generator, self.networks.discriminator
        if config.compile:
            generator.tokenizer.encoder.compile()
            generator.tokenizer.decoder.compile()
        if config.shard:
            sides = (generator.tokenizer.encoder, generator.tokenizer.decoder)
            blocks = [block for side in sides for block in side.mid_attn_blocks]
            shard(generator, blocks, self.accelerator)
        # Sharded networks are already wrapped; all that is left to add is autocast.
        self._generator: nn.Module = self.accelerator.prepare_model(
            generator, evaluation_mode=config.shard
        )
        self._generator_adam = self._adam(generator)
        self.ema = Ema(generator.averaged(), config.ema_decay)
        if discriminator is not None:
            self._discriminator: nn.Module = self.accelerator.prepare_model(discriminator)
            self._discriminator_adam = self._adam(discriminator)
        self._means = RunningMeans(self.accelerator)

    def _adam(self, network: nn.Module) -> Any:
        trained = [weight for weight in network.parameters() if weight.requires_grad]
        return self.accelerator.prepare_optimizer(build_adam(trained, self.config.optimizer))

    @property
    def checkpoint_bytes(self) -> int:
        """Size of a checkpoint, up to its small parts."""
        return 4 * _CHECKPOINT_FLOATS * sum(p.numel() for p in self.networks.generator.parameters())

    def step(self, batch: Batch, number: int) -> None:
        """Train the tokenizer, then the discriminator, on one batch of this process.

        Args:
            batch: its images are looked at.
            number: of the step, from 0.

        Raises:
            TrainingError: a loss or a gradient is not finite; weights are as before the step.
        """
        config, images = self.config, batch.images
        rate = learning_rate(config.optimizer, number, config.steps)
        parts = [
            part.to(self.accelerator.device, non_blocking=True)
            for part in images.tensor_split(min(config.accumulation, len(images)))
        ]
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=parts[0].device))
        reconstructions = []
        for index, part in enumerate(parts):
            weight = len(part) / len(images)
            with no_sync(self.accelerator, self._generator, index + 1 < len(parts)):
                result = self._generator_pass(part, number, index)
                total = result.terms.total
                if result.prior is not None and config.prior is not None:
                    total = total + config.prior.weight * result.prior
                    sums["prior"] += weight * result.prior.detach()
                self.accelerator.backward(weight * total)
            sums["loss"] += weight * total.detach()
            for name, value in result.terms.parts().items():
                sums[name] += weight * value
            reconstructions.append(result.reconstruction)
        generator = self.networks.generator
        sums["gradient_norm"] = self._update(generator, self._generator_adam, rate, sums["loss"])
        self.ema.update()
        discriminator = self.networks.discriminator
        if discriminator is not None:
            for index, (part, fake) in enumerate(zip(parts, reconstructions, strict=True)):
                weight = len(part) / len(images)
                with no_sync(self.accelerator, self._discriminator, index + 1 < len(parts)):
                    terms = self._discriminator(part, fake)
                    self.accelerator.backward(weight * terms.total)
                sums["discriminator"] += weight * terms.total.detach()
                for name in ("lecam", "real_logit", "fake_logit"):
                    sums[name] += weight * getattr(terms, name)
            self._update(discriminator, self._discriminator_adam, rate, sums["discriminator"])
        self._means.add(sums)

    def _generator_pass(self, images: Tensor, number: int, part: int) -> Any:
        config, accelerator = self.config, self.accelerator
        address = (config.seed, "step", number, accelerator.process_index, part)
        rows, columns = (side // config.model.downsample for side in images.shape[2:])
        noise = torch.randn(
            (len(images), config.model.latent_channels, rows, columns),
            generator=stream(*address, "noise"),
        ).to(images.device)
        teacher, discriminator = self.networks.teacher, self.networks.discriminator
        return self._generator(
            images,
            noise,
            None if teacher is None else teacher.embed(images),
            None if discriminator is None else discriminator.network,
            stream(*address, "prior", device=images.device),
        )

    def _update(self, network: nn.Module, optimizer: Any, rate: float, loss: Tensor) -> Tensor:
        limit = self.config.optimizer.max_gradient_norm
        return update(self.accelerator, network, optimizer, rate=rate, limit=limit, loss=loss)

    def averages(self) -> dict[str, float]:
        """Give the means, over the steps since the last call and over processes, of all terms."""
        return self._means.read()

    def state(self) -> dict[str, Any]:
        """Give everything a run needs to go on; every process must call this."""
        state: dict[str, Any] = {
            "generator": network_state(self.networks.generator, self._generator_adam.optimizer),
            "ema": {name: full(value).cpu() for name, value in self.ema.averages.items()},
        }
        if self.networks.discriminator is not None:
            state["discriminator"] = network_state(
                self.networks.discriminator, self._discriminator_adam.optimizer
            )
            state["lecam"] = self._gathered_lecam().cpu()
        if self.accelerator.scaler is not None:
            state["scaler"] = self.accelerator.scaler.state_dict()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Bring back a ``state``; every process must call this."""
        restore_network(self.networks.generator, self._generator_adam.optimizer, state["generator"])
        for name, value in state["ema"].items():
            copy_into(self.ema.averages[name], value)
        if self.networks.discriminator is not None:
            restore_network(
                self.networks.discriminator,
                self._discriminator_adam.optimizer,
                state["discriminator"],
            )
            self._restore_lecam(state["lecam"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])

    def _lecam_averages(self) -> list[Tensor]:
        assert self.networks.discriminator is not None
        return list(self.networks.discriminator.loss.lecam.buffers())

    def _gathered_lecam(self) -> Tensor:
        """Averages of every process, (processes, 2): each follows its own images."""
        gathered: Tensor = self.accelerator.gather(torch.stack(self._lecam_averages())[None])
        return gathered

    def _restore_lecam(self, gathered: Tensor) -> None:
        same = len(gathered) == self.accelerator.num_processes
        own = gathered[self.accelerator.process_index] if same else gathered.mean(0)
        for buffer, value in zip(self._lecam_averages(), own, strict=True):
            buffer.copy_(value)

    def averaged_tokenizer(self) -> UniWeTok:
        """Build a tokenizer from the averages, on the CPU; every process must call this."""
        weights = self._averages_under("tokenizer.")
        tokenizer = UniWeTok(self.config.model)
        tokenizer.load_state_dict(weights)
        return tokenizer.eval()

    def averaged_heads(self) -> PrePostDistillation | None:
        """Build the distillation's heads from the averages; every process must call this."""
        trained = self.networks.generator.loss.distillation
        if trained is None:
            return None
        weights = self._averages_under("loss.distillation.")
        heads = PrePostDistillation(trained.config, trained.channels, trained.width)
        heads.load_state_dict(weights)
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

    def _averages_under(self, prefix: str) -> dict[str, Tensor]:
        return {
            name.removeprefix(prefix): full(value).cpu()
            for name, value in self.ema.averages.items()
            if name.startswith(prefix)
        }
