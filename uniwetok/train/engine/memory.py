"""What one process of a run holds in memory, and which settings would make it fit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from uniwetok.train.engine.footprint import Footprint
from uniwetok.train.engine.machine import Processor
from uniwetok.train.engine.settings import ImageRunSettings, RunSettings

_FLOAT = 4


def held(config: RunSettings, footprint: Footprint, world: int) -> dict[str, int]:
    """Count what lies on a GPU from step to step, in bytes.

    The first network may be sharded, all else is whole.
    """
    shards = world if config.shard else 1
    first, *others = footprint.held.values()
    trained, *others_trained = footprint.trained.values()
    gradients = trained // shards + sum(others_trained)
    memory = {
        "weights": _FLOAT * (first // shards + sum(others)),
        "gradients": _FLOAT * gradients,
        "Adam": 2 * _FLOAT * gradients,
    }
    if config.ema_decay:
        memory["moving average"] = _FLOAT * footprint.averaged // shards
    memory["frozen networks"] = footprint.frozen_bytes
    if shards > 1 and footprint.gathered:
        memory["gathered weights and gradients"] = 2 * _FLOAT * footprint.gathered
    elif world > 1 and not config.shard:
        # DDP exchanges gradients in buckets of their own beside them.
        memory["gradients in transit"] = _FLOAT * gradients
    return memory


def per_pass(config: RunSettings, footprint: Footprint, world: int) -> int:
    """Count the examples that a process holds at a time."""
    if footprint.packed:
        return 1
    return math.ceil(config.batch_size / world / config.accumulation)


def kept(config: RunSettings, footprint: Footprint, world: int) -> dict[str, int]:
    """Estimate what a pass leaves for its backward pass, in bytes."""
    images: float = per_pass(config, footprint, world)
    if footprint.schedule is not None:
        images = footprint.schedule(config.batch_size, world).fullest(config.accumulation)
    sizes = {name: math.ceil(size * images) for name, size in footprint.activations.items()}
    if footprint.copy_bytes:
        sizes["weights in half precision"] = footprint.copy_bytes
    return sizes


def fitting(
    config: RunSettings, footprint: Footprint, world: int, processor: Processor
) -> tuple[list[str], list[str]]:
    """Find what makes a run fit that does not.

    Returns:
        Changes each of which is enough by itself, as little as is enough; and settings that take
        less, it is not known how much.
    """

    def enough(changes: Iterator[tuple[str, RunSettings, int]]) -> Iterator[str]:
        for words, changed, processes in changes:
            sizes = held(changed, footprint, processes), kept(changed, footprint, processes)
            if sum(sum(each.values()) for each in sizes) <= processor.memory:
                yield words
                return

    batch, passes = config.batch_size, config.accumulation
    found: list[str] = []
    if isinstance(config, ImageRunSettings):
        counts = (n for n in range(passes + 1, batch // world + 1) if not batch % (world * n))
        found += enough(
            (f"accumulation={n}", replace(config, accumulation=n), world) for n in counts
        )
    if processor.kind != "cpu":
        worlds = (n for n in range(world + 1, batch // passes + 1) if not batch % (n * passes))
        found += enough((f"{n} GPUs", config, n) for n in worlds)
    if world > 1 and not config.shard:
        found += enough(iter([("shard=true", replace(config, shard=True), world)]))
    parts = world * passes
    lower = range(batch - parts, 0, -parts)
    found += enough((f"batch_size={n}", replace(config, batch_size=n), world) for n in lower)
    less = {
        "gradient_checkpointing=true": not config.gradient_checkpointing,
        "shard=true": world > 1 and not config.shard and "shard=true" not in found,
        "a lower data.row_tokens": footprint.packed,
    }
    return found, [words for words, helps in less.items() if helps]
