"""Extractors and metrics as structural types, and what passes between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor

    from harness.set_metrics.reference import ReferenceFeatures
    from harness.types import Codebook, MetricValue


@dataclass(frozen=True, slots=True)
class ImagePairs:
    """Reference images and their reconstructions, as float and as the protocol's uint8."""

    reference: Tensor
    """float32 (B, 3, H, W) in [-1, 1]."""
    reconstruction: Tensor
    """float32 (B, 3, H, W), clamped to [-1, 1]."""
    reference_uint8: np.ndarray
    """uint8 (B, H, W, 3)."""
    reconstruction_uint8: np.ndarray
    """uint8 (B, H, W, 3)."""


@dataclass(frozen=True, slots=True)
class GeneratedImages:
    """Images that have no original, as float and as the protocol's uint8."""

    images: Tensor
    """float32 (B, 3, H, W), clamped to [-1, 1]."""
    images_uint8: np.ndarray
    """uint8 (B, H, W, 3)."""


Columns = Mapping[str, "np.ndarray"]
"""Named observations of B samples: shape (B,) for a number or a text a sample, (B, d) for features.

Texts are `str` in an object array. Two names are reserved: 'status' and 'error', texts both, say
which of the samples could not be observed, and why; their other cells are not looked at."""


class Extractor(Protocol):
    """Turns outputs into observations: pixel measures, features, detections.

    On a CPU `observe` is called from several threads at a time.
    """

    @property
    def identity(self) -> Mapping[str, Any]:
        """What its observations depend on beside the protocol: weights digest, version."""
        ...

    def observe(self, pairs: Any) -> Columns:
        """Observe B outputs beside their inputs, `ImagePairs` for one; a row each in every column.

        What a task hands over is its own affair: an extractor belongs to a family of tasks.
        """
        ...


class ExtractorFactory(Protocol):
    """Makes an extractor for a protocol on a device."""

    def __call__(self, settings: Mapping[str, Any], device: str) -> Extractor:
        """Raise `harness.errors.Unavailable` where weights or a package are missing."""
        ...


@dataclass(frozen=True)
class Observations:
    """Everything `score` may look at; rows are the samples without failure, in task order."""

    samples: pd.DataFrame
    """One row a sample: id, bits, height, width and every number and text observed."""
    features: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Feature columns (n, d) by name."""
    payloads: Sequence[bytes] = ()
    """The codes, one a sample."""
    codebook: Codebook | None = None
    """Layout of the payloads, where the model has one."""
    seed: int = 0
    """The run's seed; intervals resample with it."""
    small_sets: bool = False
    """Whether the user asked for metrics that need more samples than there are."""
    reference: ReferenceFeatures | None = None
    """The set that a generated set is compared with; None where outputs have originals."""


class Metric(Protocol):
    """A pure function of observations: no model, no device, no randomness but the run's seed."""

    higher_is_better: bool | None
    needs: tuple[str, ...]
    """Names of the extractors whose columns it reads."""

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """Compute the value with its interval; raise `Unavailable` where it does not apply."""
        ...
