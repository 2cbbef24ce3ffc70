"""What a trained arm is worth on held-out crops."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from uniwetok.losses.config import PriorConfig
from uniwetok.losses.distillation import PrePostDistillation
from uniwetok.losses.prior import GenerativeAwarePrior
from uniwetok.randomness import stream, stream_seed
from uniwetok.tokenizer.model import UniWeTok
from uniwetok.tokenizer.quantizer import quantize
from uniwetok.train.engine.optimizers import build_adam
from uniwetok.train.engine.settings import OptimizerConfig

_BATCH = 64
_PRIOR_BATCH = 16
_PRIOR = PriorConfig(width=64, heads=4, layers=2, diffusion_width=64, diffusion_blocks=2)
_PRIOR_RATE = 1e-3
_PRIOR_DRAWS = 2
_RIDGE = 1e-3

METRICS = {
    "psnr": "PSNR, dB",
    "pre_cosine": "cosine of the pooled latents (pre head) to the teacher",
    "pre_top1": "share whose pooled latents are nearest to their own image's embedding",
    "post_cosine": "cosine of the pooled codes (post head) to the teacher",
    "post_top1": "share whose pooled codes are nearest to their own image's embedding",
    "probe_cosine": "cosine of a ridge regression on the mean of the frozen codes to the teacher",
    "probe_top1": "share of the regression's answers nearest to their own image's embedding",
    "prior_loss": "squared error a bit of a fresh prior on the frozen codes",
    "bit_entropy": "entropy of a bit, mean over the bits of a token",
    "constant_cosine": "cosine of the training crops' mean embedding to the teacher",
    "chance_top1": "one over the number of held-out crops",
}
"""Everything that is measured, on held-out crops; not every arm has every head."""


@dataclass(frozen=True)
class Side:
    """Crops of one side of the split."""

    images: Tensor
    """float32 (count, 3, H, W) in [-1, 1]."""
    embeddings: Tensor
    """float32 (count, width), the teacher's, of length 1."""


def measure(
    tokenizer: UniWeTok,
    heads: PrePostDistillation | None,
    train: Side,
    held: Side,
    *,
    prior_steps: int,
    seed: int,
) -> dict[str, float]:
    """Measure a frozen tokenizer.

    Args:
        tokenizer: in evaluation mode.
        heads: of its distillation, or None.
        train: what the regression and the fresh prior learn from.
        held: what everything is measured on.
        prior_steps: of the fresh prior's training; 0 trains none.
        seed: of the decoder's noise and of the fresh prior.

    Returns:
        Values by the names of `METRICS`, without those of heads and priors that are not there.
    """
    latents = _batched(tokenizer.latents, held.images)
    codes, known = quantize(latents), _batched(tokenizer.encode, train.images)
    pooled = {"probe": _ridge(known, train.embeddings, codes)}
    with torch.no_grad():
        if heads is not None and heads.pre is not None:
            pooled["pre"] = heads.pre(latents)
        if heads is not None and heads.post is not None:
            pooled["post"] = heads.post(codes)
    values = {
        "psnr": _psnr(tokenizer, codes, held.images, seed),
        "bit_entropy": bit_entropy(codes),
        "constant_cosine": _cosine(train.embeddings.mean(0, keepdim=True), held.embeddings),
        "chance_top1": 1 / len(held.images),
    }
    if prior_steps:
        values["prior_loss"] = fresh_prior_loss(known, codes, steps=prior_steps, seed=seed)
    for name, answers in pooled.items():
        values[f"{name}_cosine"] = _cosine(answers, held.embeddings)
        values[f"{name}_top1"] = top1(answers, held.embeddings)
    return values


def top1(answers: Tensor, embeddings: Tensor) -> float:
    """Share of answers, (count, width), to which the embedding of the same row is the nearest."""
    similarity = F.normalize(answers, dim=1) @ embeddings.T
    return (similarity.argmax(1) == torch.arange(len(answers))).float().mean().item()


def bit_entropy(codes: Tensor) -> float:
    """Entropy in bits, 0..1, of the share of +1 in each channel of (count, channels, h, w)."""
    share = (codes > 0).double().mean((0, 2, 3))
    entropy: Tensor = torch.special.entr(share) + torch.special.entr(1 - share)
    return entropy.mean().item() / math.log(2)


def fresh_prior_loss(known: Tensor, codes: Tensor, *, steps: int, seed: int) -> float:
    """Train a small BitDance that no tokenizer has met on ``known``; give its loss on ``codes``.

    It has the Query token and Eq. 7's objective whatever the tokenizer was trained with.

    Args:
        known: (count, channels, h, w), +1 or -1, of the training crops.
        codes: (count', channels, h, w), of the held-out ones.
        steps: of Adam on batches of 16.
        seed: of weights, batches, times and noise.

    Returns:
        Mean squared error a bit over two draws of times and noise. Bits that no other bit tells
        anything about have one below 1 too, since at late times the noise hides little of them.
    """
    torch.manual_seed(stream_seed(seed, "fresh prior"))
    prior = GenerativeAwarePrior(_PRIOR, codes.shape[1], codes.shape[2])
    adam = build_adam(list(prior.parameters()), OptimizerConfig(learning_rate=_PRIOR_RATE))
    draws = stream(seed, "fresh prior", "draws")
    for _ in range(steps):
        batch = known[torch.randint(len(known), (_PRIOR_BATCH,), generator=draws)]
        adam.zero_grad()
        prior(batch, draws).backward()
        adam.step()
    draws = stream(seed, "fresh prior", "heldout")
    with torch.no_grad():
        losses = [prior(codes, draws) for _ in range(_PRIOR_DRAWS)]
    return torch.stack(losses).mean().item()


def _batched(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return torch.cat([function(part) for part in torch.split(images, _BATCH)])


def _ridge(known: Tensor, embeddings: Tensor, codes: Tensor) -> Tensor:
    """Regress embeddings on the mean over tokens, as the linear head pools, in closed form."""
    x, y = known.mean((2, 3)).double(), embeddings.double()
    center, target = x.mean(0), y.mean(0)
    x = x - center
    gram = x.T @ x + _RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    weights = torch.linalg.solve(gram, x.T @ (y - target))
    answers: Tensor = (codes.mean((2, 3)).double() - center) @ weights + target
    return answers.float()


def _cosine(answers: Tensor, embeddings: Tensor) -> float:
    return F.cosine_similarity(answers, embeddings).mean().item()


def _psnr(tokenizer: UniWeTok, codes: Tensor, images: Tensor, seed: int) -> float:
    noise = torch.randn(codes.shape, generator=stream(seed, "decoder noise"))
    pairs = zip(torch.split(codes, _BATCH), torch.split(noise, _BATCH), strict=True)
    decoded = torch.cat([tokenizer.decode(*pair) for pair in pairs]).clamp(-1, 1)
    errors = ((decoded - images) / 2).square().mean((1, 2, 3)).clamp_min(1e-10)
    return (-10 * errors.log10()).mean().item()
