"""Weights and open choices of the tokenizer's losses.

"Released" is the training code of WeTok, which the paper builds upon; of UniWeTok itself only the
autoencoder is released. Where neither says anything, the field's docstring gives our reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from uniwetok.ar.config import check_modulations
from uniwetok.fields import Settings, check_counts
from uniwetok.tokenizer.config import check_heads

TokenReduction = Literal["mean", "sum"]
CodebookScope = Literal["pooled", "per_group"]
DistillationHead = Literal["linear", "attention"]
PriorObjective = Literal["x", "bitdance"]


class MissingWeights(RuntimeError):
    """Weights that a loss needs are missing; the one-line message says what to fetch.

    Losses never download: a run on many machines should not stall or differ by what each one got.
    """


def commitment_weight(*, siglu: bool) -> float:
    """Default weight alpha of the commitment loss.

    The paper sets it to 0 with SigLu (section 3.2) and does not print it otherwise; WeTok, whose
    encoder has no SigLu, releases 0.25.
    """
    return 0.0 if siglu else 0.25


@dataclass(frozen=True, kw_only=True)
class EntropyConfig(Settings):
    """Entropy losses of the group-wise quantizer."""

    weight: float = 0.1
    """Weight of ``token_weight * token - codebook_weight * codebook`` in the total. Paper: no
    value. Released: 0.1."""
    token_weight: float = 1.0
    """Weight of the token entropy, which is minimised. Paper: silent. Released: 1."""
    codebook_weight: float = 1.0
    """Weight of the codebook entropy, which is maximised. Paper: silent. Released: 1."""
    temperature: float = 0.01
    """Temperature of the softmax over a group's codes. Paper: silent. Released: 0.01."""
    token_reduction: TokenReduction = "mean"
    """How a token's groups are combined. Paper: Eq. 3 sums them, which is 16 times as much with 16
    groups. Released: their mean. Default: the mean, to which the released weights belong."""
    codebook_scope: CodebookScope = "pooled"
    """Whose distribution is to be uniform. Paper: silent, though Eq. 3 writes a codebook for
    each group. Released: one histogram that all groups share, "pooled". Default: as released;
    ``per_group`` also penalises a group that leaves codes unused which other groups use."""
    reduce_across_processes: bool = False
    """Average the code distribution over all processes before its entropy. Paper: silent.
    Released: each process for itself. Default: as released; with few tokens a process, the entropy
    of a local batch is biased low and reducing helps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_not_negative(self, "weight", "token_weight", "codebook_weight")
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature} must be above 0; released: 0.01")


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig(Settings):
    """Adversarial loss: non-saturating for the tokenizer, hinge for the discriminator."""

    generator_weight: float = 0.1
    """Weight of the tokenizer's adversarial loss, from the first step on. Paper: silent. Released:
    the constant 0.1, which disables the adaptive weight that the code still contains."""
    lecam_weight: float = 0.05
    """Weight of LeCAM in the discriminator's loss. Paper: silent. Released: 0.05."""
    lecam_decay: float = 0.999
    """Decay of the moving averages of the mean logits. Paper: silent. Released: 0.999, starting
    at 0 without bias correction."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_not_negative(self, "generator_weight", "lecam_weight")
        if not 0 <= self.lecam_decay < 1:
            raise ValueError(f"lecam_decay={self.lecam_decay} must be in [0, 1); released: 0.999")


@dataclass(frozen=True, kw_only=True)
class DistillationConfig(Settings):
    """Pre-Post Distillation (paper, Eq. 4-6), of which nothing is released."""

    weight: float = 1.0
    """Weight theta of the whole in Eq. 8. Paper: no value. Default 1: each cosine term starts
    near 1, as L1 + LPIPS do."""
    post_weight: float = 1.0
    """Weight eta of the post term in Eq. 6. Paper: no value. Default 1: the paper's tables switch
    the two terms on and off without preferring one."""
    pre: bool = True
    """Align the latents, before the sign (paper, Tab. 16: True)."""
    post: bool = True
    """Align the codes, with straight-through gradients (paper, Tab. 16: True)."""
    head: DistillationHead = "linear"
    """What pools tokens to the teacher's width. Paper: Eq. 4-5 write AttnPool, yet Tab. 14-28 say
    "distill head: linear" (ImageNet) and later ones "attention" (DataComp); neither is described.
    Default: as in the ImageNet tables, mean over tokens and a linear map."""
    attention_heads: int = 16
    """Attention heads of the attention pooling. Paper: silent. Default 16, as in the teacher's
    own pooling."""
    mlp_ratio: int = 4
    """Hidden width of the attention head's MLP. Paper: silent. Default 4, the common choice."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_not_negative(self, "weight", "post_weight")
        if not (self.pre or self.post):
            raise ValueError("pre=False and post=False distil nothing; set distillation=None")
        check_counts(self)


