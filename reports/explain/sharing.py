"""Extractors that several rungs share: equal pixels under equal settings are observed once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from harness.interfaces import Columns, Extractor, ImagePairs


@dataclass
class Known:
    """An extractor under a view's settings."""

    under: str
    """Its name and the settings that it reads."""
    extractor: Extractor
    features: bool
    """Whether it is a network, whose inputs are seen once whoever asks."""
    fields: frozenset[str] = frozenset()
    """What it reads of pairs, once that is known."""


class SeenOnce:
    """An extractor that observes equal pixels under equal settings once in a block.

    Args:
        known: The extractor.
        memo: What has been observed in the block.
        exact: Whether networks are given bytes over 255, rounded once, as sets of files are.
    """

    def __init__(self, known: Known, memo: dict[str, Columns], *, exact: bool) -> None:
        self.identity = known.extractor.identity
        self.observed = 0
        self._known = known
        self._memo = memo
        self._exact = exact and known.features

    def observe(self, pairs: ImagePairs) -> Columns:
        """Observe, or remember."""
        if (key := self._key(pairs)) in self._memo:
            return self._memo[key]
        watched = _Watched(_in_float64(pairs) if self._exact else pairs)
        columns = self._known.extractor.observe(watched)
        self._known.fields = frozenset(watched.read)
        self._memo[self._key(pairs)] = columns
        self.observed = len(pairs.reference_uint8)
        return columns

    def _key(self, pairs: ImagePairs) -> str:
        pixels = (digest_of_pixels(getattr(pairs, name)) for name in sorted(self._known.fields))
        return " ".join([self._known.under, *pixels])


class _Watched:
    """Pairs that remember what is read of them."""

    def __init__(self, pairs: ImagePairs) -> None:
        self._pairs = pairs
        self.read: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.read.add(name)
        return getattr(self._pairs, name)


def _in_float64(pairs: ImagePairs) -> ImagePairs:
    original, other = (
        torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2).double() / 127.5 - 1
        for pixels in (pairs.reference_uint8, pairs.reconstruction_uint8)
    )
    return replace(pairs, reference=original, reconstruction=other)


def digest_of_pixels(value: Any) -> str:
    """SHA-256 of arrays, tensors, names, and tuples of them."""
    if isinstance(value, tuple):
        return " ".join(map(digest_of_pixels, value))
    if isinstance(value, str):
        return value
    array = np.ascontiguousarray(value.cpu().numpy() if torch.is_tensor(value) else value)
    found = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    found.update(array.data)
    return found.hexdigest()
