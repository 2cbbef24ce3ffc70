"""The metrics of reconstruction: pure functions of what was stored, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import stats
from harness.errors import Unavailable, UserError
from harness.interfaces import Observations
from harness.types import MetricValue

if TYPE_CHECKING:
    import pandas as pd

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
        values = _known(observations.samples, self.column)
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


class Psnr(SampleMean):
    """PSNR, averaged in dB, or under the rule 'global-mse' one logarithm of the mean error."""

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The figure; under 'global-mse' identical images count with an error of 0."""
        if settings.get("averaging", {}).get("rule") != "global-mse":
            return super().score(observations, settings)
        rows = observations.samples
        values = _known(rows, self.column)
        pixels = (rows["height"] * rows["width"]).to_numpy(np.float64)
        value, (low, high, method) = stats.psnr_of_mean_error(values, pixels, observations.seed)
        if np.isinf(value):
            raise Unavailable(f"infinite for all {len(values)} samples: images are identical")
        infinite = int(np.isinf(values).sum())
        return MetricValue(
            value=value,
            ci_low=low,
            ci_high=high,
            n=len(values),
            unit=self.unit,
            method=method,
            note=f"{infinite} identical images counted with an error of 0" if infinite else "",
        )


def _known(rows: pd.DataFrame, column: str) -> np.ndarray:
    """A column's values, float64 (n,); raise `Unavailable` where some are not numbers."""
    if len(rows) == 0:
        raise Unavailable("no sample was observed")
    values = rows[column].to_numpy(np.float64)
    if unknown := int(np.isnan(values).sum()):
        raise Unavailable(f"not a number for {unknown} of {len(values)} samples")
    return values


def _check_images(rows: pd.DataFrame) -> None:
    """Raise `Unavailable` where the payloads are no codes of images."""
    if "height" in rows and (rows["height"] == 0).any():
        raise Unavailable("the task's outputs are no encoded images", kind="not applicable")


def averaging_weights(n: int, averaging: Mapping[str, Any]) -> np.ndarray:
    """Weights (n,) of sum 1 for a protocol's `averaging` table; equal where it says nothing.

    The rule 'global-mse' is about PSNR; every other mean is then over images.
    """
    rule = averaging.get("rule", "per-image")
    if rule in {"per-image", "global-mse"}:
        return np.full(n, 1.0 / n)
    if rule == "batch-means":
        return stats.batch_means_weights(n, averaging["batch_size"], averaging["world_size"])
    raise UserError(
        f"protocol setting 'averaging.rule' is {rule!r}: use per-image, batch-means or global-mse"
    )


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
        _check_images(rows)
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
    """How much of the codebook the evaluated images use.

    Args:
        figure: Reads a share in [0, 1] or a perplexity off the counts.
        most: What it can be at most.
    """

    needs: tuple[str, ...] = ()
    higher_is_better: bool | None = True

    def __init__(self, figure: Callable[[CodebookCounts], float], most: float = math.inf) -> None:
        self._figure = figure
        self._most = most

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The figure, with a jackknife interval over images.

        A bootstrap would repeat images and so lose codes; what usage would be with more images is
        not in the interval.
        """
        del settings
        codebook = observations.codebook
        if codebook is None:
            raise Unavailable("the model has no codebook", kind="not applicable")
        if not observations.payloads:
            raise Unavailable("no sample was observed")
        _check_images(observations.samples)
        from harness.metrics.codebook import CodebookCounts
        from harness.resampling import GROUPS, deal_groups, jackknife_interval

        images = len(observations.payloads)
        groups = min(GROUPS, images)
        dealt = deal_groups(images, groups, observations.seed)
        counts = CodebookCounts(codebook.groups, 2**codebook.bits_per_group)
        parts = [CodebookCounts(counts.groups, counts.n_embed) for _ in range(groups)]
        for group, part in enumerate(parts):
            payloads = [observations.payloads[int(row)] for row in np.flatnonzero(dealt == group)]
            part.add(codebook.unpack(b"".join(payloads)))
            counts.merge(part)
        value = self._figure(counts)
        interval = stats.NO_INTERVAL
        if groups > 1:
            left_out = [self._figure(counts.without(part)) for part in parts]
            shares = [part.tokens / counts.tokens for part in parts]
            interval = jackknife_interval(value, left_out, shares)
        return MetricValue(
            value=value,
            ci_low=None if interval.low is None else max(interval.low, 0.0),
            ci_high=None if interval.high is None else min(interval.high, self._most),
            n=images,
            method=interval.method,
            note=f"{counts.tokens} tokens seen",
        )


PSNR = Psnr("psnr", "pixels", higher_is_better=True, unit="dB")
SSIM = SampleMean("ssim", "pixels", higher_is_better=True)
LPIPS_ALEX = SampleMean("lpips_alex", "lpips_alex", higher_is_better=False)
LPIPS_VGG = SampleMean("lpips_vgg", "lpips_vgg", higher_is_better=False)
BPP = BitsPerPixel()
# Symbols used by any group: what the released code prints as codebook usage.
USAGE_POOLED = CodebookUsage(lambda counts: counts.pooled_usage, most=1.0)
USAGE_GROUP = CodebookUsage(lambda counts: float(counts.group_usage.mean()), most=1.0)
# Distinct whole tokens among the most that could have been seen.
USAGE_JOINT = CodebookUsage(lambda counts: counts.joint_usage, most=1.0)
PERPLEXITY_POOLED = CodebookUsage(lambda counts: counts.pooled_perplexity)
PERPLEXITY_GROUP = CodebookUsage(lambda counts: float(counts.group_perplexity.mean()))
