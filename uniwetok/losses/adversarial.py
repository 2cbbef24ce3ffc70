"""PatchGAN discriminator and the adversarial losses, with the LeCAM regulariser."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from uniwetok.losses.config import AdversarialConfig
from uniwetok.losses.numerics import full_precision

_LAYERS = 3
_SLOPE = 0.2
_INIT_STD = 0.02


class PatchDiscriminator(nn.Module):
    """PatchGAN discriminator (Isola et al. 2017) as released: 3 layers, BatchNorm, 4x4 kernels.

    2,765,633 parameters at the default width; names of the weights are the released ones. BatchNorm
    uses the statistics of the local batch, real and reconstructed images apart. Two passes of one
    step would let DistributedDataParallel overwrite the running statistics in between: wrap it with
    ``broadcast_buffers=False``.
    """

    def __init__(self, channels: int = 64) -> None:
        """Initialise weights from N(0, 0.02), those of BatchNorm from N(1, 0.02).

        Args:
            channels: width of the first layer (released: 64); each further layer doubles it.
        """
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 4, 2, 1), nn.LeakyReLU(_SLOPE)]
        for layer in range(1, _LAYERS + 1):
            width = channels << layer
            stride = 2 if layer < _LAYERS else 1
            layers += [
                nn.Conv2d(width // 2, width, 4, stride, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.LeakyReLU(_SLOPE),
            ]
        layers.append(nn.Conv2d(channels << _LAYERS, 1, 4, 1, 1))
        self.main = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, _INIT_STD)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, _INIT_STD)

    def forward(self, images: Tensor) -> Tensor:
        """Score patches: (batch, 3, H, W) in [-1, 1] to logits (batch, 1, H / 8 - 2, W / 8 - 2)."""
        logits: Tensor = self.main(images)
        return logits

    def generator_logits(self, reconstruction: Tensor) -> Tensor:
        """Score reconstructions with gradients to them alone, none to the weights.

        The tokenizer's step thus neither computes nor leaves gradients that the discriminator's
        step would have to clear.
        """
        weights = {name: weight.detach() for name, weight in self.named_parameters()}
        logits: Tensor = torch.func.functional_call(self, weights, (reconstruction,))
        return logits


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Non-saturating loss of the tokenizer, on the spatially averaged logit of each image.

    Args:
        fake_logits: (batch, 1, h, w) of the reconstructions.

    Returns:
        Scalar, at least 0; ln 2 where the discriminator is undecided.
    """
    return F.softplus(-full_precision(fake_logits).mean((1, 2, 3))).mean()


def hinge_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Hinge loss of the discriminator, on patches.

    Args:
        real_logits: (batch, 1, h, w) of images.
        fake_logits: (batch, 1, h, w) of their reconstructions, detached from the tokenizer.

    Returns:
        Scalar, at least 0; 1 where the discriminator is undecided.
    """
    real, fake = full_precision(real_logits), full_precision(fake_logits)
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


class LeCam(nn.Module):
    """LeCAM regulariser (Tseng et al. 2021): keeps logits near the other side's moving average.

    The averages start at 0 and follow the local batch, as released. They are persistent buffers, so
    that a resumed run goes on where it stopped; the release keeps them as plain numbers, loses them
    on resuming, and also updates them in validation.

    Attributes:
        real_average: moving average of the mean logit of images, float32 scalar.
        fake_average: the same of reconstructions.
    """

    real_average: Tensor
    fake_average: Tensor

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("real_average", torch.zeros(()))
        self.register_buffer("fake_average", torch.zeros(()))

    def forward(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Update the averages, in training mode only, then compute the regulariser from them.

        Args:
            real_logits: (batch, 1, h, w) of images.
            fake_logits: (batch, 1, h, w) of their reconstructions.

        Returns:
            Scalar, at least 0, with gradients to the logits.
        """
        real, fake = full_precision(real_logits), full_precision(fake_logits)
        if self.training:
            with torch.no_grad():
                for average, logits in ((self.real_average, real), (self.fake_average, fake)):
                    average.lerp_(logits.mean().to(average.dtype), 1 - self.decay)
        # As released, not the paper's plain squares: only logits that beat the other side's average
        # are pulled back, which keeps the discriminator from growing ever surer.
        above = F.relu(real - self.fake_average).square().mean()
        below = F.relu(self.real_average - fake).square().mean()
        return above + below


@dataclass(frozen=True)
class DiscriminatorTerms:
    """Parts of the discriminator's loss; scalars, detached except for ``total``."""

    total: Tensor
    """What is minimised."""
    hinge: Tensor
    """Hinge loss."""
    lecam: Tensor
    """LeCAM regulariser, before its weight."""
    real_logit: Tensor
    """Mean logit of images."""
    fake_logit: Tensor
    """Mean logit of reconstructions."""


class DiscriminatorLoss(nn.Module):
    """Loss of the discriminator: hinge and weighted LeCAM.

    Attributes:
        lecam: the regulariser, whose averages belong into checkpoints.
    """

    def __init__(self, config: AdversarialConfig | None = None) -> None:
        super().__init__()
        config = config or AdversarialConfig()
        self.lecam_weight = config.lecam_weight
        self.lecam = LeCam(config.lecam_decay)

    def forward(self, real_logits: Tensor, fake_logits: Tensor) -> DiscriminatorTerms:
        """Assemble the loss.

        Args:
            real_logits: (batch, 1, h, w) of images.
            fake_logits: (batch, 1, h, w) of their reconstructions, detached from the tokenizer.
        """
        hinge = hinge_loss(real_logits, fake_logits)
        lecam = self.lecam(real_logits, fake_logits)
        return DiscriminatorTerms(
            total=hinge + self.lecam_weight * lecam,
            hinge=hinge.detach(),
            lecam=lecam.detach(),
            real_logit=full_precision(real_logits.detach()).mean(),
            fake_logit=full_precision(fake_logits.detach()).mean(),
        )
