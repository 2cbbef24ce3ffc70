"""Text to image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from uniwetok.mllm.drawing import OnStep, draw
from uniwetok.mllm.errors import MLLMError
from uniwetok.mllm.guidance import Guidance
from uniwetok.mllm.pictures import check_size
from uniwetok.randomness import stream

if TYPE_CHECKING:
    from torch import Tensor

    from uniwetok.mllm.assistant import Assistant


def generate_codes(
    assistant: Assistant,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    height: int = 1024,
    width: int = 1024,
    cfg: float = 7.5,
    steps: int = 50,
    on_step: OnStep | None = None,
) -> list[Tensor]:
    """Draw one image of each prompt, as codes.

    Args:
        assistant: the model with its tokenizers.
        prompts: in any language that the language model knows.
        seeds: one an image, which depends on no other.
        height: of the images, a multiple of ``config.multiple`` pixels.
        width: likewise.
        cfg: weight of guidance; 1 runs no null branch.
        steps: noisy diffusion steps for each step of an image.
        on_step: called with the tokens drawn and their number in all.

    Returns:
        (latent_channels, rows, columns) each, +1 or -1.

    Raises:
        MLLMError: a prompt is empty or too long, the size is not supported, or ``cfg`` impossible.
        ValueError: ``steps`` is below 1.
    """
    check_size(height, width, assistant.model.config)
    for prompt in prompts:
        if not prompt.strip():
            raise MLLMError("an empty prompt: say what to draw")
    downsample = assistant.model.config.downsample
    return draw(
        assistant.model,
        assistant.builder,
        prompts,
        [[] for _ in prompts],
        (height // downsample, width // downsample),
        [stream(seed, "tokens") for seed in seeds],
        guidance=Guidance(text=cfg),
        steps=steps,
        on_step=on_step,
    )
