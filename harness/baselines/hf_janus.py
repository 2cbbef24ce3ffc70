"""Janus and Janus-Pro of transformers: `hf-janus:REPO|FOLDER` draws texts, and answers."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from PIL import Image
from pydantic import Field

from harness.baselines.codecs import StoredAsPng, png
from harness.baselines.hf_vlm import TransformersVLM
from harness.interfaces import Code
from harness.interfaces.errors import UserError
from harness.interfaces.types import ModelCard

if TYPE_CHECKING:
    pass


@dataclass(eq=False)
class TransformersJanus(StoredAsPng, TransformersVLM):
    """One network that answers as `hf-vlm` does, and draws by sampling the tokens of an image.

    Each image is drawn alone, from its own seed; on a GPU the draws are the GPU's, so that another
    device draws other images.
    """

    guidance: Annotated[float, Field(ge=1), "Scale of guidance by the text; 1 is none."] = 5.0
    temperature: Annotated[float, Field(gt=0), "Of the tokens' distribution."] = 1.0

    _name = "hf-janus"

    @functools.cached_property
    def _config(self) -> dict[str, Any]:
        config = super()._config
        if config["model_type"] != "janus":
            raise UserError(
                f"{self.repository}: is a {config['model_type']}, no Janus; hf-vlm takes it"
            )
        return config

    @functools.cached_property
    def card(self) -> ModelCard:
        """As for every model of transformers, with what decides on drawings."""
        card = super().card
        drawing = {"guidance": self.guidance, "temperature": self.temperature}
        return card.model_copy(update={"config": {**card.config, "drawing": drawing}})

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Code]:
        """Draw one image of each prompt, from its own seed."""
        return [self._draw(text, seed) for text, seed in zip(prompts, seeds, strict=True)]

    @property
    def _drawing(self) -> Any:
        """Settings of one drawing; `generate` itself would lose the token that begins an image."""
        settings = copy.deepcopy(self._network.generation_config)
        settings.update(
            do_sample=True,
            temperature=self.temperature,
            top_k=0,
            top_p=1.0,
            guidance_scale=self.guidance,
            num_return_sequences=1,
            max_length=settings.max_length
            or 20,  # Transformers 5.0 compares it with its own count.
        )
        begin = self._tokenizer.convert_tokens_to_ids(self._processor.image_start_token)
        settings.generation_kwargs = {"boi_token_id": begin}
        return settings

    def _draw(self, prompt: str, seed: int) -> Code:
        import torch

        turns = [{"role": "user", "content": [{"type": "text", "text": prompt}]}]
        text = self._processor.apply_chat_template(turns, add_generation_prompt=True)
        network = self._network
        inputs = self._processor(text=text, generation_mode="image", return_tensors="pt")
        devices = [network.device] if network.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad():
            torch.manual_seed(seed)
            tokens = network.generate(
                **inputs.to(network.device),
                generation_mode="image",
                generation_config=self._drawing,
            )
            decoded = network.decode_image_tokens(tokens)
        found = self._processor.postprocess(list(decoded.float().cpu()), return_tensors="pt")
        pixels = np.asarray(found["pixel_values"][0])
        # Kinds of image processors differ in where they leave the channels.
        pixels = pixels if pixels.shape[-1] == 3 else np.moveaxis(pixels, 0, -1)
        image = Image.fromarray(pixels.astype(np.uint8))
        return png(image.convert("RGB"))
