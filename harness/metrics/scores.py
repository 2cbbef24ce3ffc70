"""Metrics of samples one by one: means of what was observed, rate, and use of the codebook.

Reading how a metric is called and printed must stay cheap, for tables and listings do nothing else
with it: numpy and the interval code are imported where a score is computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.interfaces import Label, Observations
from harness.interfaces.errors import Unavailable, counted
from harness.interfaces.types import MetricValue

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class SampleMean:
    """Mean of a column over samples, averaged as the protocol says, with a bootstrap interval.

    Args:
        column: The column, which is also the metric's name.
        extractor: The extractor that writes it.
        higher_is_better: Direction.
        unit: Unit of the values.
        label: How it is printed; under the column's name where None.
    """

    def __init__(
        self,
        column: str,
        extractor: str,
        *,
        higher_is_better: bool,
        unit: str = "",
        label: Label | None = None,
    ) -> None:
        self.column = column
        self.needs = (extractor,)
        self.higher_is_better: bool | None = higher_is_better
        self.unit = unit
        self.label = label or Label(column)

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The mean; infinite values (PSNR of identical images) are left out and counted."""
        import numpy as np

        from harness.metrics import stats

        values = _known(observations.samples, self.column)
        weights = stats.averaging_weights(len(values), settings.get("averaging", {}))
        finite = np.isfinite(values)
        if not finite.any():
            raise _all_identical(len(values))
        values, weights = values[finite], weights[finite]
        infinite = int((~finite).sum())
        notes = [f"{counted(infinite, 'identical image')} (infinite) left out"] if infinite else []
        if self._few(len(finite), settings) and weights.max() > weights.min():
            mean = self.label.text(float(values.mean()))
            notes.append(f"short batches count as whole ones: the mean over images is {mean}")
        return stats.mean_interval(values, observations.seed, weights).around(
            float(np.average(values, weights=weights)),
            len(values),
            unit=self.unit,
            note="; ".join(notes),
        )

    @staticmethod
    def _few(n: int, settings: Mapping[str, Any]) -> bool:
        """Whether the protocol averages over batches, and no process has a whole one."""
        rule = settings.get("averaging", {})
        if rule.get("rule") != "batch-means":
            return False
        return bool(n < rule["batch_size"] * rule["world_size"])


