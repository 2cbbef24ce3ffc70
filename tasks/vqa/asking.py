"""Asking a model its share of the questions: in batches, failures one by one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Any, Protocol

import numpy as np

from harness.interfaces import Question
from harness.interfaces.errors import SampleFailure, UserError, counted
from harness.interfaces.types import Status, digest_of
from tasks.shared.networks import LazyModel
from tasks.vqa.replies import Answered, Journal, safe, until

FIRST = 8
"""Questions that must not all fail in the model: it would fail on the others too."""
_WINDOW = 4
"""Batches whose questions are sorted by length together, with their pictures in memory, and those
of the next as many."""
_SHARES = 1024
"""Parts that questions are at least shared out in, where there are as many windows."""


def window_of(batch_size: int) -> int:
    """Questions that are looked at together, for batches of like lengths."""
    return batch_size * _WINDOW if batch_size > 1 else 1


def together(count: int, batch_size: int) -> int:
    """Questions, of so many, that one asker takes together: whole windows."""
    window = window_of(batch_size)
    return window * max(1, count // (window * _SHARES))


def share(count: int, batch_size: int, rank: int, size: int) -> list[int]:
    """Places of the questions, of so many, that are one's of several askers.

    They go out by whole windows: a model sees the same batches, and gives the same bits, however
    many ask it.
    """
    part = together(count, batch_size)
    return [place for place in range(count) if place // part % size == rank]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question whose pictures are not opened yet."""

    text: str
    load: Callable[[], Sequence[np.ndarray]]
    """Opens the pictures, uint8 RGB (H, W, 3); may raise anything."""
    max_new_tokens: int
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Open:
    """A question to be asked, with its pictures."""

    place: int
    asked: Asked
    question: Question
    digests: tuple[str, ...]
    key: str
    """In the journal."""

    @property
    def limits(self) -> tuple[int, tuple[str, ...]]:
        """What questions of a batch have in common."""
        return self.asked.max_new_tokens, self.asked.stop

    @property
    def length(self) -> tuple[int, int]:
        """What a model reads: pixels, of which its tokens are a share, and letters."""
        pixels = sum(image.shape[0] * image.shape[1] for image in self.question.images)
        return pixels, len(self.question.text)


class Answering(Protocol):
    """Whatever gives what came of questions."""

    def ask(
        self, questions: Sequence[Asked], on_done: Callable[[int], None]
    ) -> dict[int, Answered]:
        """The answers by the places of the questions; `on_done` is told how many are done."""
        ...


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

    def ask(
        self, questions: Sequence[Asked], on_done: Callable[[int], None] = lambda _: None
    ) -> dict[int, Answered]:
        """Answer the share of the questions, by their places; `on_done` is told how many are done.

        Raises:
            UserError: The model fails on each of the first questions, or cannot be loaded.
        """
        answers: dict[int, Answered] = {}
        sound = False
        with closing(self._windows(questions)) as windows:
            for window in windows:
                for some in self._answered(window):
                    answers |= some
                    sound = sound or self._sound(list(answers.values()), min(FIRST, len(questions)))
                    on_done(len(answers))
        return answers

    def _windows(
        self, questions: Sequence[Asked]
    ) -> Generator[dict[int, _Open | Answered], None, None]:
        """The share, by windows, their pictures opened; those of the next while the model works."""
        remaining = iter(share(len(questions), self.batch_size, self.rank, self.size))
        pool = ThreadPoolExecutor(1)  # Others' code opens them, one call at a time.

        def begin() -> dict[int, Future[_Open | Answered]]:
            places = islice(remaining, window_of(self.batch_size))
            return {place: pool.submit(self._opened, place, questions[place]) for place in places}

        try:
            window = begin()
            while window:
                following = begin()
                yield {place: opening.result() for place, opening in window.items()}
                window = following
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def refuse_failing(self, answers: Mapping[int, Answered]) -> None:
        """Raise `UserError` where one asker alone would have given up on these, by all of them."""
        window = window_of(self.batch_size)
        asked = sorted(answers, key=lambda place: place // window)
        for end in range(self.batch_size, len(asked) + self.batch_size, self.batch_size):
            if self._sound([answers[place] for place in asked[:end]], min(FIRST, len(asked))):
                return

    def _sound(self, answers: Sequence[Answered], least: int) -> bool:
        """Whether the model has answered any of its first questions, of which `least` are many."""
        tried = [answer for answer in answers if answer.status is not Status.DECODE_ERROR]
        if any(answer.status is not Status.MODEL_ERROR for answer in tried):
            return True
        if tried and len(tried) >= least:
            raise UserError(
                f"model {self.model.card.name!r} failed on each of the first "
                f"{counted(len(tried), 'question')}: {tried[0].error}"
            )
        return False

    def _answered(self, window: Mapping[int, _Open | Answered]) -> Iterator[dict[int, Answered]]:
        """What comes of questions: first of those that are not asked, then batch by batch.

        Questions that share the limits of their replies are asked together, the short ones first:
        a batch costs as much as its longest question would that often.
        """
        settled: dict[int, Answered] = {}
        alike: dict[tuple[int, tuple[str, ...]], list[_Open]] = defaultdict(list)
        for place, found in window.items():
            known = found if isinstance(found, Answered) else self._known(found)
            if known is not None:
                settled[place] = known
            elif isinstance(found, _Open):
                alike[found.limits].append(found)
        if settled:
            yield settled
        for group in alike.values():
            group.sort(key=attrgetter("length"))
            for start in range(0, len(group), self.batch_size):
                yield self._batch(group[start : start + self.batch_size])

    def _opened(self, place: int, asked: Asked) -> _Open | Answered:
        """The question with its pictures, or that these cannot be opened."""
        try:
            images = list(asked.load())
        except UserError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            return Answered.failed(SampleFailure(Status.DECODE_ERROR, reason))
        digests = tuple(_pixel_digest(image) for image in images) if self.journal else ()
        key = self._key(asked, digests)
        return _Open(place, asked, Question(asked.text, images), digests, key)

    def _known(self, question: _Open) -> Answered | None:
        return self.journal.get(question.key) if self.journal else None

    def _batch(self, batch: Sequence[_Open]) -> dict[int, Answered]:
        replies = self._replies([each.question for each in batch], batch[0].asked)
        answers = {
            each.place: self._checked(reply, each.asked, each.digests)
            for each, reply in zip(batch, replies, strict=True)
        }
        if self.journal:
            self.journal.add({each.key: answers[each.place] for each in batch})
        return answers

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
