"""The paper's directions beside ours."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from uniwetok.studies.claims import CLAIMS, Claim, Interval, holm, interval
from uniwetok.studies.runner import Measured
from uniwetok.studies.settings import ARMS, MiniSettings

_COLUMNS = {
    "psnr": ("PSNR", 2),
    "pre_cosine": ("pre cos", 3),
    "post_cosine": ("post cos", 3),
    "probe_cosine": ("probe cos", 3),
    "pre_top1": ("pre top-1", 3),
    "post_top1": ("post top-1", 3),
    "probe_top1": ("probe top-1", 3),
    "prior_loss": ("prior loss", 4),
    "bit_entropy": ("bit entropy", 3),
}
_STYLES = {"reproduced": "green", "opposite": "red"}


@dataclass(frozen=True)
class Outcome:
    """A direction, with what came out here."""

    claim: Claim
    ours: Interval
    together: bool
    """Whether it is still certain after Holm's correction over all directions."""


@dataclass(frozen=True)
class MiniResult:
    """Everything that a run of the small ablations says."""

    settings: MiniSettings
    seeds: tuple[int, ...]
    photos: int
    measured: tuple[Measured, ...]
    """Every arm with every seed."""

    def values(self, arm: str, metric: str) -> list[float]:
        """Give a metric of an arm in the order of the seeds; empty where it has none."""
        by_seed = {m.seed: m.metrics for m in self.measured if m.arm == arm}
        return [by_seed[s][metric] for s in self.seeds if s in by_seed and metric in by_seed[s]]

    def outcomes(self) -> list[Outcome]:
        """Compare the arms that were run, seed by seed."""
        arms = {m.arm for m in self.measured}
        claims = [claim for claim in CLAIMS if arms.issuperset(claim.arms)]
        found = [interval(self._contrast(claim)) for claim in claims]
        together = holm([each.p for each in found])
        pairs = enumerate(zip(claims, found, strict=True))
        return [Outcome(claim, ours, place in together) for place, (claim, ours) in pairs]

    def _contrast(self, claim: Claim) -> list[float]:
        columns = [(term.weight, self.values(term.arm, term.metric)) for term in claim.terms]
        return [
            sum(weight * column[index] for weight, column in columns)
            for index in range(len(self.seeds))
        ]

    @property
    def cpu_seconds(self) -> float:
        """CPU time of all trainings and measurements, also those of earlier commands."""
        return sum(measured.cpu_seconds for measured in self.measured)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        return {
            "settings": asdict(self.settings),
            "seeds": list(self.seeds),
            "photos": self.photos,
            "cpu_seconds": self.cpu_seconds,
            "directions": [
                {
                    "table": outcome.claim.table,
                    "direction": outcome.claim.text,
                    "paper": outcome.claim.paper,
                    "measured": outcome.claim.measured,
                    "mean": outcome.ours.mean,
                    "half_interval": outcome.ours.half if len(self.seeds) > 1 else None,
                    "p": outcome.ours.p,
                    "verdict": outcome.ours.verdict,
                    "holm": outcome.together,
                }
                for outcome in self.outcomes()
            ],
            "results": [asdict(measured) for measured in self.measured],
        }

    def render(self) -> RenderableType:
        """Print both tables and what did not reproduce."""
        return Group(self._arms(), Text(), self._directions(), Text(), *self._words())

    def _arms(self) -> Table:
        table = Table(
            title=f"Held-out photos, mean over seeds {', '.join(map(str, self.seeds))}",
            title_justify="left",
            box=None,
        )
        table.add_column("arm", no_wrap=True)
        for title, _ in _COLUMNS.values():
            table.add_column(title, justify="right")
        for arm in ARMS:
            if any(measured.arm == arm for measured in self.measured):
                table.add_row(arm, *(self._cell(arm, metric) for metric in _COLUMNS))
        first = self.measured[0].arm
        constant, chance = (self._cell(first, m) for m in ("constant_cosine", "chance_top1"))
        table.add_row("no image seen", "", *[constant] * 3, *[chance] * 3, "", "")
        return table

    def _cell(self, arm: str, metric: str) -> str:
        values = self.values(arm, metric)
        if not values:
            return "-"
        digits = _COLUMNS.get(metric, ("", 3))[1]
        return f"{statistics.fmean(values):.{digits}f}"

    def _directions(self) -> Table:
        table = Table(
            title="Directions: differences of paired seeds, 95 % interval; above 0 is the paper's",
            title_justify="left",
            show_lines=True,
        )
        for heading in ("Tab.", "direction of the paper", "its figures", "compared here"):
            table.add_column(heading)
        table.add_column("ours", justify="right", no_wrap=True)
        table.add_column("verdict", no_wrap=True)
        for outcome in self.outcomes():
            claim, ours = outcome.claim, outcome.ours
            half = f" ±{ours.half:.4f}" if len(self.seeds) > 1 else ""
            table.add_row(
                str(claim.table),
                claim.text,
                claim.paper,
                claim.measured,
                f"{ours.mean:+.4f}{half}",
                Text(ours.verdict, _STYLES.get(ours.verdict, "")),
            )
        return table

    def _words(self) -> list[Text]:
        outcomes = self.outcomes()
        names = {
            "reproduced": "Reproduced",
            "opposite": "Did not reproduce, the opposite came out",
            "same sign": "Did not reproduce, not certain with the paper's sign",
            "opposite sign": "Did not reproduce, not certain with the opposite sign",
        }
        lines = [
            Text(
                f"{self.photos} photos, of which every seed holds out others "
                f"({self.settings.heldout:.0%}); intervals are Student's over {len(self.seeds)} "
                f"seeds, which differ in weights, order and held-out photos."
                if len(self.seeds) > 1
                else f"{self.photos} photos, {self.settings.heldout:.0%} held out; one seed gives "
                f"no intervals."
            )
        ]
        for verdict, title in names.items():
            texts = [_short(o.claim) for o in outcomes if o.ours.verdict == verdict]
            lines.append(Text(f"{title} ({len(texts)} of {len(outcomes)}): {_joined(texts)}"))
        together = [_short(o.claim) for o in outcomes if o.together]
        lines.append(
            Text(
                f"Certain, either way, for all {len(outcomes)} together by Holm's correction "
                f"({len(together)}): {_joined(together)}"
            )
        )
        lines.append(
            Text(
                "The paper's gFID, rFID and zero-shot accuracy cannot be computed at this size: a "
                "fresh prior's loss stands for the first, PSNR for the second, the cosine to a "
                "small teacher for the third."
            )
        )
        return lines


def _short(claim: Claim) -> str:
    return f"{claim.text} (Tab. {claim.table})"


def _joined(texts: Sequence[str]) -> str:
    return "; ".join(texts) or "none"
