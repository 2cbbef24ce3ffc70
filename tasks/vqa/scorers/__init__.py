"""Our own scorers of the understanding suites, equal to lmms-eval's reply by reply.

Each takes a row of the suite's data set and a reply, and raises `UnparsedReply` where lmms-eval
would draw an answer at random.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.interfaces.errors import SampleFailure
from harness.interfaces.types import Status

Document = Mapping[str, Any]
"""A row of a suite's data set without its pictures."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A reply as a scorer understands it."""

    score: float
    """In [0, 1]; not a number where the right answer is not public."""
    answer: str
    """The right answer, for people."""
    prediction: str
    """What the reply was taken for."""


Judge = Callable[[Document, str], Judged]


class UnparsedReply(SampleFailure):
    """No option can be found in a reply.

    Args:
        reason: Why, in one line.
        options: How many there were to choose from.
    """

    def __init__(self, reason: str, options: int) -> None:
        super().__init__(Status.PARSE_ERROR, reason)
        self.options = options
