"""The networks of a training run of the tokenizer, and one pass through them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from uniwetok.losses.adversarial import DiscriminatorLoss, DiscriminatorTerms, PatchDiscriminator
from uniwetok.losses.config import MissingWeights
from uniwetok.losses.heads import load_heads
from uniwetok.losses.perceptual import Lpips
from uniwetok.losses.prior import GenerativeAwarePrior
from uniwetok.losses.teachers import EfficientNetLiteTeacher, OpenClipTeacher, Teacher
from uniwetok.losses.total import TokenizerLoss, TokenizerTerms
from uniwetok.randomness import stream_seed
from uniwetok.tensors import CheckpointError
from uniwetok.tokenizer.layers import ResBlock, TransformerBlock
from uniwetok.tokenizer.model import UniWeTok
from uniwetok.tokenizer.quantizer import quantize_straight_through
from uniwetok.train import TrainingError
from uniwetok.train.tokenizer.config import LITE_TEACHER, TokenizerTraining


@dataclass(frozen=True)
class GeneratorPass:
    """What a pass through the tokenizer gives."""

    terms: TokenizerTerms
    """Losses before their weights; ``total`` leaves the prior's out."""
    prior: Tensor | None
    """The prior's loss before its weight, with gradients; None without a prior."""
    reconstruction: Tensor
    """(batch, 3, H, W), detached, not clamped."""


class Generator(nn.Module):
    """Everything the tokenizer's optimiser trains, in one module that can be wrapped and sharded.

    Attributes:
        tokenizer: the autoencoder.
        loss: its losses, with the heads of the distillation.
        prior: the Generative-Aware Prior, or None.
    """

    def __init__(
        self, config: TokenizerTraining, lpips: Lpips | None, teacher_width: int | None
    ) -> None:
        super().__init__()
        self.tokenizer = UniWeTok(config.model)
        self.loss = TokenizerLoss(
            config.loss,
            channels=config.model.latent_channels,
            groups=config.model.groups,
            lpips=lpips,
            teacher_width=teacher_width,
        )
        self.prior = (
            None
            if config.prior is None
            else GenerativeAwarePrior(
                config.prior,
                config.model.latent_channels,
                grid=config.data.resolution // config.model.downsample,
            )
        )
        for half in (self.tokenizer.encoder, self.tokenizer.decoder):
            if half.register_token is not None and not config.model.attention_blocks:
                # Weights that no pass reaches would keep data-parallel training waiting for them.
                half.register_token.requires_grad_(False)

    def forward(
        self,
        images: Tensor,
        noise: Tensor,
        target: Tensor | None,
        discriminator: PatchDiscriminator | None,
        draws: torch.Generator,
    ) -> GeneratorPass:
        """Encode, quantise, decode and compare.

        Args:
            images: (batch, 3, H, W) in [-1, 1].
            noise: standard normal, shaped as the codes.
            target: (batch, width) embeddings of the teacher, or None.
            discriminator: judges the reconstruction, or None.
            draws: the prior's times and noise, on the images' device.
        """
        latents = self.tokenizer.encoder(images)
        codes = quantize_straight_through(latents)
        reconstruction = self.tokenizer.decoder(codes, noise)
        fake_logits = None
        if discriminator is not None:
            fake_logits = discriminator.generator_logits(reconstruction)
        terms = self.loss(
            images, reconstruction, latents, codes, fake_logits=fake_logits, target=target
        )
        prior = None if self.prior is None else self.prior(codes, draws)
        return GeneratorPass(terms, prior, reconstruction.detach())

    def blocks(self) -> list[nn.Module]:
        """Give what is sharded one by one, and may be run again for its gradients."""
        kinds = (ResBlock, TransformerBlock)
        return [module for module in self.tokenizer.modules() if isinstance(module, kinds)]

    def averaged(self) -> dict[str, Tensor]:
        """Weights whose moving averages are evaluated: all but the prior's."""
        return {
            name: weight
            for name, weight in self.named_parameters()
            if not name.startswith("prior.")
        }


class Discriminator(nn.Module):
    """The discriminator with its loss, in one module that can be wrapped."""

    def __init__(self, config: TokenizerTraining) -> None:
        super().__init__()
        self.network = PatchDiscriminator()
        self.loss = DiscriminatorLoss(config.loss.adversarial)

    def forward(self, images: Tensor, reconstruction: Tensor) -> DiscriminatorTerms:
        """Judge images and their detached reconstructions, each (batch, 3, H, W)."""
        terms: DiscriminatorTerms = self.loss(self.network(images), self.network(reconstruction))
        return terms


@dataclass(frozen=True)
class Networks:
    """The networks of one run."""

    generator: Generator
    discriminator: Discriminator | None
    teacher: Teacher | None


def build_networks(
    config: TokenizerTraining,
    device: torch.device,
    vgg16: Path | None = None,
    teacher: Teacher | None = None,
) -> Networks:
    """Build and initialise the networks, the same in every process.

    Args:
        config: the run.
        device: where they are trained.
        vgg16: file of VGG16's weights for LPIPS.
        teacher: takes the place of the one that the configuration names.

    Raises:
        TrainingError: weights are missing or do not fit.
    """
    try:
        if config.loss.distillation is None:
            teacher = None
        elif teacher is None:
            teacher = _teacher(config, device)
        lpips = Lpips(vgg16 or Path("vgg16-397923af.pth")) if config.loss.lpips_weight else None
        torch.manual_seed(stream_seed(config.seed, "weights"))
        generator = Generator(config, lpips, teacher.width if teacher else None)
        discriminator = Discriminator(config) if config.loss.adversarial else None
        if config.init is not None:
            _initialise(generator, config)
        if config.freeze_encoder:
            generator.tokenizer.encoder.requires_grad_(False)
    except (MissingWeights, CheckpointError, ValueError) as error:
        raise TrainingError(str(error)) from error
    return Networks(
        generator.to(device).train(),
        discriminator.to(device).train() if discriminator else None,
        teacher,
    )


def _teacher(config: TokenizerTraining, device: torch.device) -> Teacher:
    if config.teacher == LITE_TEACHER:
        return EfficientNetLiteTeacher(device)
    return OpenClipTeacher(config.teacher, device=device)


def _initialise(generator: Generator, config: TokenizerTraining) -> None:
    """Start from an earlier run's weights: the tokenizer's, and its heads' where they fit."""
    assert config.init is not None
    source = UniWeTok.from_checkpoint(config.init, config.model)
    generator.tokenizer.load_state_dict(source.state_dict())
    heads = generator.loss.distillation
    if heads is not None and (Path(config.init) / "distillation.json").is_file():
        earlier, card = load_heads(Path(config.init))
        if card.teacher == config.teacher and earlier.config == heads.config:
            heads.load_state_dict(earlier.state_dict())
