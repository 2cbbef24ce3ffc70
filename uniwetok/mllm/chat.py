"""Answering in text about any number of images, streamed and batched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedTokenizerBase

from uniwetok.mllm.batch import collate
from uniwetok.mllm.config import MLLMError
from uniwetok.mllm.layout import SequenceBuilder
from uniwetok.mllm.model import MLLM
from uniwetok.mllm.segments import IM_END, Turn
from uniwetok.randomness import stream
from uniwetok.tokenizer.quantizer import check_finite, finite_rows

_INCOMPLETE = "\ufffd"
"""What a decoder gives for the first bytes of a character."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are chosen.

    Raises:
        MLLMError: a value is impossible.
    """

    max_new_tokens: int = 512
    """Tokens after which a reply is cut off; the end of the context cuts it off too."""
    stop: Sequence[str] = ()
    """Texts at which a reply ends; they are no part of it."""
    temperature: float = 0.0
    """Temperature of the softmax; 0 takes the likeliest token."""
    top_p: float = 1.0
    """Nucleus sampling: only the likeliest tokens that together reach this share are drawn from."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise MLLMError(f"max_new_tokens={self.max_new_tokens} must be at least 1")
        if not self.temperature >= 0:
            raise MLLMError(f"temperature={self.temperature} must be at least 0")
        if not 0 < self.top_p <= 1:
            raise MLLMError(f"top_p={self.top_p} must be above 0 and at most 1")
        if not all(self.stop):
            raise MLLMError("a stop text is empty")


@dataclass
class Reply:
    """What was answered, as far as it has come."""

    text: str = ""
    tokens: int = 0
    """Tokens drawn, the end's included."""
    finish: Literal["", "stop", "length"] = ""
    """Why it ended: by itself or at a stop text; or at the limit of tokens. Empty while it goes
    on."""

    @property
    def empty(self) -> bool:
        """Whether nothing was said."""
        return not self.text.strip()


@dataclass
class Replies:
    """Replies to several conversations; iterating gives what each says next, until all ended.

    Raises:
        MLLMError: a conversation is without text, or fills the model's context.
    """

    model: MLLM
    """In evaluation mode."""
    builder: SequenceBuilder
    """With the model's tokens."""
    conversations: Sequence[Sequence[Turn]]
    """Each ending with the user's turn."""
    seeds: Sequence[int]
    """One a conversation, whose reply depends on no other."""
    sampling: Sampling
    """How tokens are chosen."""

    def __post_init__(self) -> None:
        """Look at the conversations; ``replies`` holds them as far as they have come."""
        self._generators = [stream(seed, "text") for seed in self.seeds]
        for turns in self.conversations:
            if not turns or not any(isinstance(p, str) and p.strip() for p in turns[-1].parts):
                raise MLLMError("no question: give a text beside the images")
        prompts = [self.builder.chat_prompt(turns) for turns in self.conversations]
        longest = max(len(prompt) for prompt in prompts)
        if longest >= self.model.context:
            raise MLLMError(
                f"a conversation of {longest} tokens leaves no room for a reply in the model's "
                f"context of {self.model.context} tokens: shorten it, or take fewer images"
            )
        self._prompts = prompts
        self._limit = min(self.sampling.max_new_tokens, self.model.context - longest)
        self._banned, self._ends = vocabulary(self.model, self.builder)
        self._writers = [
            _Writer(self.builder.tokenizer, tuple(self.sampling.stop)) for _ in prompts
        ]
        self.replies = [Reply() for _ in prompts]

    @torch.no_grad()
    def __iter__(self) -> Iterator[list[str]]:
        """Give each reply's new text, a list a step; empty texts for those that ended."""
        model = self.model
        batch = collate([[prompt] for prompt in self._prompts], padding="left").to(model.device)
        cache = DynamicCache(config=model.language_model.config.get_text_config())
        inputs, positions = model.embed(batch), batch.positions
        seen: Tensor | None = batch.seen()
        known = (batch.samples >= 0)[:, None, None]
        padded = not bool(known.all())
        for count in range(1, self._limit + 1):
            hidden = model.run(inputs, positions, seen, cache)[:, -1]
            tokens = self._choose(model.logits(hidden).float())
            yield [self._take(row, token, count) for row, token in enumerate(tokens)]
            if all(reply.finish for reply in self.replies):
                return
            inputs = model.table(torch.tensor(tokens, device=model.device))[:, None]
            positions = positions[:, -1:] + 1
            known = torch.cat([known, known.new_ones(len(known), 1, 1, 1)], dim=-1)
            # A single new token without padding sees everything: without a mask the language model
            # can take its fast attention kernel.
            seen = known if padded else None

    def _choose(self, logits: Tensor) -> list[int]:
        """Choose a token for each row of (rows, vocabulary)."""
        check_finite(finite_rows(logits), "the language model")
        logits = logits.masked_fill(self._banned.to(logits.device), -torch.inf)
        if not self.sampling.temperature:
            return logits.argmax(-1).tolist()
        # On the CPU, where a row's stream gives the same numbers on every device.
        shares = (logits / self.sampling.temperature).softmax(-1).cpu()
        ordered, order = shares.sort(dim=-1, descending=True)
        # A token is left out where those before it reach top_p by themselves, so that the one that
        # crosses it stays and at least one token is always left.
        beyond = ordered.cumsum(-1) - ordered >= self.sampling.top_p
        shares = shares.masked_fill(beyond.gather(1, order.argsort(-1)), 0)
        return [
            int(torch.multinomial(row, 1, generator=generator))
            for row, generator in zip(shares, self._generators, strict=True)
        ]

    def _take(self, row: int, token: int, count: int) -> str:
        """Add a token to a reply and give the text that is sure by now."""
        reply, writer = self.replies[row], self._writers[row]
        if reply.finish:
            return ""
        reply.tokens = count
        if token in self._ends:
            reply.finish = "stop"
        else:
            writer.add(token)
            if writer.stopped:
                reply.finish = "stop"
            elif count == self._limit:
                reply.finish = "length"
        piece = writer.take(final=bool(reply.finish))
        reply.text += piece
        return piece


