"""The paper's directions of effect: contrasts of measured values, and when one is above 0."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scipy import stats

Verdict = Literal["reproduced", "same sign", "opposite sign", "opposite"]
"""Certain at 95 % either way, or not certain with the sign of the mean."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """One measured value of a contrast, with its weight."""

    weight: float
    arm: str
    metric: str


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A direction that the paper reports."""

    table: int
    """Number of the paper's table, 1 to 5."""
    text: str
    """The direction in words."""
    paper: str
    """The paper's figures for it."""
    measured: str
    """What is compared here."""
    terms: tuple[Term, ...]
    """Their weighted sum is above 0 where the direction holds."""

    @property
    def arms(self) -> tuple[str, ...]:
        """Arms that it compares, each once."""
        return tuple(dict.fromkeys(term.arm for term in self.terms))


_COSINE = "cosine to the teacher, "
_WHAT = {
    "psnr": "PSNR",
    "prior_loss": "fresh prior's loss",
    "probe_cosine": _COSINE + "probe of the codes",
    "post_cosine": _COSINE + "post head",
}


def _above(metric: str, more: str, less: str) -> dict[str, Any]:
    """``metric`` of one arm minus that of another, as a claim has it."""
    terms = (Term(weight=1, arm=more, metric=metric), Term(weight=-1, arm=less, metric=metric))
    return {"measured": f"{_WHAT[metric]}, {more} - {less}", "terms": terms}


def _aligned(arm: str, head: str) -> dict[str, Any]:
    """Cosine of a head minus that of an answer that looks at no image, likewise."""
    terms = (
        Term(weight=1, arm=arm, metric=f"{head}_cosine"),
        Term(weight=-1, arm=arm, metric="constant_cosine"),
    )
    return {"measured": f"{_COSINE}{head} head, {arm} - constant answer", "terms": terms}


CLAIMS = (
    Claim(
        table=1,
        text="PPD costs reconstruction",
        paper="PSNR 22.67 without, 22.32 with (SigLu differs too)",
        **_above("psnr", "no-ppd", "ppd"),
    ),
    Claim(
        table=1,
        text="PPD costs ease of generation",
        paper="gFID 2.38 without, 2.66 with (SigLu differs too)",
        **_above("prior_loss", "ppd", "no-ppd"),
    ),
    Claim(
        table=1,
        text="PPD puts semantics into the codes",
        paper="Top-1 46.89 with; no head without",
        **_above("probe_cosine", "ppd", "no-ppd"),
    ),
    Claim(
        table=1,
        text="GAP raises semantics on top of PPD",
        paper="Top-1 48.77 with, 46.89 without",
        **_above("post_cosine", "gap", "ppd"),
    ),
    Claim(
        table=2,
        text="pre distillation converges without SigLu",
        paper="Top-1 55.26",
        **_aligned("pre-no-siglu", "pre"),
    ),
    Claim(
        table=2,
        text="post distillation converges with SigLu",
        paper="Top-1 41.51",
        **_aligned("post", "post"),
    ),
    Claim(
        table=2,
        text="post distillation aligns better with SigLu than without",
        paper="Top-1 41.51 with, 0.10 without",
        **_above("post_cosine", "post", "post-no-siglu"),
    ),
    Claim(
        table=2,
        text="post distillation fails without SigLu: less than half as far above a constant answer",
        paper="Top-1 41.51 with, 0.10 (chance) without",
        measured=_COSINE + "post head, half of (post - constant) - (post-no-siglu - constant)",
        terms=(
            Term(weight=0.5, arm="post", metric="post_cosine"),
            Term(weight=-1, arm="post-no-siglu", metric="post_cosine"),
            Term(weight=0.5, arm="post", metric="constant_cosine"),
        ),
    ),
    Claim(
        table=2,
        text="pre without SigLu leaves less semantics in the codes than post with SigLu",
        paper='text: pre distillation "fails to ensure semantics in the discrete latents"',
        **_above("probe_cosine", "post", "pre-no-siglu"),
    ),
    Claim(
        table=3,
        text="post is better than pre for the codes",
        paper="Top-1 41.51 post, 0.10 pre (its post head is untrained)",
        **_above("probe_cosine", "post", "pre"),
    ),
    Claim(
        table=3,
        text="pre and post is better than post alone",
        paper="Top-1 51.32 both, 41.51 post",
        **_above("post_cosine", "ppd", "post"),
    ),
    Claim(
        table=4,
        text="the double bottleneck reconstructs better than the single one",
        paper="PSNR 22.32 double, 21.89 single",
        **_above("psnr", "ppd", "single"),
    ),
    Claim(
        table=4,
        text="the double bottleneck aligns better",
        paper="Top-1 46.89 double, 39.45 single",
        **_above("post_cosine", "ppd", "single"),
    ),
    Claim(
        table=5,
        text="GAP with Query eases generation",
        paper="gFID 2.38 with (2.35 in Tab. 1), 2.66 without",
        **_above("prior_loss", "ppd", "gap"),
    ),
    Claim(
        table=5,
        text="GAP without Query hinders generation",
        paper="gFID 3.89 with it, 2.66 without GAP",
        **_above("prior_loss", "gap-no-query", "ppd"),
    ),
    Claim(
        table=5,
        text="GAP is better with Query than without",
        paper="gFID 2.38 with Query, 3.89 without",
        **_above("prior_loss", "gap-no-query", "gap"),
    ),
    Claim(
        table=5,
        text="GAP costs a little reconstruction",
        paper="PSNR 22.32 without, 22.27 with",
        **_above("psnr", "ppd", "gap"),
    ),
)
"""All directions that are tested, in the order of the paper's tables."""

TABLES = tuple(dict.fromkeys(f"table{claim.table}" for claim in CLAIMS))
"""What `--only` takes."""


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95 % interval."""

    mean: float
    half: float
    """Half the interval's width; infinite with a single seed."""
    p: float
    """Two-sided p-value of "the mean is 0"; 1 with a single seed."""

    @property
    def verdict(self) -> Verdict:
        """What it says about "above 0"."""
        if self.mean > self.half:
            return "reproduced"
        if self.mean < -self.half:
            return "opposite"
        return "same sign" if self.mean > 0 else "opposite sign"


def interval(values: Sequence[float]) -> Interval:
    """Give Student's interval of a mean, for values of independent seeds."""
    count = len(values)
    mean = statistics.fmean(values)
    if count == 1:
        return Interval(mean, math.inf, 1.0)
    error = statistics.stdev(values) / math.sqrt(count)
    t = abs(mean) / error if error else (math.inf if mean else 0.0)
    half = float(stats.t.ppf(0.975, count - 1)) * error
    return Interval(mean, half, 2 * float(stats.t.sf(t, count - 1)))


def holm(p_values: Sequence[float]) -> set[int]:
    """Give the places whose hypotheses fall at 5 % for all of them together (Holm, 1979).

    The smallest p-value meets 5 % over their number, the next 5 % over one less, until one fails.
    """
    fallen: set[int] = set()
    for place in sorted(range(len(p_values)), key=p_values.__getitem__):
        if p_values[place] > 0.05 / (len(p_values) - len(fallen)):
            break
        fallen.add(place)
    return fallen
