"""The metrics of reconstruction: pure functions of what was stored, each with its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import stats
from harness.errors import Unavailable
from harness.interfaces import Observations
from harness.types import MetricValue

if TYPE_CHECKING:
    from harness.metrics.codebook import CodebookCounts


class SampleMean:
    """Mean of a column over samples, averaged as the protocol says, with a bootstrap interval.

    Args:
        column: The column, which is also the metric's name.
        extractor: The extractor that writes it.
        higher_is_better: Direction.
        unit: Unit for tables.
    """

    def __init__(
        self, column: str, extractor: str, *, higher_is_better: bool, unit: str = ""
    ) -> None:
        self.column = column
        self.needs = (extractor,)
        self.higher_is_better: bool | None = higher_is_better
        self.unit = unit

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The mean; infinite values (PSNR of identical images) are left out and counted."""
        if len(observations.samples) == 0:
            raise Unavailable("no sample was observed")
        values = observations.samples[self.column].to_numpy(np.float64)
        if unknown := int(np.isnan(values).sum()):
            raise Unavailable(f"not a number for {unknown} of {len(values)} samples")
        weights = averaging_weights(len(values), settings.get("averaging", {}))
        finite = np.isfinite(values)
        if not finite.any():
            raise Unavailable(f"infinite for all {len(values)} samples: images are identical")
        values, weights = values[finite], weights[finite]
        low, high, method = stats.mean_interval(values, observations.seed, weights)
        infinite = int((~finite).sum())
        return MetricValue(
            value=float(np.average(values, weights=weights)),
            ci_low=low,
            ci_high=high,
            n=len(values),
            unit=self.unit,
            method=method,
            note=f"{infinite} identical images (infinite) left out" if infinite else "",
        )


def averaging_weights(n: int, averaging: Mapping[str, Any]) -> np.ndarray:
    """Weights (n,) of sum 1 for a protocol's `averaging` table; equal where it says nothing."""
    if averaging.get("rule", "per-image") == "per-image":
        return np.full(n, 1.0 / n)
    return stats.batch_means_weights(n, averaging["batch_size"], averaging["world_size"])


class BitsPerPixel:
    """Rate: bits of the stored codes per pixel, averaged over images."""

    needs: tuple[str, ...] = ()
    higher_is_better: bool | None = False

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """Mean over images, with an interval where images differ in rate."""
        del settings
        rows = observations.samples
        if len(rows) == 0:
            raise Unavailable("no sample was observed")
        rates = (rows["bits"] / (rows["height"] * rows["width"])).to_numpy(np.float64)
        low, high, method = stats.mean_interval(rates, observations.seed)
        return MetricValue(
            value=float(rates.mean()),
            ci_low=low,
            ci_high=high,
            n=len(rates),
            unit="bit/px",
            method=method,
        )


class CodebookUsage:
    """Share of the codebook that the evaluated images use.

    Args:
        share: Reads one of the shares off the counts.
    """

    needs: tuple[str, ...] = ()
    higher_is_better: bool | None = True

    def __init__(self, share: Callable[[CodebookCounts], float]) -> None:
        self._share = share

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The share in [0, 1]; a count has no sampling interval."""
        del settings
        codebook = observations.codebook
        if codebook is None:
            raise Unavailable("the model has no codebook", kind="not applicable")
        if not observations.payloads:
            raise Unavailable("no sample was observed")
        from harness.metrics.codebook import CodebookCounts

        counts = CodebookCounts(codebook.groups, 2**codebook.bits_per_group)
        counts.add(codebook.unpack(b"".join(observations.payloads)))
        note = f"{counts.tokens} tokens seen"
        return MetricValue(value=self._share(counts), n=len(observations.payloads), note=note)


class ReconstructionFrechet:
    """rFID: Fréchet distance between features of originals and of reconstructions."""

    needs: tuple[str, ...] = ("inception",)
    higher_is_better: bool | None = False

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The distance; withheld for too few images, where its bias would be its value."""
        from harness.metrics.frechet import frechet_distance_from_features

        tap = settings["inception"]["tap"]
        reference = observations.features[f"reference_{tap}"]
        n, least = len(reference), int(settings["inception"]["min_samples"])
        if n < least and not (observations.small_sets and n > 1):
            raise Unavailable(
                f"{n} images are fewer than {least} (--small-sets gives it all the same)",
                kind="withheld",
            )
        distance = frechet_distance_from_features(
            reference, observations.features[f"reconstruction_{tap}"]
        )
        return MetricValue(
            value=distance, n=n, note="fewer images than the protocol asks" if n < least else ""
        )


PSNR = SampleMean("psnr", "pixels", higher_is_better=True, unit="dB")
SSIM = SampleMean("ssim", "pixels", higher_is_better=True)
LPIPS_ALEX = SampleMean("lpips_alex", "lpips_alex", higher_is_better=False)
LPIPS_VGG = SampleMean("lpips_vgg", "lpips_vgg", higher_is_better=False)
BPP = BitsPerPixel()
# Symbols used by any group: what the released code prints as codebook usage.
USAGE_POOLED = CodebookUsage(lambda counts: counts.pooled_usage)
USAGE_GROUP = CodebookUsage(lambda counts: float(counts.group_usage.mean()))
# Distinct whole tokens among the most that could have been seen.
USAGE_JOINT = CodebookUsage(lambda counts: counts.joint_usage)
RFID = ReconstructionFrechet()
