"""Codebook usage and perplexity from the symbols of grouped tokens."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.interfaces import Observations
from harness.interfaces.types import Codebook
from harness.metrics.resampling import GROUPS, deal_groups

Symbols = NDArray[np.integer[Any]]

# Distinct tokens are sorted again only after this many new ones, so adding stays linear.
_PENDING = 1 << 20


class CodebookCounts:
    """Counts of symbols for each group and of whole tokens; counts of disjoint sets merge.

    A token is a tuple of `groups` symbols, each in [0, n_embed): for a binary quantiser of 128 bits
    in groups of 8, ``groups`` is 16 and ``n_embed`` 256, and there are 2^128 tokens.
    """

    def __init__(self, groups: int, n_embed: int = 256) -> None:
        """Start empty.

        Args:
            groups: symbols in a token.
            n_embed: size of a group's codebook.

        Raises:
            ValueError: fewer than 1 group or 2 symbols.
        """
        if groups < 1 or n_embed < 2:
            raise ValueError(
                f"{groups} groups of {n_embed} symbols; give at least 1 group of 2 symbols"
            )
        self.groups = groups
        self.n_embed = n_embed
        self.tokens = 0
        self._symbols = np.zeros((groups, n_embed), dtype=np.int64)
        self._key = np.min_scalar_type(n_embed - 1)
        self._distinct: NDArray[np.void] = np.empty(0, dtype=(np.void, groups * self._key.itemsize))
        self._pending: list[NDArray[np.void]] = []

    def add(self, symbols: Symbols) -> None:
        """Count tokens.

        Args:
            symbols: integers (tokens, groups) in [0, n_embed).

        Raises:
            ValueError: wrong shape or dtype, or a symbol out of range.
        """
        keys = self._count(symbols)
        if len(keys) == 0:
            return
        self._pending.append(keys)
        if sum(map(len, self._pending)) > max(_PENDING, len(self._distinct)):
            self._settle()

    def merge(self, other: CodebookCounts) -> None:
        """Add the counts of another set of tokens.

        Raises:
            ValueError: the codebooks differ.
        """
        if (self.groups, self.n_embed) != (other.groups, other.n_embed):
            raise ValueError(
                f"codebooks of {self.groups} x {self.n_embed} and {other.groups} x "
                f"{other.n_embed} symbols do not merge; count them apart"
            )
        self.tokens += other.tokens
        self._symbols += other._symbols
        other._settle()
        self._pending.append(other._distinct)

    @property
    def pooled_usage(self) -> float:
        """Share of the n_embed symbols that any group used: what WeTok prints as codebook usage."""
        self._check_not_empty()
        return float(np.mean(self._symbols.any(axis=0)))

    @property
    def group_usage(self) -> NDArray[np.float64]:
        """Share of the n_embed symbols that each group used, (groups,)."""
        self._check_not_empty()
        usage: NDArray[np.float64] = np.mean(self._symbols > 0, axis=1)
        return usage

    @property
    def joint_usage(self) -> float:
        """Distinct tokens over the most there could be: min(n_embed^groups, tokens seen)."""
        possible: int = self.n_embed**self.groups
        return self.distinct_tokens / min(possible, self.tokens)

    @property
    def distinct_tokens(self) -> int:
        """Number of different tokens."""
        self._check_not_empty()
        self._settle()
        return len(self._distinct)

    @property
    def pooled_perplexity(self) -> float:
        """exp(entropy) of the symbols pooled over groups; between 1 and n_embed."""
        self._check_not_empty()
        return _perplexity(self._symbols.sum(axis=0))

    @property
    def group_perplexity(self) -> NDArray[np.float64]:
        """exp(entropy) of each group's symbols, (groups,)."""
        self._check_not_empty()
        return np.array([_perplexity(counts) for counts in self._symbols])

    def _check_not_empty(self) -> None:
        if self.tokens == 0:
            raise ValueError("no tokens were added; codebook usage needs at least 1")

    def _count(self, symbols: Symbols) -> NDArray[np.void]:
        """Count single symbols; the tokens as keys, to be counted by whoever asked."""
        if symbols.ndim != 2 or symbols.shape[1] != self.groups or symbols.dtype.kind not in "iu":
            raise ValueError(
                f"symbols are {symbols.dtype} {symbols.shape}; give integers (tokens, "
                f"{self.groups})"
            )
        if len(symbols) == 0:
            return self._distinct[:0]
        low, high = int(symbols.min()), int(symbols.max())
        if low < 0 or high >= self.n_embed:
            raise ValueError(
                f"symbols span [{low}, {high}], outside [0, {self.n_embed - 1}]; check n_embed"
            )
        for group in range(self.groups):
            self._symbols[group] += np.bincount(symbols[:, group], minlength=self.n_embed)
        self.tokens += len(symbols)
        keys = np.ascontiguousarray(symbols, dtype=self._key)
        return keys.view(self._distinct.dtype).ravel()

    def _settle(self) -> None:
        """Keep each pending token once."""
        if self._pending:
            keys = np.concatenate([self._distinct, *self._pending])
            self._pending = []
            order, starts = _sorted(keys)
            self._distinct = keys[order[starts]]


