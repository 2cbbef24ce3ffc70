"""A set of features as metrics of sets take it, and the checks they share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.interfaces.errors import Unavailable
from harness.metrics.checks import Rows
from harness.metrics.feature_statistics import FeatureStatistics

FEW = "fewer images than the protocol asks"
_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """One side of a comparison: features, or for a stored reference their statistics alone.

    Raises:
        ValueError: both or none given, or features that are no float32 matrix.
    """

    features: NDArray[np.float32] | None = None
    """(N, d)."""
    statistics: FeatureStatistics | None = None

    def __post_init__(self) -> None:
        if (self.features is None) == (self.statistics is None):
            raise ValueError("give a set's features or its statistics, one of the two")
        if self.features is not None and (
            self.features.ndim != 2 or self.features.dtype != np.float32
        ):
            raise ValueError(
                f"features are {self.features.dtype} {self.features.shape}; give a float32 matrix "
                "(samples, dim)"
            )

    @property
    def n(self) -> int | None:
        """Number of samples; None for statistics that do not say."""
        return self.statistics.count if self.statistics is not None else len(self.rows)

    @property
    def rows(self) -> NDArray[np.float32]:
        """The features; raise `Unavailable` where only statistics are known."""
        if self.features is None:
            raise Unavailable("the set is known by statistics, not by features", "not applicable")
        return self.features

    @property
    def width(self) -> int:
        """Columns of the features."""
        return len(self.statistics.mean) if self.statistics is not None else self.rows.shape[1]


def nonfinite_row(rows: Rows) -> int | None:
    """The first row that holds a NaN or an infinity, None where there is none."""
    for start in range(0, len(rows), _BLOCK):
        broken = ~np.isfinite(rows[start : start + _BLOCK]).all(axis=1)
        if broken.any():
            return start + int(broken.argmax())
    return None


def check_width(reference: FeatureSet, samples: FeatureSet) -> None:
    """Check that two sets have the same columns; raise `ValueError` naming both counts."""
    if reference.width != samples.width:
        raise ValueError(
            f"reference has {reference.width} columns and samples {samples.width}; take both from "
            "the same network and output"
        )


def note_on_size(n: int, least: int, small_sets: bool) -> str:
    """What to note on a set's size; raise `Unavailable` where it is too small."""
    if n < 2:
        raise Unavailable(f"{n} images have no spread; at least 2 are needed", kind="withheld")
    if n < least and not small_sets:
        raise Unavailable(
            f"{n} images are fewer than {least} (--small-sets gives it all the same)",
            kind="withheld",
        )
    return FEW if n < least else ""
