"""Prompts, what each is asked about, and what is known of a benchmark of such."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.interfaces.errors import UserError
from harness.interfaces.types import digest_of
from tasks.asked.scenes import Atom

YES = ("Yes", "yes", " yes", " Yes")
"""How a reply that agrees may begin, in the spellings that GenEval 2's script looks up."""


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that a picture is asked."""

    text: str
    expected: str
    """The right answer, as it is shown."""
    right: tuple[str, ...]
    """Beginnings of a right reply."""
    skills: tuple[str, ...]
    """What it counts for, of the benchmark's."""


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt and its questions."""

    id: str
    text: str
    questions: tuple[Question, ...]
    benchmark: Benchmark
    atoms: int = 1
    """How much the prompt asks for."""

    def __post_init__(self) -> None:
        """Raise `UserError` for text that nothing but JSON can hold: half of a surrogate pair."""
        try:
            _ = self.digest
        except UnicodeEncodeError as error:
            raise UserError(f"prompt {self.id} is no text that can be kept: {error}") from error

    @property
    def digest(self) -> str:
        """SHA-256 of everything that is asked for and asked about."""
        asked = [[q.text, q.expected, list(q.right), list(q.skills)] for q in self.questions]
        return digest_of([self.id, self.text, self.atoms, asked])


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What one benchmark's file is like and what its questions are about."""

    skills: tuple[str, ...]
    prompts: int
    """How many it has, when it is the published one."""
    source: str
    """Where its data come from and under which licence."""
    read: Callable[[Path], list[Item]]
    """Reads its published layout; raises `UserError`."""
    drawn: Callable[[str, str, Sequence[Atom]], Item]
    """Its way of asking about a scene of ours: by the item's id, its prompt and its atoms."""
    file_names: Callable[[str, int], list[str]]
    """Where a prompt's picture, made elsewhere, may lie: by the item's id and a number."""