def whole_and_rests(
    parts: Sequence[Symbols], n_embed: int
) -> tuple[CodebookCounts, Iterator[CodebookCounts]]:
    """Counts of all parts together, and of all but each in turn; tokens are sorted once.

    Args:
        parts: integers (tokens, groups) in [0, n_embed) each; at least one part has tokens.
        n_embed: size of a group's codebook.

    Raises:
        ValueError: as `CodebookCounts.add`.
    """
    empty = [CodebookCounts(part.shape[-1], n_embed) for part in parts]
    pieces = [counts._count(part) for counts, part in zip(empty, parts, strict=True)]
    keys = np.concatenate(pieces)
    order, starts = _sorted(keys)
    # Equal tokens have one number, so parts are taken out by counting numbers.
    number = np.empty(len(keys), dtype=np.int64)
    number[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(keys)))
    whole = CodebookCounts(empty[0].groups, n_embed)
    whole.tokens = sum(counts.tokens for counts in empty)
    whole._symbols = np.sum([counts._symbols for counts in empty], axis=0)
    whole._distinct = keys[order[starts]]
    occurrences = np.diff(starts, append=len(keys))
    ends = np.cumsum([len(piece) for piece in pieces])

    def rests() -> Iterator[CodebookCounts]:
        for own, taken in zip(empty, np.split(number, ends[:-1]), strict=True):
            rest = CodebookCounts(whole.groups, n_embed)
            rest.tokens = whole.tokens - own.tokens
            rest._symbols = whole._symbols - own._symbols
            left = occurrences - np.bincount(taken, minlength=len(starts))
            rest._distinct = whole._distinct[left > 0]
            yield rest

    return whole, rests()


def _sorted(keys: NDArray[np.void]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """An order that brings equal keys together, and where in it each new key begins."""
    # Sorting 8-byte words beats sorting byte strings; the padding byte 0 is the same for all.
    width = keys.dtype.itemsize
    padded = np.zeros((len(keys), -(-width // 8) * 8), dtype=np.uint8)
    padded[:, :width] = keys.view(np.uint8).reshape(len(keys), width)
    words = padded.view(np.uint64)
    order = np.lexsort(words.T)
    words = words[order]
    first = np.ones(len(keys), dtype=bool)
    first[1:] = (words[1:] != words[:-1]).any(axis=1)
    return order, np.flatnonzero(first)


def _perplexity(counts: NDArray[np.int64]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares @ np.log(shares))))


@dataclass(frozen=True, slots=True)
class CodebookFigures:
    """What the codes of a run give: every figure of all images, and without some in turn."""

    tokens: int
    whole: Mapping[str, float]
    without: Sequence[Mapping[str, float]]
    shares: Sequence[float]
    """The share of all tokens that was left out, for each of `without`."""


_FIGURES: Mapping[str, Callable[[CodebookCounts], float]] = {
    "usage_pooled": lambda counts: counts.pooled_usage,
    "usage_group": lambda counts: float(counts.group_usage.mean()),
    "usage_joint": lambda counts: counts.joint_usage,
    "perplexity_pooled": lambda counts: counts.pooled_perplexity,
    "perplexity_group": lambda counts: float(counts.group_perplexity.mean()),
}
_last: tuple[weakref.ref[Observations], CodebookFigures] | None = None


def codebook_figures(observations: Observations, codebook: Codebook) -> CodebookFigures:
    """All figures at once: the metrics of a run, scored one after another, count its codes once."""
    global _last
    if _last is not None and _last[0]() is observations:
        return _last[1]
    images, size = len(observations.payloads), 2**codebook.bits_per_group
    groups = min(GROUPS, images)
    dealt = deal_groups(images, groups, observations.seed)
    parts = []
    for group in range(groups):
        payloads = [observations.payloads[int(row)] for row in np.flatnonzero(dealt == group)]
        parts.append(codebook.unpack(b"".join(payloads)).astype(np.min_scalar_type(size - 1)))
    whole, rests = whole_and_rests(parts, size)
    found = CodebookFigures(
        tokens=whole.tokens,
        whole={name: read(whole) for name, read in _FIGURES.items()},
        without=[{name: read(rest) for name, read in _FIGURES.items()} for rest in rests]
        if groups > 1
        else [],
        shares=[len(part) / whole.tokens for part in parts],
    )
    _last = weakref.ref(observations), found
    return found
