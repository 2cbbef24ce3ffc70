"""The gate of `uwt-eval run SUITE`: the same rules on the suite's own results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.interfaces.errors import ExitCode, counted
from reports.gate.baseline import read_baseline, update_baseline, warn_of_unchecked
from reports.gate.outputs import show, to_json
from reports.gate.rules import parse_rule
from reports.gate.verdict import Verdict, judge
from reports.records import load_records

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, slots=True)
class BaselineVerdict:
    """A verdict with the baseline that it is against."""

    baseline: Path
    verdict: Verdict

    @property
    def exit_code(self) -> ExitCode:
        """What `uwt-eval gate` would end with."""
        return self.verdict.exit_code

    def as_json(self) -> dict[str, Any]:
        """What `uwt-eval gate --json` prints."""
        return {"baseline": str(self.baseline), **to_json(self.verdict)}

    def show(self, console: Console) -> None:
        """Print the checks."""
        console.print(f"\ngate {self.baseline}", markup=False, soft_wrap=True, highlight=False)
        show(console, self.verdict)


class BaselineGate:
    """`harness.interfaces.Gate` with a file of records as baseline."""

    def check(self, baseline: Path, rules: Sequence[str]) -> None:
        """Read the rules and the baseline."""
        for rule in rules:
            parse_rule(rule)
        read_baseline(baseline)

    def judge(self, runs: Sequence[Path], baseline: Path, rules: Sequence[str]) -> BaselineVerdict:
        """Judge run directories."""
        kept = read_baseline(baseline)
        found = judge(load_records(runs), kept, [*map(parse_rule, rules)])
        warn_of_unchecked(kept)
        return BaselineVerdict(baseline, found)

    def update(self, runs: Sequence[Path], baseline: Path) -> str:
        """Put the runs into the baseline."""
        replaced, new = update_baseline(baseline, load_records(runs))
        return f"{baseline}: {counted(replaced, 'record')} replaced, {new:,} new"


GATE = BaselineGate()
