"""What is asked of a judge and what comes back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import Field

from harness.interfaces.protocols import Count
from harness.interfaces.types import Record


class JudgeSettings(Record):
    """A protocol's `judge` table: every choice about the judge that moves a number."""

    client: str
    """Name in the registry `JUDGES`."""
    model: str
    """As the endpoint calls it; a dated snapshot where there is one."""
    max_tokens: Count
    """Longest reply, in tokens."""
    temperature: float | None = None
    """Not sent where None: the endpoint's own default holds."""
    jpeg_quality: int = Field(ge=1, le=100)
    """JPEG quality of the images that are sent."""


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """A text, then images."""

    text: str
    images: Sequence[bytes] = ()
    """JPEG files."""
    draw: int = 0
    """Which of several independent replies to the same text and images."""
    top_logprobs: int = 0
    """How many of the likeliest first tokens are to come with their probabilities."""

    def content(self) -> dict[str, Any]:
        """What a reply depends on, beside endpoint and settings, as JSON."""
        return {
            "text": self.text,
            "images": [hashlib.sha256(image).hexdigest() for image in self.images],
            "draw": self.draw,
            # Not where none are asked for: replies that were paid for before are found again.
            **({"top_logprobs": self.top_logprobs} if self.top_logprobs else {}),
        }


@dataclass(frozen=True, slots=True)
class JudgeReply:
    """What a judge said, or why it said nothing."""

    text: str = ""
    refusal: str = ""
    """Why the judge declined; such a reply is final."""
    failure: str = ""
    """Why there is no reply at all; another run asks again."""
    model: str = ""
    """The snapshot that answered, in the endpoint's words."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None
    """US dollars, where the endpoint or the settings know prices."""
    first_tokens: Mapping[str, float] = field(default_factory=dict)
    """Probabilities of the likeliest first tokens, where they were asked for."""


class Judge(Protocol):
    """Answers requests, several at a time; safe to call from several threads."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What replies depend on beside request and settings; no secret is in it."""
        ...

    def check(self) -> None:
        """Raise `UserError` where requests could not be answered, before any is made."""
        ...

    def ask(self, requests: Sequence[JudgeRequest]) -> list[JudgeReply]:
        """A reply to each request; raise `UserError` where going on makes no sense."""
        ...
