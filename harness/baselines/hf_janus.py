"""Janus and Janus-Pro of transformers: `hf-janus:REPO|FOLDER` draws texts, and answers."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from PIL import Image
from pydantic import Field

from harness.baselines.hf_vlm import TransformersDrawer


@dataclass(eq=False)
class TransformersJanus(TransformersDrawer):
    """Janus, drawing and answering."""

    guidance: Annotated[float, Field(ge=1), "Scale of guidance by the text; 1 is none."] = 5.0
    temperature: Annotated[float, Field(gt=0), "Of the tokens' distribution."] = 1.0

    _name: ClassVar[str] = "hf-janus"
    _type: ClassVar[str] = "janus"

    @property
    def _drawing(self) -> dict[str, Any]:
        return {"guidance": self.guidance, "temperature": self.temperature}

    @property
    def _settings(self) -> Any:
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

    def _image(self, prompt: str) -> Image.Image:
        turns = [{"role": "user", "content": [{"type": "text", "text": prompt}]}]
        text = self._processor.apply_chat_template(turns, add_generation_prompt=True)
        network = self._network
        inputs = self._processor(text=text, generation_mode="image", return_tensors="pt")
        tokens = network.generate(
            **inputs.to(network.device), generation_mode="image", generation_config=self._settings
        )
        decoded = network.decode_image_tokens(tokens)
        found = self._processor.postprocess(list(decoded.float().cpu()), return_tensors="pt")
        pixels = np.asarray(found["pixel_values"][0])
        # Kinds of image processors differ in where they leave the channels.
        pixels = pixels if pixels.shape[-1] == 3 else np.moveaxis(pixels, 0, -1)
        return Image.fromarray(pixels.astype(np.uint8))
