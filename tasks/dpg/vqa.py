"""Models that answer questions about pictures: of transformers, or any model plug-in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.data.digests import weights_sha256
from harness.engine.models import ModelChoice, require
from harness.interfaces import Question
from harness.interfaces.errors import Unavailable, UserError
from harness.interfaces.extras import lacking
from harness.interfaces.observing import Once
from harness.interfaces.types import digest_of
from tasks.dpg.settings import PluginVqa, TransformersVqa
from tasks.shared.networks import LazyModel, building, locate

_QUESTIONS_A_BATCH = 16


def open_vqa(settings: TransformersVqa | PluginVqa, device: str) -> _Plugin | _Transformers:
    """Find the model; it is built when it is first asked.

    Raises:
        Unavailable: Its weights are missing.
        UserError: There is no such model, or it answers no questions.
    """
    if isinstance(settings, PluginVqa):
        return _Plugin(settings, device)
    return _Transformers(settings, device)


class _Plugin:
    """Any model plug-in that answers questions."""

    def __init__(self, settings: PluginVqa, device: str) -> None:
        choice = ModelChoice.parse(settings.model)
        model: Any = choice.build()
        require(model, settings.model, ("MultimodalLM",), "protocol setting 'vqa.model'")
        card = choice.card(model)
        self.identity = {"model": card.digest}
        self._settings = settings
        self._model = LazyModel(model, device, card)

    def __call__(self, image: np.ndarray, questions: Sequence[str]) -> list[str]:
        """An answer to each question about an uint8 RGB picture (H, W, 3)."""
        asked = [
            Question(self._settings.question.format(question=text), (image,)) for text in questions
        ]
        replies = self._model.reply(asked, max_new_tokens=self._settings.max_new_tokens)
        return [str(reply).strip() for reply in replies]


class _Transformers:
    """A model of transformers."""

    def __init__(self, settings: TransformersVqa, device: str) -> None:
        if text := lacking("transformers"):
            raise Unavailable(f"the model that answers {text}")
        self._settings = settings
        self._device = device
        self._folder = locate(settings.model, "vqa.model")
        weights = sorted(self._folder.glob("*.safetensors"))
        if not weights:
            raise UserError(f"protocol setting 'vqa.model': {self._folder} has no .safetensors")
        digest = digest_of([[path.name, weights_sha256(path)] for path in weights])
        self.identity = {"weights": digest}
        self._built = Once(self._build)

    def __call__(self, image: np.ndarray, questions: Sequence[str]) -> list[str]:
        """An answer to each question about an uint8 RGB picture (H, W, 3)."""
        answers: list[str] = []
        for start in range(0, len(questions), _QUESTIONS_A_BATCH):
            some = questions[start : start + _QUESTIONS_A_BATCH]
            answers += self._answer(
                image, [self._settings.question.format(question=q) for q in some]
            )
        return answers

    def _answer(self, image: np.ndarray, texts: Sequence[str]) -> list[str]:
        import torch
        from PIL import Image

        processor, model = self._built()
        pictures = [Image.fromarray(image)] * len(texts)
        chats = self._settings.kind == "image-text-to-text"
        asked = [_chat(processor, text) for text in texts] if chats else list(texts)
        inputs = processor(images=pictures, text=asked, return_tensors="pt", padding=True)
        inputs = inputs.to(self._device)
        with torch.inference_mode():
            if not model.can_generate():
                best = model(**inputs).logits.argmax(-1).tolist()
                return [str(model.config.id2label[label]) for label in best]
            tokens = model.generate(
                **inputs, do_sample=False, max_new_tokens=self._settings.max_new_tokens
            )
        if chats:
            # Such models repeat what they were asked.
            tokens = tokens[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in processor.batch_decode(tokens, skip_special_tokens=True)]

    def _build(self) -> tuple[Any, Any]:
        from transformers import (
            AutoModelForImageTextToText,
            AutoModelForVisualQuestionAnswering,
            AutoProcessor,
        )
        from transformers.utils import logging

        kinds: dict[str, Any] = {
            "image-text-to-text": AutoModelForImageTextToText,
            "visual-question-answering": AutoModelForVisualQuestionAnswering,
        }
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        with building(f"the model in {self._folder} cannot be built as {self._settings.kind}"):
            reader: Any = AutoProcessor
            processor = reader.from_pretrained(self._folder)
            model = kinds[self._settings.kind].from_pretrained(self._folder, dtype="auto")
        tokenizer = getattr(processor, "tokenizer", None)
        if tokenizer is not None and self._settings.kind == "image-text-to-text":
            tokenizer.padding_side = "left"
        return processor, model.to(self._device).eval()


def _chat(processor: Any, text: str) -> str:
    """A question about an image as the model's own chat template writes it."""
    content = [{"type": "image"}, {"type": "text", "text": text}]
    prompt: str = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    return prompt