def vocabulary(model: MLLM, builder: SequenceBuilder) -> tuple[Tensor, set[int]]:
    """Give which tokens are never said, (vocabulary,) bool, and those that end a reply.

    Markers of images, sizes, queries and turns are never said, nor are rows beyond the tokenizer.
    """
    tokenizer, special = builder.tokenizer, builder.special_ids
    rows = model.output_layer.weight.shape[0]
    ends = {special[IM_END]}
    if tokenizer.eos_token_id is not None:
        ends.add(int(tokenizer.eos_token_id))
    never = ({*special.values()} | {*tokenizer.all_special_ids}) - ends
    banned = torch.zeros(rows, dtype=torch.bool)
    banned[sorted(never)] = True
    banned[len(tokenizer) :] = True
    return banned, ends


@dataclass
class _Writer:
    """Turns tokens into text as soon as it is sure: whole characters, and no start of a stop."""

    tokenizer: PreTrainedTokenizerBase
    stops: tuple[str, ...]
    stopped: bool = False
    _ids: list[int] = field(default_factory=list)
    _start: int = 0
    _read: int = 0
    _pending: str = ""

    def add(self, token: int) -> None:
        self._ids.append(token)
        self._decode(final=False)

    def take(self, *, final: bool) -> str:
        """Give the text that is sure and was not given yet; all that is left where final."""
        if final and not self.stopped:
            self._decode(final=True)
        held = 0 if final else self._held()
        text = self._pending[: len(self._pending) - held]
        self._pending = self._pending[len(text) :]
        return text

    def _decode(self, *, final: bool) -> None:
        # Some tokenizers write a token differently at the start, so those before it come along.
        before = self._text(self._ids[self._start : self._read])
        now = self._text(self._ids[self._start :])
        if now.endswith(_INCOMPLETE) and not final:
            return
        self._pending += now[len(before) :]
        self._start, self._read = self._read, len(self._ids)
        found = [place for stop in self.stops if (place := self._pending.find(stop)) >= 0]
        if found:
            self._pending = self._pending[: min(found)]
            self.stopped = True

    def _held(self) -> int:
        """Length of the longest end of the text that may be the start of a stop."""
        sizes = [
            size
            for stop in self.stops
            for size in range(1, len(stop))
            if self._pending.endswith(stop[:size])
        ]
        return max(sizes, default=0)

    def _text(self, ids: list[int]) -> str:
        text = self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text
