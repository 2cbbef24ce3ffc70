"""Canaries: sets of known relation, whose metrics must come out as known.

Identical images, two halves of one set, and two ladders of ever stronger damage.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from PIL import ImageFilter

from harness.data.images import as_jpeg
from harness.engine.progress import Progress
from harness.interfaces.types import MetricValue, Protocol
from harness.sets.compare import Comparison
from harness.sets.images import Change, Derived, ImageSet, Reference

_TOLERANCE = 1e-6
_PERFECT = {"ssim": 1.0, "precision": 1.0, "recall": 1.0}
"""Values of identical images; 0 for distances. PSNR is infinite and has none."""
METRICS = ("fid", "precision", "recall", "psnr", "ssim", "lpips_alex", "lpips_vgg")


def _blur(radius: float) -> Change:
    return lambda image: image.filter(ImageFilter.GaussianBlur(radius))


LADDERS: dict[str, dict[str, Change]] = {
    "blur": {f"blur {radius:g}": _blur(radius) for radius in (0.5, 1, 2, 4)},
    "jpeg": {f"jpeg {quality}": partial(as_jpeg, quality=quality) for quality in (80, 40, 15, 5)},
}


@dataclass(frozen=True)
class Finding:
    """What one metric said of every set, and whether that is as it must be."""

    metric: str
    values: dict[str, MetricValue]
    faults: tuple[str, ...]

    @property
    def measured(self) -> bool:
        """Whether the metric could be computed at all."""
        return any(cell.value is not None for cell in self.values.values())


def calibrate(
    images: ImageSet, protocol: Protocol, *, device: str, seed: int, progress: Progress
) -> list[Finding]:
    """Compute metrics of every canary; a `Finding` a metric."""
    everything = range(len(images.ids))
    sets: dict[str, tuple[ImageSet, ImageSet]] = {"identical": (images, images)}
    halves = [Derived(images, name, everything[i::2]) for i, name in enumerate(("even", "odd"))]
    sets["halves"] = (halves[0], halves[1])
    for ladder in LADDERS.values():
        for name, damage in ladder.items():
            sets[name] = (images, Derived(images, name, everything, damage))
    cells = {}
    for name, (reference, samples) in sets.items():
        comparison = Comparison(
            Reference(reference.label, reference.digest, reference),
            samples,
            protocol,
            device=device,
            seed=seed,
            small_sets=True,
            progress=progress,
        )
        cells[name] = comparison.record(METRICS, explicit=False).metrics
    return [_judge(metric, {name: cells[name][metric] for name in sets}) for metric in METRICS]


def _judge(metric: str, values: dict[str, MetricValue]) -> Finding:
    faults = []
    identical = values["identical"].value
    perfect = _PERFECT.get(metric, 0.0)
    if identical is not None and abs(identical - perfect) > _TOLERANCE:
        faults.append(f"identical images give {identical:g} and not {perfect:g}")
    for name, ladder in LADDERS.items():
        rungs = [values[rung].value for rung in ladder]
        known = [rung for rung in rungs if rung is not None]
        sign = -1 if values["identical"].higher_is_better else 1
        # Precision and recall of few images reach 0 early; a tie there is no fault.
        steps = [sign * (after - before) for before, after in pairwise(known)]
        if any(step < 0 for step in steps):
            faults.append(f"the {name} ladder is out of order")
    half = values["halves"].value
    if values["halves"].note:
        half = None  # Halves of few images differ by their bias alone.
    worst = [values[list(ladder)[-1]].value for ladder in LADDERS.values()]
    if metric == "fid" and half is not None and any(w is not None and w <= half for w in worst):
        faults.append("two halves of one set lie further apart than a set and its worst damage")
    return Finding(metric, values, tuple(faults))