class Psnr(SampleMean):
    """PSNR, averaged in dB, or under the rule 'global-mse' one logarithm of the mean error."""

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The figure; under 'global-mse' identical images count with an error of 0."""
        if settings.get("averaging", {}).get("rule") != "global-mse":
            return super().score(observations, settings)
        import numpy as np

        from harness.metrics import stats

        rows = observations.samples
        values = _known(rows, self.column)
        pixels = (rows["height"] * rows["width"]).to_numpy(np.float64)
        value, interval = stats.psnr_of_mean_error(values, pixels, observations.seed)
        if np.isinf(value):
            raise _all_identical(len(values))
        infinite = int(np.isinf(values).sum())
        note = (
            f"{counted(infinite, 'identical image')} counted with an error of 0" if infinite else ""
        )
        return interval.around(value, len(values), unit=self.unit, note=note)


class ShareOfSums:
    """One column's sum over another's, as edits over characters, with a bootstrap over samples.

    Args:
        over: The column above the line; not a number where a sample does not count.
        under: The column below it; a sample where it is 0 does not count.
        extractor: The extractor that writes both.
        label: How it is printed.
        higher_is_better: Direction.
        none: Why there is no figure where no sample counts, as "no face of that size".
        mean: Whether it is the mean of the samples' own shares instead, all of one weight.
    """

    def __init__(
        self,
        over: str,
        under: str,
        extractor: str,
        *,
        label: Label,
        higher_is_better: bool,
        none: str,
        mean: bool = False,
    ) -> None:
        self._over = over
        self._under = under
        self.needs = (extractor,)
        self.label = label
        self.higher_is_better: bool | None = higher_is_better
        self._none = none
        self._mean = mean

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The share; raise `Unavailable` where no sample counts."""
        import numpy as np

        from harness.metrics import stats

        rows = observations.samples
        columns = {name: rows[name].to_numpy(np.float64) for name in (self._over, self._under)}
        values, weights = self.of_samples(columns, settings)
        counting = ~np.isnan(values)
        if not counting.any():
            raise Unavailable(self._none, kind="not applicable")
        values, weights = values[counting], weights[counting]
        value = float(np.average(values, weights=weights))
        return stats.mean_interval(values, observations.seed, weights).around(value, len(values))

    def of_samples(
        self, samples: Mapping[str, np.ndarray], settings: Mapping[str, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The share of each sample, NaN where it does not count, and what it weighs."""
        del settings
        import numpy as np

        weights = samples[self._under].astype(np.float64)
        values = np.full(len(weights), np.nan)
        np.divide(samples[self._over], weights, out=values, where=weights > 0)
        return values, np.ones(len(weights)) if self._mean else weights


def _all_identical(samples: int) -> Unavailable:
    of_all = "the only sample" if samples == 1 else f"all {samples} samples"
    return Unavailable(f"infinite for {of_all}: images are identical")


def _known(rows: pd.DataFrame, column: str) -> np.ndarray:
    """A column's values, float64 (n,); raise `Unavailable` where some are not numbers."""
    if len(rows) == 0:
        raise Unavailable("no sample was observed")
    import numpy as np

    values: np.ndarray = rows[column].to_numpy(np.float64)
    if unknown := int(np.isnan(values).sum()):
        raise Unavailable(f"not a number for {unknown} of {len(values)} samples")
    return values


def _check_images(rows: pd.DataFrame) -> None:
    """Raise `Unavailable` where the payloads are no codes of images."""
    if "height" in rows and (rows["height"] == 0).any():
        raise Unavailable("the task's outputs are no encoded images", kind="not applicable")


class MultiScaleSsim(SampleMean):
    """MS-SSIM (Wang et al. 2003); undefined where an image is too small for five scales."""

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The mean; raise `Unavailable` where there are such images."""
        if len(rows := observations.samples) and (small := int(rows[self.column].isna().sum())):
            raise Unavailable(f"{small} of {len(rows)} images have a side of fewer than 161 pixels")
        return super().score(observations, settings)


class BitsPerPixel:
    """Rate: bits of the stored codes per pixel, averaged over images."""

    needs: tuple[str, ...] = ()
    higher_is_better: bool | None = False
    unit = "bit/px"
    label = Label("bpp")

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """Mean over images, with an interval where images differ in rate."""
        del settings
        rows = observations.samples
        if len(rows) == 0:
            raise Unavailable("no sample was observed")
        _check_images(rows)
        if rows["bits"].isna().any():
            raise Unavailable(
                "images made elsewhere come without their codes: state their rate, as bits=8192 or "
                "bpp=0.125 of images:…"
            )
        from harness.metrics import stats

        rates = (rows["bits"] / (rows["height"] * rows["width"])).to_numpy("float64")
        interval = stats.mean_interval(rates, observations.seed)
        return interval.around(float(rates.mean()), len(rates), unit=self.unit)

    def of_samples(
        self, samples: Mapping[str, np.ndarray], settings: Mapping[str, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The rate of each image, all of one weight."""
        del settings
        import numpy as np

        pixels = samples["height"] * samples["width"]
        rates = np.full(len(pixels), np.nan)
        np.divide(samples["bits"], pixels, out=rates, where=pixels > 0)
        return rates, np.ones(len(rates))


class CodebookUsage:
    """How much of the codebook the evaluated images use.

    Args:
        figure: A share in [0, 1] or a perplexity, by its name.
        label: How it is printed.
        most: What it can be at most.
    """

    needs: tuple[str, ...] = ()
    higher_is_better: bool | None = True

    def __init__(self, figure: str, label: Label, most: float = math.inf) -> None:
        self._figure = figure
        self.label = label
        self._most = most

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The figure, with a jackknife interval over images.

        A bootstrap would repeat images and so lose codes; what usage would be with more images is
        not in the interval.
        """
        del settings
        if observations.made_elsewhere:
            raise Unavailable("the codes of images made elsewhere are not known")
        if observations.codebook is None:
            raise Unavailable("the model has no codebook", kind="not applicable")
        if not observations.payloads:
            raise Unavailable("no sample was observed")
        _check_images(observations.samples)
        from harness.metrics import stats
        from harness.metrics.codebook import MOST_SYMBOLS, codebook_figures

        if observations.codebook.size > MOST_SYMBOLS:
            raise Unavailable(
                f"a group has {observations.codebook.size} symbols, too many to count"
            )
        try:
            figures = codebook_figures(observations, observations.codebook)
        except ValueError as error:
            raise Unavailable(f"the codes are none of the model's codebook: {error}") from error
        value = figures.whole[self._figure]
        interval = stats.NO_INTERVAL
        if figures.without:
            left_out = [figure[self._figure] for figure in figures.without]
            interval = stats.jackknife_interval(value, left_out, figures.shares)
        n, note = len(observations.payloads), f"{figures.tokens} tokens seen"
        return interval.around(value, n, least=0.0, most=self._most, note=note)


def _distance(column: str, title: str, source: str) -> SampleMean:
    """The mean of what the extractor of its own name finds between pairs."""
    label = Label(title, about=f"Mean distance of originals and reconstructions: {source}.")
    return SampleMean(column, column, higher_is_better=False, label=label)


_SSIM = "Mean structural similarity: Wang et al. 2004, as the protocol sets window and channels."
PSNR = Psnr("psnr", "pixels", higher_is_better=True, unit="dB", label=Label("PSNR", 2))
SSIM = SampleMean("ssim", "pixels", higher_is_better=True, label=Label("SSIM", about=_SSIM))
MS_SSIM = MultiScaleSsim("ms_ssim", "ms_ssim", higher_is_better=True, label=Label("MS-SSIM", 4))
DISTS = _distance("dists", "DISTS", "Ding et al. 2020, structure and texture by VGG-16")
DREAMSIM = _distance("dreamsim", "DreamSim", "Fu et al. 2023, the ensemble")
LPIPS_ALEX = _distance("lpips_alex", "LPIPS(A)", "Zhang et al. 2018, version 0.1 with AlexNet")
LPIPS_VGG = _distance("lpips_vgg", "LPIPS(V)", "Zhang et al. 2018, version 0.1 with VGG-16")
BPP = BitsPerPixel()
_SHARE = "Share of a group's symbols that are used"
USAGE_POOLED = CodebookUsage(
    "usage_pooled",
    # What the released code prints as codebook usage.
    Label("usage", 1, percent=True, about=f"{_SHARE}, by whichever group."),
    most=1.0,
)
USAGE_GROUP = CodebookUsage(
    "usage_group",
    Label("by group", 1, percent=True, optional=True, about=f"{_SHARE}, averaged over groups."),
    most=1.0,
)
_JOINT = "Distinct whole tokens among the most that could have been seen."
USAGE_JOINT = CodebookUsage(
    "usage_joint", Label("joint", 1, percent=True, optional=True, about=_JOINT), most=1.0
)
_EVENLY = "exp(entropy) of the symbols"
PERPLEXITY_POOLED = CodebookUsage(
    "perplexity_pooled", Label("perpl.", 1, about=f"{_EVENLY} of all groups together.")
)
PERPLEXITY_GROUP = CodebookUsage(
    "perplexity_group", Label("perpl. by group", 1, about=f"{_EVENLY}, averaged over groups.")
)
