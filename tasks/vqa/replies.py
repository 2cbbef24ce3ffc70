"""Asking a model: batches, failures one by one, replies made safe, and what is already answered."""

from __future__ import annotations

import json
import logging
import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np

from harness.interfaces import Question
from harness.interfaces.errors import SampleFailure, UserError
from harness.interfaces.types import Status, digest_of
from tasks.shared.networks import LazyModel

FIRST = 8
"""Questions that must not all fail in the model: it would fail on the others too."""
_LOG = logging.getLogger(__name__)
_SEAL = "sha256"
"""Key of a line's digest."""
_KEPT_CONTROLS = "\t\n\r"
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question whose pictures are not opened yet."""

    text: str
    load: Callable[[], Sequence[np.ndarray]]
    """Opens the pictures, uint8 RGB (H, W, 3); may raise anything."""
    max_new_tokens: int
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answered:
    """What came of a question."""

    reply: str = ""
    status: Status = Status.OK
    error: str = ""
    images: tuple[str, ...] = ()
    """Digests of the pictures' pixels."""
    cut: bool = False
    """Whether the reply was longer than the limit."""
    controls: int = 0
    """Control characters and halves of surrogate pairs that were replaced."""

    @classmethod
    def failed(cls, error: Exception, images: tuple[str, ...] = ()) -> Answered:
        """A question that has no reply; the status is the failure's, or the model's."""
        status = error.status if isinstance(error, SampleFailure) else Status.MODEL_ERROR
        text = (
            str(error) if isinstance(error, SampleFailure) else f"{type(error).__name__}: {error}"
        )
        return cls(status=status, error=next(iter(safe(text)[0].splitlines()), ""), images=images)

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Self:
        """Read a line's fields; raise `ValueError`, `TypeError` or `KeyError` for anything else."""
        if not isinstance(entry["reply"], str):
            raise TypeError("the reply is no text")
        known = {"status": Status(entry["status"]), "images": tuple(entry["images"])}
        return cls(**{**entry, **known})


def safe(text: str) -> tuple[str, int]:
    """The text with U+FFFD for what no file or terminal should hold, and how often that was."""
    letters = [_REPLACEMENT if _unsafe(letter) else letter for letter in text]
    return "".join(letters), sum(map(_unsafe, text))


def _unsafe(letter: str) -> bool:
    return unicodedata.category(letter) in {"Cc", "Cs"} and letter not in _KEPT_CONTROLS


def until(reply: str, stop: Sequence[str]) -> str:
    """The reply up to the first of `stop`, for models that generate past it."""
    ends = [reply.find(text) for text in stop if text]
    return reply[: min((end for end in ends if end >= 0), default=len(reply))]


class Journal:
    """Replies of an unfinished run, by everything that they depend on; a line a reply.

    What was added survives the end of the process, if not that of the machine.

    Args:
        path: The file; a last line that was cut short is left behind, and damaged ones are
            missing, with a warning. Lines from before there were digests have none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Answered] = {}
        if path.is_file():
            content = path.read_bytes()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                os.truncate(path, whole)
            lines = content[:whole].splitlines()
            found = [entry for entry in map(_entry, lines) if entry is not None]
            self._known = dict(found)
            if damaged := len(lines) - len(found):
                _LOG.warning("%s: %d damaged replies are asked for again", path, damaged)

    def get(self, key: str) -> Answered | None:
        """The reply that was kept under that key."""
        return self._known.get(key)

    def add(self, answers: Mapping[str, Answered]) -> None:
        """Keep a batch's replies; failures are asked again and not kept."""
        kept = {key: answer for key, answer in answers.items() if answer.status is Status.OK}
        entries = [{"key": key, **vars(answer)} for key, answer in kept.items()]
        lines = [json.dumps({**entry, _SEAL: digest_of(entry)}) + "\n" for entry in entries]
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(lines)
        self._known.update(kept)


def _entry(line: bytes) -> tuple[str, Answered] | None:
    """The key and the reply of a journal's line; None where it is not as it was written."""
    try:
        entry = json.loads(line)
        seal = entry.pop(_SEAL, None)
        if seal is not None and seal != digest_of(entry):
            return None
        return entry.pop("key"), Answered.of(entry)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


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

    def ask(
        self, questions: Sequence[Asked], on_done: Callable[[int], None] = lambda _: None
    ) -> list[Answered]:
        """Answer every question, in order; `on_done` is told how many are done.

        Raises:
            UserError: The model fails on each of the first questions, or cannot be loaded.
        """
        answers: list[Answered] = []
        sound = False
        remaining = iter(questions)
        while batch := list(islice(remaining, self.batch_size)):
            answers += self._batch(batch)
            sound = sound or self._sound(answers, min(FIRST, len(questions)))
            on_done(len(answers))
        return answers

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
