"""Two runs over the same samples: what changed, by how much, and on which samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.interfaces.errors import UserError
from harness.interfaces.types import RunStatus
from reports.comparability import differences, protocol_settings
from reports.paired import PairedDifference, pair
from reports.records import Loaded, by_weight, higher_is_better, metric_names, why_missing
from reports.samples import Samples, contributions, read_samples


@dataclass(frozen=True, slots=True)
class SetDifference:
    """B - A of a figure of whole sets; each side keeps its own interval."""

    a: float | None
    b: float | None
    interval_a: tuple[float | None, float | None]
    interval_b: tuple[float | None, float | None]
    reason: str
    """Why there is no difference; empty where there is one."""

    @property
    def difference(self) -> float | None:
        """B - A, or None where a side has no value."""
        return None if self.a is None or self.b is None else self.b - self.a


@dataclass(frozen=True, slots=True)
class Extreme:
    """One sample and how it changed."""

    id: str
    a: float
    b: float
    texts: dict[str, tuple[str, str]]
    """Words that A and B observed of it, by column."""

    @property
    def change(self) -> float:
        """B - A."""
        return self.b - self.a


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that `compare` has to say about B against A."""

    a: Loaded
    b: Loaded
    paired: dict[str, PairedDifference]
    unpaired: dict[str, SetDifference]
    better: dict[str, bool | None]
    """Whether higher is better, by metric."""
    ranked_by: str | None
    """The metric that orders worst and best samples."""
    worst: list[Extreme]
    best: list[Extreme]
    ordered: list[str]
    """All common samples from the one that lost most to the one that gained most."""
    n_common: int
    n_only_a: int
    n_only_b: int
    incomparable: list[str]
    """What differs between the runs though it must not; empty unless it was forced."""
    warnings: list[str]


def compare(
    a: Loaded, b: Loaded, *, by: str | None = None, extremes: int = 5, force: bool = False
) -> Comparison:
    """Compare run B with run A.

    Args:
        a: The run that is compared with.
        b: The run that is judged.
        by: Metric that orders samples; the first paired one if None.
        extremes: How many worst and best samples to name.
        force: Compare runs that should not be, and mark it.

    Raises:
        UserError: The runs do not compare, share no sample, or `by` is not there.
    """
    differing = differences(a, b)
    if differing and not force:
        raise UserError(
            f"{a.record.run_id} and {b.record.run_id} do not compare: {'; '.join(differing)} "
            "(--force compares them all the same and marks it)"
        )
    rows = read_samples(a), read_samples(b)
    metrics = by_weight(b.record.task, metric_names([a.record, b.record]))
    settings = protocol_settings(a) or {}
    both = pair(*(contributions(each, metrics, settings) for each in rows))
    paired = both.differences(a.record.seed)
    name_both = f"{a.record.run_id} and {b.record.run_id}"
    if not len(both.at_a):
        raise UserError(f"{name_both} share no sample that both finished")
    if not paired:
        raise UserError(
            f"{name_both} share no metric of single samples: `uwt-eval leaderboard` puts figures "
            "of whole sets side by side"
        )
    better = {name: higher_is_better(name, (a.record, b.record)) for name in metrics}
    chosen = _ranking_metric(by, both.metrics, better)
    order: list[int] = []
    changed: list[int] = []
    listed: list[Extreme] = []
    if chosen is not None:
        values = both.values(chosen)
        order = _order(*values, better=bool(better[chosen]))
        changed = [i for i in order if values[0][i] != values[1][i]]
        for i in (*changed[:extremes], *changed[::-1][:extremes]):
            name = both.a.ids[both.at_a[i]]
            listed.append(
                Extreme(name, float(values[0][i]), float(values[1][i]), _texts(name, *rows))
            )
    count = min(extremes, len(changed))
    return Comparison(
        a=a,
        b=b,
        paired=paired,
        unpaired={name: _set_difference(name, a, b) for name in metrics if name not in paired},
        better=better,
        ranked_by=chosen,
        worst=listed[:count],
        best=listed[count:],
        ordered=[both.a.ids[both.at_a[i]] for i in order],
        n_common=len(both.at_a),
        n_only_a=len(both.a.ids) - len(both.at_a),
        n_only_b=len(both.b.ids) - len(both.at_a),
        incomparable=differing,
        warnings=[
            *_warnings(a, b),
            *dict.fromkeys(each.warning for each in paired.values() if each.warning),
            *(f"{name}: {each.infinite}" for name, each in paired.items() if each.infinite),
        ],
    )


def _texts(sample: str, a: Samples, b: Samples) -> dict[str, tuple[str, str]]:
    at_a, at_b = a.ids.index(sample), b.ids.index(sample)
    return {name: (a.texts[name][at_a], b.texts[name][at_b]) for name in a.texts if name in b.texts}


def _ranking_metric(
    by: str | None, shared: list[str], better: dict[str, bool | None]
) -> str | None:
    directed = [name for name in shared if better[name] is not None]
    if by is None:
        return directed[0] if directed else None
    if by not in directed:
        raise UserError(
            f"--by {by}: samples have no such metric with a direction; "
            f"there are: {', '.join(directed) or 'none'}"
        )
    return by


def _order(a: NDArray[np.float64], b: NDArray[np.float64], *, better: bool) -> list[int]:
    with np.errstate(invalid="ignore"):
        gain = (b - a) if better else (a - b)
    gain = np.where(a == b, 0.0, gain)
    known = np.flatnonzero(~np.isnan(gain))
    ranked: list[int] = known[np.argsort(gain[known], kind="stable")].tolist()
    return ranked


def _set_difference(metric: str, a: Loaded, b: Loaded) -> SetDifference:
    why = [why_missing(run.record, metric) for run in (a, b)]
    cells = [run.record.metrics.get(metric) for run in (a, b)]
    reason = "; ".join(f"{name}: {each}" for name, each in zip("AB", why, strict=True) if each)
    if why[0] == why[1]:
        reason = why[0]
    values = [None if cell is None else cell.value for cell in cells]
    spans = [(None, None) if cell is None else (cell.ci_low, cell.ci_high) for cell in cells]
    return SetDifference(values[0], values[1], spans[0], spans[1], reason)


def _warnings(a: Loaded, b: Loaded) -> list[str]:
    lines = [
        f"{name} is incomplete: {run.record.n_failed} of {run.record.n} samples failed"
        for name, run in (("A", a), ("B", b))
        if run.record.status is RunStatus.INCOMPLETE
    ]
    if a.record.seed != b.record.seed:
        lines.append(f"the runs have different seeds, {a.record.seed} and {b.record.seed}")
    return lines
