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
from harness.metrics.stats import GROUPS, deal_groups, over_cores

Symbols = NDArray[np.integer[Any]]
MOST_SYMBOLS = 2**24
"""Symbols of a group up to which usage is counted: each has its counter, and the counts of all
parts are in memory together."""


@dataclass(frozen=True, eq=False)
class CodebookCounts:
    """How often each group of a set of tokens had each symbol, and how many tokens differ.

    A token is a tuple of symbols: for a binary quantiser of 128 bits in groups of 8 it has 16
    symbols in [0, 256), and there are 2^128 tokens.
    """

    symbols: NDArray[np.int64]
    """(groups, n_embed)."""
    tokens: int
    distinct_tokens: int

    def __post_init__(self) -> None:
        if self.tokens == 0:
            raise ValueError("there are no tokens; codebook usage needs at least 1")

    @property
    def pooled_usage(self) -> float:
        """Share of the n_embed symbols that any group used: what WeTok prints as codebook usage."""
        return float(np.mean(self.symbols.any(axis=0)))

    @property
    def group_usage(self) -> NDArray[np.float64]:
        """Share of the n_embed symbols that each group used, (groups,)."""
        usage: NDArray[np.float64] = np.mean(self.symbols > 0, axis=1)
        return usage

    @property
    def joint_usage(self) -> float:
        """Distinct tokens over the most there could be: min(n_embed^groups, tokens seen)."""
        groups, n_embed = self.symbols.shape
        possible: int = n_embed**groups
        return self.distinct_tokens / min(possible, self.tokens)

    @property
    def pooled_perplexity(self) -> float:
        """exp(entropy) of the symbols pooled over groups; between 1 and n_embed."""
        return _perplexity(self.symbols.sum(axis=0))

    @property
    def group_perplexity(self) -> NDArray[np.float64]:
        """exp(entropy) of each group's symbols, (groups,)."""
        return np.array([_perplexity(counts) for counts in self.symbols])


def whole_and_rests(
    parts: Sequence[Symbols], n_embed: int
) -> tuple[CodebookCounts, Iterator[CodebookCounts]]:
    """Counts of all parts together, and of all but each in turn; tokens are sorted once.

    Args:
        parts: integers (tokens, groups) in [0, n_embed) each; at least one part has tokens.
        n_embed: size of a group's codebook.

    Raises:
        ValueError: no tokens, a wrong shape or dtype, or a symbol out of range.
    """
    counted = over_cores(lambda part: _symbol_counts(part, n_embed), parts)
    total = np.sum(counted, axis=0)
    keys = np.concatenate([_keys(part, n_embed) for part in parts])
    order, starts = _sorted(keys)
    # Equal tokens have one number, so parts are taken out by counting numbers.
    occurrences = np.diff(starts, append=len(keys))
    number = np.empty(len(keys), dtype=np.int64)
    number[order] = np.repeat(np.arange(len(starts)), occurrences)
    ends = np.cumsum([len(part) for part in parts])

    def rests() -> Iterator[CodebookCounts]:
        for own, taken in zip(counted, np.split(number, ends[:-1]), strict=True):
            left = occurrences - np.bincount(taken, minlength=len(starts))
            yield CodebookCounts(total - own, len(keys) - len(taken), int(np.count_nonzero(left)))

    return CodebookCounts(total, len(keys), len(starts)), rests()


def _symbol_counts(symbols: Symbols, n_embed: int) -> NDArray[np.int64]:
    """How often each group has each symbol, (groups, n_embed)."""
    if symbols.ndim != 2 or symbols.dtype.kind not in "iu":
        raise ValueError(
            f"symbols are {symbols.dtype} {symbols.shape}; give integers (tokens, groups)"
        )
    if len(symbols):
        low, high = int(symbols.min()), int(symbols.max())
        if low < 0 or high >= n_embed:
            raise ValueError(
                f"symbols span [{low}, {high}], outside [0, {n_embed - 1}]; check n_embed"
            )
    return np.stack([np.bincount(group, minlength=n_embed) for group in symbols.T])


def _keys(symbols: Symbols, n_embed: int) -> NDArray[np.void]:
    """Whole tokens as byte strings (tokens,)."""
    small = np.ascontiguousarray(symbols, dtype=np.min_scalar_type(n_embed - 1))
    return small.view((np.void, small.shape[1] * small.itemsize)).ravel()


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
    images, size = len(observations.payloads), codebook.size
    groups = min(GROUPS, images)
    dealt = deal_groups(images, groups, observations.seed)

    def symbols(group: int) -> Symbols:
        payloads = [observations.payloads[int(row)] for row in np.flatnonzero(dealt == group)]
        return codebook.unpack(b"".join(payloads)).astype(np.min_scalar_type(size - 1))

    parts = over_cores(symbols, range(groups))
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