@dataclass(frozen=True, kw_only=True)
class PriorConfig(Settings):
    """Generative-Aware Prior (paper, Eq. 7): a tiny BitDance that predicts the codes.

    Nothing of it is released. The paper's BitDance-T has 8.6 M parameters (appendix B) and no
    sizes; these give 8.607 M, with heads of 64 channels and a head as wide as the transformer, as
    in every other BitDance. 91 other choices also round to 8.6 M.
    """

    weight: float = 0.1
    """Weight mu in Eq. 8. Paper: no value. Default 0.1: the loss starts near 1 a bit and the
    entropy and adversarial terms weigh 0.1; much more rewards bits that carry nothing."""
    query: bool = True
    """Predict the first token too, from a learned query token. Paper: on; without it (Tab. 5) the
    first token is context only, and generation gets worse."""
    objective: PriorObjective = "x"
    """"x": squared error of the predicted bits, times uniform in [0, 1], as Eq. 7 is written.
    "bitdance": BitDance's own, the error of velocities at logit-normal times. Default: Eq. 7."""
    detach_target: bool = False
    """Let no gradient reach the tokens as what is predicted. Paper: silent. Default: let it, since
    the tokenizer can only adapt to the prior by gradients through the codes."""
    detach_context: bool = False
    """Let no gradient reach the tokens as what is predicted from. Paper: silent; default as
    ``detach_target``."""
    repeats: int = 1
    """Times that each hidden state meets a fresh time and noise. Paper: silent. BitDance: 4.
    Default 1: Eq. 7 shows one, and it costs least."""
    width: int = 320
    """Channels of a token in the transformer."""
    heads: int = 5
    """Attention heads of the transformer."""
    layers: int = 4
    """Blocks of the transformer."""
    diffusion_width: int = 320
    """Channels of a token in the diffusion head."""
    diffusion_blocks: int = 4
    """Residual blocks of the diffusion head."""
    diffusion_modulations: int = 1
    """Layers that give the adaptive norms' scale, shift and gate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_not_negative(self, "weight")
        check_counts(self)
        check_heads(self.width, self.heads)
        check_modulations(self.diffusion_blocks, self.diffusion_modulations)


@dataclass(frozen=True, kw_only=True)
class TokenizerLossConfig(Settings):
    """The tokenizer's total loss; the L1 term has weight 1, as released."""

    l2_weight: float = 0.0
    """Weight of the mean squared error, which PSNR is made of. Paper and release: none."""
    lpips_weight: float = 1.0
    """Weight of LPIPS-VGG; 0 leaves it out and needs no VGG weights. Paper: no value.
    Released: 1."""
    commitment_weight: float = 0.0
    """Weight alpha of the commitment loss; see the function of this name for models without SigLu.
    Paper: 0 with SigLu. Released: 0.25, for WeTok without SigLu."""
    entropy: EntropyConfig = field(default_factory=EntropyConfig)
    """The entropy losses."""
    adversarial: AdversarialConfig | None = field(default_factory=AdversarialConfig)
    """The adversarial loss; None trains without a discriminator."""
    distillation: DistillationConfig | None = field(default_factory=DistillationConfig)
    """Pre-Post Distillation; None trains without a teacher (paper, Tab. 14)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_not_negative(self, "l2_weight", "lpips_weight", "commitment_weight")


def _check_not_negative(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not value >= 0:
            raise ValueError(f"{name}={value} must not be negative; 0 switches the term off")
