"""How long the arms would take here."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from uniwetok.randomness import stream
from uniwetok.studies.measure import Side, fresh_prior_loss, measure
from uniwetok.studies.runner import StoredTeacher, as_batch, embed
from uniwetok.studies.settings import SIZE, Arm, MiniSettings
from uniwetok.train.tokenizer.trainer import TokenizerTrainer

_IMAGES = 32
_STEPS = 4


@dataclass(frozen=True)
class Estimate:
    """CPU time, from a few steps."""

    arm_seconds: dict[str, float]
    """CPU time of one seed of each arm."""
    cpu_seconds: float
    """CPU time of all seeds of all arms and of the teacher."""


def estimate(arms: Sequence[Arm], settings: MiniSettings, seeds: int) -> Estimate:
    """Time the teacher, and a few steps and measurements of each arm, on random images.

    Raises:
        TrainingError: the teacher's package is not installed.
    """
    images = torch.rand(_IMAGES, 3, SIZE, SIZE, generator=stream("estimate")) * 2 - 1
    embed(images[:1])  # What is done once only, such as imports, is not timed.
    start = time.process_time()
    embeddings = embed(images)
    teacher = (time.process_time() - start) / _IMAGES * settings.crops
    seconds = {arm.name: _arm_seconds(arm, settings, images, embeddings) for arm in arms}
    return Estimate(seconds, seeds * sum(seconds.values()) + teacher)


def _arm_seconds(arm: Arm, settings: MiniSettings, images: Tensor, embeddings: Tensor) -> float:
    trainer = TokenizerTrainer(
        arm.config(settings, 0), device="cpu", teacher=StoredTeacher(images, embeddings)
    )
    batch = as_batch(images[: settings.batch_size])
    step = _seconds_each(lambda: trainer.step(batch, 0))
    tokenizer, heads, side = (
        trainer.averaged_tokenizer(),
        trainer.averaged_heads(),
        Side(images, embeddings),
    )
    measured = _seconds_each(
        lambda: measure(tokenizer, heads, side, side, prior_steps=0, seed=0), times=1
    )
    total = step * settings.steps + measured / (2 * _IMAGES) * settings.crops
    if arm.generates:
        codes = tokenizer.encode(images)
        prior = _seconds_each(lambda: fresh_prior_loss(codes, codes[:1], steps=_STEPS, seed=0))
        total += prior / _STEPS * settings.prior_steps
    return total


def _seconds_each(work: Callable[[], object], times: int = _STEPS) -> float:
    """CPU time of one call, after one that is not timed."""
    work()
    start = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - start) / times
