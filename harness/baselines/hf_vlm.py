"""Vision-language models of transformers: `hf-vlm:REPO|FOLDER` answers questions about images."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from PIL import Image
from pydantic import Field

from harness.baselines.hub import (
    DType,
    Source,
    check_weights,
    named,
    of_diffusers,
    source,
    until,
    versions,
)
from harness.baselines.lossless import StoredAsPng, png
from harness.interfaces import Argument, Code, FirstToken, Question
from harness.interfaces.errors import UserError, first_line
from harness.interfaces.extras import library
from harness.interfaces.types import ModelCard

if TYPE_CHECKING:
    import torch


@dataclass(eq=False)
class TransformersVLM:
    """A model that transformers loads for images and text, by the class its configuration names.

    It answers with the likeliest tokens. Questions go through the processor's chat template; where
    there is none, the processor takes the question as it is.
    """

    repository: Annotated[str, Argument, "A folder, or OWNER/NAME on the hub."]
    revision: Annotated[str | None, "Branch, tag or commit of the repository."] = None
    dtype: Annotated[DType, "Precision of the network."] = "bfloat16"
    system: Annotated[str | None, "A system prompt before each question."] = None
    min_pixels: Annotated[int | None, Field(ge=1), "Of an image, where its processor asks."] = None
    max_pixels: Annotated[int | None, Field(ge=1), "Of an image, where its processor asks."] = None
    batch: Annotated[
        int, Field(ge=1), "Questions at a time; more than one are padded, which moves rounding."
    ] = 1

    _name: ClassVar[str] = "hf-vlm"

    @functools.cached_property
    def _source(self) -> Source:
        return source(self.repository, self.revision)

    @functools.cached_property
    def _config(self) -> dict[str, Any]:
        library("transformers")
        from transformers.models.auto import modeling_auto

        other = of_diffusers(self._source.folder)
        config = {} if other else self._source.json("config.json")
        kind = config.get("model_type")
        if kind is None:
            what = other or "its config.json names no model_type, as those of transformers do"
            raise UserError(f"{self.repository}: {what}")
        if kind not in modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
            code = "; its repository brings code of its own, which is not run"
            raise UserError(
                f"{self.repository}: the installed transformers has no model of images and text of "
                f"the type {kind!r}{code * ('auto_map' in config)}"
            )
        return config

    @functools.cached_property
    def card(self) -> ModelCard:
        """Identity from all files, the options, and the library."""
        options = {
            "dtype": self.dtype,
            "system": self.system,
            "min_pixels": self.min_pixels,
            "max_pixels": self.max_pixels,
        }
        # Padding changes nothing but rounding; still two batch sizes are two results.
        return ModelCard(
            name=self._name,
            label=self._source.title
            + named({**options, "batch": self.batch}, {"dtype": "bfloat16", "batch": 1}),
            config={
                "type": self._config["model_type"],
                "options": {**options, "batch": self.batch},
                "revision": self._source.revision,
                "libraries": versions("transformers"),
            },
            weights_sha256=self._source.digest(),
            parameters=self._source.parameters(),
            dtype=self.dtype,
            source=self.repository,
            revision=self._source.revision,
            licence=self._source.licence,
        )

    def load(self, device: str) -> None:
        """Build the processor and the network."""
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor
        from transformers.utils import logging

        _ = self._config
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        limits = {"min_pixels": self.min_pixels, "max_pixels": self.max_pixels}
        given = {name: value for name, value in limits.items() if value is not None}
        folder = self._source.folder
        try:
            processor: Any = AutoProcessor.from_pretrained(  # type: ignore[no-untyped-call]
                folder, local_files_only=True, **given
            )
            network: Any = AutoModelForImageTextToText.from_pretrained(
                folder, local_files_only=True, dtype=getattr(torch, self.dtype)
            )
        except (OSError, ValueError, TypeError, KeyError, ImportError, RuntimeError) as error:
            raise UserError(f"{self.repository}: cannot be loaded ({first_line(error)})") from error
        check_weights(network, self.repository)
        self._tokenizer = getattr(processor, "tokenizer", processor)
        self._tokenizer.padding_side = "left"
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._processor, self._network = processor, network.eval().to(device)

    def reply(
        self, questions: Sequence[Question], *, max_new_tokens: int, stop: Sequence[str] = ()
    ) -> list[str]:
        """Answer each question with the likeliest tokens, up to the first of `stop`."""
        replies: list[str] = []
        for start in range(0, len(questions), self.batch):
            part = questions[start : start + self.batch]
            replies += self._answers(part, max_new_tokens, [text for text in stop if text])
        return replies

    def _answers(
        self, questions: Sequence[Question], max_new_tokens: int, stop: Sequence[str]
    ) -> list[str]:
        import torch

        inputs = self._prepared(questions)
        prompt = inputs["input_ids"]

        def ended(found: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
            # The package's own `stop_strings` fail with tokenizers that do not join words plainly.
            texts = self._tokenizer.batch_decode(_without_prompt(found, prompt))
            done = [any(each in text for each in stop) for text in texts]
            return torch.tensor(done, device=found.device)

        with torch.no_grad():
            found = self._network.generate(
                **inputs,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                num_beams=1,
                temperature=None,
                top_p=None,
                top_k=None,
                stopping_criteria=[ended] if stop else None,
            )
        texts = self._tokenizer.batch_decode(
            _without_prompt(found, prompt), skip_special_tokens=True
        )
        return [until(text, stop) for text in texts]

    def first_tokens(
        self, questions: Sequence[Question], beginnings: Sequence[Sequence[str]]
    ) -> list[FirstToken]:
        """The likeliest first token of each reply, and how likely it is one of those that begin so.

        Probabilities are of the network's own logits, in float32; no penalty or temperature that
        its folder asks for moves them.
        """
        import torch

        found: list[FirstToken] = []
        for start in range(0, len(questions), self.batch):
            with torch.no_grad():
                made = self._network.generate(
                    **self._prepared(questions[start : start + self.batch]),
                    max_new_tokens=1,
                    do_sample=False,
                    return_dict_in_generate=True,
                    output_logits=True,
                )
            rows = made.logits[0].float().softmax(-1)
            for row, texts in zip(rows, beginnings[start:], strict=False):
                # A set: tokenizers that give two spellings one token would count it twice.
                first = {self._tokenizer.encode(t, add_special_tokens=False)[0] for t in texts}
                likeliest = self._tokenizer.decode([int(row.argmax())])
                found.append(FirstToken(likeliest, float(row[sorted(first)].sum())))
        return found

    def _prepared(self, questions: Sequence[Question]) -> Any:
        images = [[Image.fromarray(image) for image in each.images] for each in questions]
        return self._processor(
            text=[self._prompt(each) for each in questions],
            images=images if any(images) else None,
            return_tensors="pt",
            padding=len(questions) > 1,
        ).to(self._network.device, self._network.dtype)

    def _prompt(self, question: Question) -> str:
        if not getattr(self._processor, "chat_template", None):
            return question.text if self.system is None else f"{self.system}\n{question.text}"
        content = [{"type": "image"} for _ in question.images]
        turns: list[dict[str, Any]] = [
            {"role": "user", "content": [*content, {"type": "text", "text": question.text}]}
        ]
        if self.system is not None:
            turns.insert(0, {"role": "system", "content": [{"type": "text", "text": self.system}]})
        text: str = self._processor.apply_chat_template(turns, add_generation_prompt=True)
        return text


class TransformersDrawer(StoredAsPng, TransformersVLM):
    """One network that answers as `hf-vlm` does, and draws by sampling the tokens of an image.

    Each image is drawn alone, from its own seed; on a GPU the draws are the GPU's, so that another
    device draws other images.
    """

    _type: ClassVar[str]
    """What `config.json` calls it."""

    @property
    def _drawing(self) -> dict[str, Any]:
        """The options that decide on drawings."""
        raise NotImplementedError

    def _image(self, prompt: str) -> Image.Image:
        """Draw one image by torch's own random numbers."""
        raise NotImplementedError

    @functools.cached_property
    def _config(self) -> dict[str, Any]:
        config = super()._config
        if config["model_type"] != self._type:
            raise UserError(
                f"{self.repository}: is a {config['model_type']}, no {self._type.capitalize()}; "
                "hf-vlm takes it"
            )
        return config

    @functools.cached_property
    def card(self) -> ModelCard:
        """As for every model of transformers, with what decides on drawings."""
        card = super().card
        return card.model_copy(update={"config": {**card.config, "drawing": self._drawing}})

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Code]:
        """Draw one image of each prompt, from its own seed."""
        import torch

        device, codes = self._network.device, []
        for prompt, seed in zip(prompts, seeds, strict=True):
            with (
                torch.random.fork_rng([device] if device.type == "cuda" else []),
                torch.no_grad(),
            ):
                torch.manual_seed(seed)
                codes.append(png(self._image(prompt).convert("RGB")))
        return codes


def _without_prompt(found: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
    """Tokens after the prompt; some models, as InstructBLIP, give them alone."""
    length = prompt.shape[1]
    if found.shape[1] >= length and bool((found[:, :length] == prompt).all()):
        return found[:, length:]
    return found
