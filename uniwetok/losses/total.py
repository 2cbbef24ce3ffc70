"""The tokenizer's total loss (paper, Eq. 2 and 8, without the Generative-Aware Prior)."""

from __future__ import annotations

from dataclasses import dataclass, fields

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from uniwetok.losses.adversarial import generator_loss
from uniwetok.losses.config import TokenizerLossConfig
from uniwetok.losses.distillation import PrePostDistillation
from uniwetok.losses.entropy import entropy_loss
from uniwetok.losses.numerics import full_precision
from uniwetok.losses.perceptual import Lpips


def commitment_loss(latents: Tensor, codes: Tensor) -> Tensor:
    """Mean squared distance of latents from their codes, which receive no gradient.

    Args:
        latents: floating, any shape, before the sign.
        codes: +1 or -1, shaped as ``latents``.

    Returns:
        Scalar, float32 (float64 for float64 latents). Latents in [-1, 1] give 0 .. 1.

    Raises:
        ValueError: the shapes differ.
    """
    if latents.shape != codes.shape:
        raise ValueError(
            f"latents {tuple(latents.shape)} and codes {tuple(codes.shape)} differ in shape; "
            f"give the codes of these latents"
        )
    latents = full_precision(latents)
    return (latents - codes.detach().to(latents.dtype)).square().mean()


@dataclass(frozen=True)
class TokenizerTerms:
    """Parts of the tokenizer's loss before their weights; scalars, detached except for ``total``.

    A part that the configuration leaves out is None.
    """

    total: Tensor
    """What is minimised. A further loss, such as a prior's, is added to it by the caller."""
    l1: Tensor
    """Mean absolute difference of images and reconstructions."""
    lpips: Tensor | None
    """Mean LPIPS-VGG."""
    generator: Tensor | None
    """Non-saturating adversarial loss."""
    token_entropy: Tensor
    """Nats."""
    codebook_entropy: Tensor
    """Nats."""
    commitment: Tensor
    """Mean squared distance of latents from codes; also where its weight is 0."""
    pre_distillation: Tensor | None
    """Cosine loss of the latents."""
    post_distillation: Tensor | None
    """Cosine loss of the codes."""

    def parts(self) -> dict[str, Tensor]:
        """Return the parts that are there by name, without ``total``."""
        values = {field.name: getattr(self, field.name) for field in fields(self)[1:]}
        return {name: value for name, value in values.items() if value is not None}


class TokenizerLoss(nn.Module):
    """Total loss of one step of the tokenizer.

    total = mean(|x - x'| + LPIPS) + 0.1 generator + 0.1 (token entropy - codebook entropy)
    + alpha commitment + theta (pre + eta post), with the configuration's weights.

    The discriminator and the teacher are not part of it: their outputs are passed in, so that each
    can be wrapped, placed and stored as it needs.

    Attributes:
        config: weights and open choices.
        distillation: the trainable heads, which belong to the tokenizer's optimiser, or None.
        lpips: the frozen perceptual network, or None.
    """

    def __init__(
        self,
        config: TokenizerLossConfig,
        *,
        channels: int = 128,
        groups: int = 16,
        lpips: Lpips | None = None,
        teacher_width: int | None = None,
    ) -> None:
        """Check that every part the configuration weighs is there.

        Args:
            config: weights and open choices.
            channels: bits of a token.
            groups: groups of the quantizer.
            lpips: needed unless ``lpips_weight`` is 0.
            teacher_width: needed unless ``distillation`` is None.

        Raises:
            ValueError: a part is missing, or does not fit.
        """
        super().__init__()
        if config.lpips_weight and lpips is None:
            raise ValueError(
                f"lpips_weight={config.lpips_weight} needs lpips=Lpips(path of VGG16's weights); "
                f"set lpips_weight=0 to train without"
            )
        self.config = config
        self.groups = groups
        self.lpips = lpips if config.lpips_weight else None
        self.distillation: PrePostDistillation | None = None
        if config.distillation is not None:
            if teacher_width is None:
                raise ValueError(
                    "distillation needs teacher_width, the width of the teacher's embeddings; set "
                    "distillation=None to train without a teacher"
                )
            self.distillation = PrePostDistillation(config.distillation, channels, teacher_width)

    def forward(
        self,
        images: Tensor,
        reconstruction: Tensor,
        latents: Tensor,
        codes: Tensor,
        *,
        fake_logits: Tensor | None = None,
        target: Tensor | None = None,
    ) -> TokenizerTerms:
        """Assemble the loss.

        Args:
            images: (batch, 3, H, W) floating in [-1, 1].
            reconstruction: of the same shape, not clamped.
            latents: (batch, channels, h, w), the encoder's output, before the sign.
            codes: +1 or -1, of the same shape, with straight-through gradients.
            fake_logits: (batch, 1, h', w'), the discriminator's ``generator_logits`` of the
                reconstruction; needed unless ``adversarial`` is None.
            target: (batch, width) embeddings of the images by the teacher; needed unless
                ``distillation`` is None.

        Raises:
            ValueError: a needed part is missing, or shapes do not fit.
        """
        if images.shape != reconstruction.shape:
            raise ValueError(
                f"images are {tuple(images.shape)}, reconstructions {tuple(reconstruction.shape)}; "
                f"crop or pad them to one size"
            )
        config = self.config
        # As released, LPIPS is added to every pixel before the mean; the two means are the same.
        shown, wanted = full_precision(reconstruction), full_precision(images)
        l1 = F.l1_loss(shown, wanted)
        entropy = entropy_loss(latents, self.groups, config.entropy)
        commitment = commitment_loss(latents, codes)
        total = l1 + config.entropy.weight * entropy.auxiliary
        if config.l2_weight:
            total = total + config.l2_weight * F.mse_loss(shown, wanted)
        if config.commitment_weight:
            total = total + config.commitment_weight * commitment
        lpips = generator = pre = post = None
        if self.lpips is not None:
            lpips = self.lpips(images, reconstruction).mean()
            total = total + config.lpips_weight * lpips
        if config.adversarial is not None:
            if fake_logits is None:
                raise ValueError("adversarial is set: pass fake_logits, or set adversarial=None")
            generator = generator_loss(fake_logits)
            total = total + config.adversarial.generator_weight * generator
        if self.distillation is not None:
            if target is None:
                raise ValueError("distillation is set: pass target, or set distillation=None")
            distillation = self.distillation(latents, codes, target)
            pre, post = distillation.pre, distillation.post
            total = total + self.distillation.config.weight * distillation.total
        return TokenizerTerms(
            total=total,
            l1=l1.detach(),
            lpips=_detached(lpips),
            generator=_detached(generator),
            token_entropy=entropy.token.detach(),
            codebook_entropy=entropy.codebook.detach(),
            commitment=commitment.detach(),
            pre_distillation=_detached(pre),
            post_distillation=_detached(post),
        )


def _detached(term: Tensor | None) -> Tensor | None:
    return None if term is None else term.detach()
