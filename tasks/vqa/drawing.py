"""Models that draw, as lmms-eval's tasks of drawing know them: replies that name pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from harness.data.images import decoded, to_uint8
from harness.data.store import Store
from harness.interfaces import Code, Question, offers
from harness.interfaces.errors import SampleFailure, UserError
from harness.interfaces.types import ModelCard, Status, digest_of
from tasks.shared.networks import LazyModel
from tasks.vqa.replies import Answered

_FOLDER = "drawn"


class Draughtsman:
    """Draws or edits a picture for each question, and replies with its path as JSON.

    A picture is seeded by the run's seed, the text and the pictures shown, so that no number
    depends on batch, process or restart.

    Args:
        model: Draws texts, or edits pictures.
        root: The run directory; pictures are kept below `drawn`.
        seed: The run's.
    """

    def __init__(self, model: LazyModel, root: Path, seed: int) -> None:
        self._model = model
        self._root = root
        self._seed = seed

    @property
    def card(self) -> ModelCard:
        """The model's."""
        return self._model.card

    def keeps(self, answered: Answered) -> bool:
        """Whether the pictures that a kept reply names are there."""
        return all((self._root / name).is_file() for name in _names(answered.reply))

    def reply(
        self, questions: Sequence[Question], *, max_new_tokens: int, stop: Sequence[str] = ()
    ) -> list[str | Exception]:
        """A reply, or why there is none, for each question; limits of texts mean nothing."""
        del max_new_tokens, stop
        return [self._drawn(question) for question in questions]

    def _drawn(self, question: Question) -> str | Exception:
        shown = [np.ascontiguousarray(image) for image in question.images]
        about = [
            question.text,
            [[image.shape, digest_of(image.tobytes().hex())] for image in shown],
        ]
        name = digest_of([self.card.digest, self._seed, about])
        seed = int(digest_of([self._seed, about])[:16], 16) >> 1

        def draw(model: Any) -> np.ndarray:
            codes = _codes(model, question.text, shown, seed)
            pixels: np.ndarray = to_uint8(decoded(model.decode(codes, [seed])))[0]
            return pixels

        try:
            pixels = self._model.use(draw)
        except UserError:
            raise
        except Exception as error:
            return error
        path = f"{_FOLDER}/{name[:32]}.png"
        Store(self._root).write(path, Image.fromarray(pixels).save)
        return json.dumps({"text": "", "images": [path]})


def _codes(model: Any, text: str, shown: Sequence[np.ndarray], seed: int) -> list[Code]:
    if len(shown) > 1:
        reason = f"the task shows {len(shown)} pictures, and models here edit one"
        raise SampleFailure(Status.MODEL_ERROR, reason)
    if shown:
        edited: list[Code] = model.edit([text], shown, [seed])
        return edited
    if not offers(model, "TextToImage"):
        raise SampleFailure(Status.MODEL_ERROR, "the task shows no picture to edit")
    drawn: list[Code] = model.generate([text], [seed])
    return drawn


def _names(reply: str) -> list[str]:
    return list(json.loads(reply)["images"]) if reply else []


def placed(reply: str, root: Path) -> str:
    """A reply whose pictures are named by whole paths, as lmms-eval opens them."""
    if not reply:
        return reply
    return json.dumps({**json.loads(reply), "images": [str(root / name) for name in _names(reply)]})


def drawn_in(reply: str, root: Path) -> list[Image.Image]:
    """The pictures that a reply names."""
    return [Image.open(root / name) for name in _names(reply)]
