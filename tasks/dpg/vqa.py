"""Models that answer DPG-Bench's questions: of transformers, or whatever can be asked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from harness.data.digests import weights_sha256
from harness.interfaces.errors import Unavailable, UserError
from harness.interfaces.extras import lacking
from harness.interfaces.observing import Once
from harness.interfaces.types import digest_of
from tasks.dpg.settings import TransformersVqa
from tasks.shared.asking import (
    Answer,
    Answering,
    EndpointVqa,
    PluginVqa,
    Query,
    open_answering,
)
from tasks.shared.networks import building, locate

_QUESTIONS_A_BATCH = 16


def open_vqa(settings: TransformersVqa | PluginVqa | EndpointVqa, device: str) -> Answering:
    """Find the model; it is built when it is first asked.

    Raises:
        Unavailable: Its weights are missing.
        UserError: There is no such model, or it answers no questions.
    """
    if isinstance(settings, TransformersVqa):
        return _Transformers(settings, device)
    return open_answering(settings, device)


class _Transformers:
    """A model of transformers."""

    works_on = "device"

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

    def preflight(self) -> None:
        """Its weights are there, else it had not been opened."""

    def ask(self, queries: Sequence[Query]) -> list[Answer]:
        """An answer to each question, those about one picture together."""
        answers: list[Answer] = []
        for _, mine in groupby(queries, lambda query: id(query.image)):
            about = list(mine)
            for start in range(0, len(about), _QUESTIONS_A_BATCH):
                some = about[start : start + _QUESTIONS_A_BATCH]
                texts = [query.put(self._settings.question) for query in some]
                answers += map(Answer, self._answer(some[0].image, texts))
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
