"""Models that answer questions: of transformers with random weights, and model plug-ins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from harness.interfaces import Question
from harness.interfaces.errors import Unavailable, UserError
from harness.interfaces.registry import MODELS
from harness.interfaces.types import ModelCard
from tasks.dpg.settings import PluginVqa, TransformersVqa
from tasks.dpg.vqa import open_vqa
from tasks.shared.asking import Answering, Query
from tests.tasks.dpg.conftest import WORDS

IMAGES = np.random.default_rng(0).integers(0, 255, (6, 20, 24, 3), np.uint8)
QUESTIONS = ["is there a cat", "is there a dog", "dog"]


def ask(vqa: Answering, image: np.ndarray, questions: Sequence[str]) -> list[str]:
    return [answer.text for answer in vqa.ask([Query(image, text) for text in questions])]


def settings(model: object, kind: str = "image-text-to-text") -> TransformersVqa:
    return TransformersVqa(
        source="transformers",
        model=str(model),
        kind=kind,  # type: ignore[arg-type]
        question="{question} yes no",
        max_new_tokens=3,
    )


def test_a_model_that_chats(chat_model: Path) -> None:
    vqa = open_vqa(settings(chat_model), "cpu")
    together = [ask(vqa, image, QUESTIONS) for image in IMAGES]
    alone = [[ask(vqa, image, [question])[0] for question in QUESTIONS] for image in IMAGES]
    pairs = [Query(image, question) for image in IMAGES for question in QUESTIONS]
    assert [each.text for each in vqa.ask(pairs)] == [text for texts in together for text in texts]
    assert together == alone, "padding of shorter questions moves nothing"
    words = {word for answers in together for answer in answers for word in answer.split()}
    assert words <= set(WORDS), "what was asked is not repeated"
    assert len({tuple(answers) for answers in together}) > 1 or len(set(together[0])) > 1


def test_a_model_that_only_answers(answering_model: Path) -> None:
    vqa = open_vqa(settings(answering_model, "visual-question-answering"), "cpu")
    answers = ask(vqa, IMAGES[0], QUESTIONS)
    assert len(answers) == len(QUESTIONS)
    assert {word for answer in answers for word in answer.split()} <= set(WORDS)


def test_weights_are_the_identity(chat_model: Path, answering_model: Path) -> None:
    first = open_vqa(settings(chat_model), "cpu").identity
    assert first == open_vqa(settings(chat_model), "cpu").identity
    assert first != open_vqa(settings(answering_model), "cpu").identity


def test_models_that_are_not_there(tmp_path: Path, answering_model: Path) -> None:
    with pytest.raises(Unavailable, match="run `hf download nobody/nothing`"):
        open_vqa(settings("nobody/nothing"), "cpu")
    with pytest.raises(UserError, match="neither a folder nor a name"):
        open_vqa(settings("a/b/c"), "cpu")
    with pytest.raises(UserError, match=r"has no \.safetensors"):
        open_vqa(settings(tmp_path), "cpu")
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match="cannot be built as image-text-to-text"):
        ask(open_vqa(settings(tmp_path), "cpu"), IMAGES[0], QUESTIONS)


class Parrot:
    """Says the question's first word and whether its image is bright."""

    card = ModelCard(name="parrot")

    def load(self, device: str) -> None:
        self.device = device

    def reply(
        self, questions: Sequence[Question], *, max_new_tokens: int, stop: Sequence[str] = ()
    ) -> list[str]:
        assert self.device == "cpu"
        return [
            f" {each.text.split()[0]} {each.images[0].mean() > 127} {max_new_tokens}"
            for each in questions
        ]


def test_a_model_plug_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODELS, "_registered", {**MODELS._registered, "parrot": Parrot})
    chosen = PluginVqa(source="plugin", model="parrot", question="Q: {question}", max_new_tokens=5)
    vqa = open_vqa(chosen, "cpu")
    assert ask(vqa, np.zeros((4, 4, 3), np.uint8), ["Is it?"]) == ["Q: False 5"]
    assert vqa.identity == {"model": Parrot.card.digest}
    with pytest.raises(UserError, match=r"setting 'vqa\.model' needs one that answers questions"):
        open_vqa(chosen.model_copy(update={"model": "webp"}), "cpu")
