"""Asking a model its share of the questions: in batches, failures one by one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from harness.interfaces import Question
from harness.interfaces.errors import SampleFailure, UserError
from harness.interfaces.types import Status, digest_of
from tasks.shared.networks import LazyModel
from tasks.vqa.replies import Answered, Journal, safe, until

FIRST = 8
"""Questions that must not all fail in the model: it would fail on the others too."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question whose pictures are not opened yet."""

    text: str
    load: Callable[[], Sequence[np.ndarray]]
    """Opens the pictures, uint8 RGB (H, W, 3); may raise anything."""
    max_new_tokens: int
    stop: tuple[str, ...] = ()


_Open = tuple[int, Asked, Question, tuple[str, ...], str]
"""A question's place, itself twice, the digests of its pictures, and its key in the journal."""


@dataclass(frozen=True)
class Asker:
    """Asks a model's questions in batches."""

    model: LazyModel
    """Whom to ask."""
    batch_size: int
    """Most questions of a batch."""
    reply_limit: int
    """Characters at which a reply is cut."""
    journal: Journal | None = None
    """Where replies are kept; None for nowhere."""
    rank: int = 0
    """Which of the askers this one is that share the questions out."""
    size: int = 1
    """How many they are."""

    def share(self, count: int, rank: int) -> list[int]:
        """Places of the questions that an asker answers, of so many.

        They go out by whole batches: a model sees the same ones, and gives the same bits, however
        many ask it.
        """
        size = self.batch_size
        return [place for place in range(count) if place // size % self.size == rank]

    def ask(
        self, questions: Sequence[Asked], on_done: Callable[[int], None] = lambda _: None
    ) -> dict[int, Answered]:
        """Answer the share of the questions, by their places; `on_done` is told how many are done.

        Raises:
            UserError: The model fails on each of the first questions, or cannot be loaded.
        """
        answers: dict[int, Answered] = {}
        sound = False
        remaining = iter(self.share(len(questions), self.rank))
        while batch := list(islice(remaining, self.batch_size)):
            replies = self._batch([questions[place] for place in batch])
            answers.update(zip(batch, replies, strict=True))
            sound = sound or self._sound(list(answers.values()), min(FIRST, len(questions)))
            on_done(len(answers))
        return answers

    def refuse_failing(self, answers: Sequence[Answered]) -> None:
        """Raise `UserError` where one asker alone would have given up on these, by all of them."""
        for end in range(self.batch_size, len(answers) + self.batch_size, self.batch_size):
            if self._sound(answers[:end], min(FIRST, len(answers))):
                return

    def _sound(self, answers: Sequence[Answered], least: int) -> bool:
        """Whether the model has answered any of its first questions, of which `least` are many."""
        tried = [answer for answer in answers if answer.status is not Status.DECODE_ERROR]
        if any(answer.status is not Status.MODEL_ERROR for answer in tried):
            return True
        if tried and len(tried) >= least:
            raise UserError(
                f"model {self.model.card.name!r} failed on each of the first {len(tried)} "
                f"questions: {tried[0].error}"
            )
        return False

    def _batch(self, batch: Sequence[Asked]) -> list[Answered]:
        answers: dict[int, Answered] = {}
        # Questions that share the limits of their replies are asked together.
        alike: dict[tuple[int, tuple[str, ...]], list[_Open]] = defaultdict(list)
        for place, asked in enumerate(batch):
            try:
                images = list(asked.load())
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                answers[place] = Answered.failed(SampleFailure(Status.DECODE_ERROR, reason))
                continue
            digests = tuple(_pixel_digest(image) for image in images) if self.journal else ()
            key = self._key(asked, digests)
            known = self.journal.get(key) if self.journal else None
            if known is not None:
                answers[place] = known
            else:
                open_ = (place, asked, Question(asked.text, images), digests, key)
                alike[asked.max_new_tokens, asked.stop].append(open_)
        fresh: dict[str, Answered] = {}
        for group in alike.values():
            replies = self._replies([item[2] for item in group], group[0][1])
            for (place, asked, _, digests, key), reply in zip(group, replies, strict=True):
                answers[place] = fresh[key] = self._checked(reply, asked, digests)
        if self.journal and fresh:
            self.journal.add(fresh)
        return [answers[place] for place in range(len(batch))]

    def _key(self, asked: Asked, digests: Sequence[str]) -> str:
        limits = [asked.max_new_tokens, list(asked.stop), self.reply_limit]
        return digest_of([self.model.card.digest, asked.text, list(digests), *limits])

    def _replies(self, questions: list[Question], asked: Asked) -> list[Any]:
        """One reply, or the exception in its place, for each question."""
        try:
            replies = self.model.reply(
                questions, max_new_tokens=asked.max_new_tokens, stop=asked.stop
            )
            if not isinstance(replies, Sequence) or isinstance(replies, str):
                raise TypeError(f"reply gave {type(replies).__name__} and not a list of texts")
            if len(replies) != len(questions):
                raise ValueError(f"{len(replies)} replies to {len(questions)} questions")
        except UserError:
            raise
        except Exception as error:
            if len(questions) == 1:
                return [error]
            return [reply for one in questions for reply in self._replies([one], asked)]
        return list(replies)

    def _checked(self, reply: Any, asked: Asked, digests: tuple[str, ...]) -> Answered:
        if isinstance(reply, Exception):
            return Answered.failed(reply, digests)
        if not isinstance(reply, str):
            reason = f"the reply is {type(reply).__name__} and not a text"
            return Answered.failed(SampleFailure(Status.MODEL_ERROR, reason), digests)
        text, controls = safe(until(reply, asked.stop))
        return Answered(
            reply=text[: self.reply_limit],
            images=digests,
            cut=len(text) > self.reply_limit,
            controls=controls,
        )


def _pixel_digest(image: np.ndarray) -> str:
    import xxhash

    pixels = np.ascontiguousarray(image)
    return f"{'x'.join(map(str, pixels.shape))}-{xxhash.xxh3_128_hexdigest(pixels.data)}"
