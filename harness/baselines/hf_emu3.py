"""Emu3 of transformers: `hf-emu3:REPO|FOLDER` draws texts, and answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from PIL import Image
from pydantic import Field

from harness.baselines.hf_vlm import TransformersDrawer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class TransformersEmu3(TransformersDrawer):
    """Emu3, drawing; the weights that answer are others than those that draw.

    What is not given is as in the authors' script, https://github.com/baaivision/Emu3.
    """

    guidance: Annotated[float, Field(ge=1), "Scale of guidance by the text; 1 is none."] = 3.0
    top_k: Annotated[int, Field(ge=1), "So many of the likeliest tokens are drawn from."] = 2048
    area: Annotated[int, Field(ge=64), "Pixels of an image, a square."] = 720 * 720
    positive: Annotated[str, "What is put behind each text."] = (
        " masterpiece, film grained, best quality."
    )
    negative: Annotated[str, "What guidance leads away from."] = (
        "lowres, bad anatomy, bad hands, text, error, missing fingers, extra digit, fewer digits, "
        "cropped, worst quality, low quality, normal quality, jpeg artifacts, signature, "
        "watermark, username, blurry."
    )

    _name: ClassVar[str] = "hf-emu3"
    _type: ClassVar[str] = "emu3"

    @property
    def _drawing(self) -> dict[str, Any]:
        names = ("guidance", "top_k", "area", "positive", "negative")
        return {name: getattr(self, name) for name in names}

    def _image(self, prompt: str) -> Image.Image:
        inputs, away = self._inputs(prompt + self.positive), self._inputs(self.negative)
        rows, columns = (int(side) for side in inputs.pop("image_sizes")[0])
        network, length = self._network, inputs["input_ids"].shape[1]
        found = network.generate(
            **inputs,
            do_sample=True,
            temperature=1.0,
            top_k=self.top_k,
            top_p=1.0,
            guidance_scale=self.guidance,
            negative_prompt_ids=away["input_ids"],
            negative_prompt_attention_mask=away["attention_mask"],
            max_new_tokens=rows * (columns + 1) + 3,
            prefix_allowed_tokens_fn=self._allowed(length, rows, columns),
        )
        decoded = network.decode_image_tokens(
            image_tokens=found[:, length:], height=rows, width=columns
        )
        images = self._processor.postprocess(
            list(decoded.float().cpu()), return_tensors="PIL.Image.Image"
        )
        image: Image.Image = images["pixel_values"][0]
        return image

    def _inputs(self, text: str) -> Any:
        inputs = self._processor(
            text=[text],
            return_for_image_generation=True,
            image_area=self.area,
            return_tensors="pt",
        )
        return inputs.to(self._network.device)

    def _allowed(self, length: int, rows: int, columns: int) -> Any:
        """What may follow: rows of an image, each with its end, then three tokens that end it."""
        import torch

        mapping, tokenizer = self._network.model.vocabulary_mapping, self._tokenizer
        image = torch.tensor(mapping.image_tokens, device=self._network.device)
        end_of_row = [mapping.eol_token_id]
        ends = [tokenizer.eof_token_id, tokenizer.eoi_token_id, tokenizer.eos_token_id]

        def allowed(_: int, tokens: Tensor) -> Any:
            place = len(tokens) - length + 1
            if (over := place - rows * (columns + 1)) > 0:
                return [ends[over - 1]]
            return image if place % (columns + 1) else end_of_row

        return allowed
