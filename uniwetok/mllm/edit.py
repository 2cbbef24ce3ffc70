"""Editing: images and an instruction to an image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from uniwetok.mllm import pictures
from uniwetok.mllm.drawing import OnStep, draw
from uniwetok.mllm.errors import MLLMError
from uniwetok.mllm.guidance import Guidance
from uniwetok.randomness import stream

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from uniwetok.mllm.assistant import Assistant


def edit_codes(
    assistant: Assistant,
    instructions: Sequence[str],
    images: Sequence[Sequence[np.ndarray]],
    seeds: Sequence[int],
    *,
    size: tuple[int, int] | None = None,
    cfg: float = 7.5,
    image_cfg: float = 1.0,
    steps: int = 50,
    on_step: OnStep | None = None,
) -> list[Tensor]:
    """Draw one edited image for each instruction, as codes.

    Args:
        assistant: the model with its tokenizers.
        instructions: in any language that the language model knows.
        images: uint8 (H, W, 3) of any sizes; the sources of each instruction, at least one.
        seeds: one an instruction, whose image depends on no other.
        size: height and width of all edited images; that of the first source, made to fit, if None.
        cfg: weight of guidance by the text.
        image_cfg: weight of guidance by the sources; 1 as released, for none.
        steps: noisy diffusion steps for each step of an image.
        on_step: called with the tokens drawn and their number, of each size of image anew.

    Returns:
        (latent_channels, rows, columns) each, +1 or -1.

    Raises:
        MLLMError: an instruction or its images are missing, or as for ``generate_codes``.
        ValueError: ``steps`` is below 1.
    """
    model, config = assistant.model, assistant.model.config
    for instruction, sources in zip(instructions, images, strict=True):
        if not instruction.strip():
            raise MLLMError("an empty instruction: say what to change")
        if not sources:
            raise MLLMError(f"no image to edit for {instruction!r}: give at least one")
    if size is not None:
        pictures.check_size(*size, config)
    guidance = Guidance(text=cfg, image=image_cfg)
    by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, sources in enumerate(images):
        height, width = sources[0].shape[:2]
        by_size[size or pictures.readable_size(height, width, config)].append(index)
    edited: dict[int, Tensor] = {}
    for (height, width), members in by_size.items():
        drawn = draw(
            model,
            assistant.builder,
            [instructions[index] for index in members],
            [pictures.encode(images[index], assistant.images, config) for index in members],
            (height // config.downsample, width // config.downsample),
            [stream(seeds[index], "tokens") for index in members],
            guidance=guidance,
            steps=steps,
            on_step=on_step,
        )
        edited.update(zip(members, drawn, strict=True))
    return [edited[index] for index in range(len(images))]
