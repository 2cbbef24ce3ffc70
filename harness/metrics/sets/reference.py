"""What a generated set is compared with, by output of the network; kept beside a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.interfaces.errors import Unavailable
from harness.metrics.feature_statistics import FeatureStatistics
from harness.metrics.sets.feature_set import FeatureSet


@dataclass(frozen=True)
class ReferenceFeatures:
    """Features of a reference's images, and statistics where it stores them."""

    features: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """(n, d) by output."""
    statistics: Mapping[str, FeatureStatistics] = field(default_factory=dict)
    """By output; they take the place of the images' own in Fréchet distances."""

    def distribution(self, output: str) -> FeatureSet:
        """The side of a Fréchet distance; raise `Unavailable` where the reference has none."""
        if output in self.statistics:
            return FeatureSet(statistics=self.statistics[output])
        return FeatureSet(self.rows(output))

    def rows(self, output: str) -> NDArray[np.float32]:
        """The images' features; raise `Unavailable` where the reference holds no images."""
        if output not in self.features:
            raise Unavailable("the reference holds statistics and no images")
        return self.features[output]

    def write(self, path: Path) -> None:
        """Write an uncompressed `.npz`."""
        arrays: dict[str, NDArray[np.generic]] = {}
        for output, rows in self.features.items():
            arrays[f"{output}.features"] = rows
        for output, known in self.statistics.items():
            arrays[f"{output}.mean"] = known.mean
            arrays[f"{output}.covariance"] = known.covariance
            if known.count is not None:
                arrays[f"{output}.count"] = np.array(known.count)
        with path.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    @classmethod
    def read(cls, path: Path) -> ReferenceFeatures:
        """Read what `write` wrote."""
        features, statistics = {}, {}
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                output, _, kind = name.rpartition(".")
                if kind == "features":
                    features[output] = file[name]
                elif kind == "mean":
                    count = f"{output}.count"
                    statistics[output] = FeatureStatistics(
                        file[name],
                        file[f"{output}.covariance"],
                        int(file[count]) if count in file.files else None,
                    )
        return cls(features, statistics)
