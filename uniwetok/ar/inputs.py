"""Checks of labels, codes and random generators."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from uniwetok.ar.config import BitDanceConfig
from uniwetok.tokenizer.inputs import describe


def check_labels(labels: Tensor, config: BitDanceConfig, *, values: bool = True) -> None:
    """Require class indices (batch,) int64.

    Args:
        labels: what is checked.
        config: says how many classes there are.
        values: whether to look at the indices themselves, which waits for a GPU.

    Raises:
        TypeError: not an int64 tensor.
        ValueError: another shape, or an index that is not a class's.
    """
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        raise TypeError(f"labels must be an int64 tensor, got {describe(labels)}")
    if labels.ndim != 1 or not labels.numel():
        raise ValueError(f"labels must be (batch,), got {describe(labels)}")
    if not values:
        return
    outside = labels[(labels < 0) | (labels >= config.classes)]
    if outside.numel():
        raise ValueError(
            f"label {int(outside[0])} is none of the {config.classes} classes "
            f"0..{config.classes - 1}"
        )


def check_codes(codes: Tensor, labels: Tensor, config: BitDanceConfig) -> None:
    """Require floating codes (batch, latent_channels, grid, grid), one image a label.

    Their values are not looked at.

    Raises:
        TypeError: not a floating tensor.
        ValueError: another shape.
    """
    if not isinstance(codes, Tensor) or not codes.is_floating_point():
        raise TypeError(f"codes must be a floating tensor of +1 and -1, got {describe(codes)}")
    expected = (len(labels), config.latent_channels, config.grid, config.grid)
    if codes.shape != expected:
        raise ValueError(
            f"codes of {len(labels)} labels must be {expected}, got {describe(codes)}; the model "
            f"and the tokenizer must agree in bits a token and tokens a side"
        )


def check_generators(
    generators: torch.Generator | Sequence[torch.Generator], batch: int, streams: str
) -> None:
    """Require one CPU generator for each sample, or one in all for released streams.

    Raises:
        ValueError: another number or device, or an unknown kind of stream.
    """
    if streams not in {"per-sample", "released"}:
        raise ValueError(f"streams={streams!r} is neither 'per-sample' nor 'released'")
    single = isinstance(generators, torch.Generator)
    every = [generators] if isinstance(generators, torch.Generator) else list(generators)
    if streams == "released" and not single:
        raise ValueError("streams='released' draws for the whole batch: pass a single generator")
    if streams == "per-sample" and (single or len(every) != batch):
        count = "a single generator" if single else f"{len(every)} generators"
        raise ValueError(f"{count} for {batch} samples: give a list with one for each")
    if any(each.device.type != "cpu" for each in every):
        raise ValueError(
            "noise is drawn on the CPU, to be the same on every device: pass torch.Generator()"
        )
