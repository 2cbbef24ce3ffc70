"""Rules of a gate: how much a metric may change from the baseline."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.interfaces.errors import UserError
from reports.files import read_list

_RULE = re.compile(
    r"\s*(?P<metric>[\w.-]+?|\w+:[^<>=]+?)\s*"
    r"(?:(?P<side><=|>=)\s*(?P<amount>[+−-]?\s*[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)\s*(?P<percent>%?))?\s*"
)
_HELP = "write METRIC>=-0.05, METRIC<=+1% or METRIC alone"
_SLACK = 1e-9
"""Share of the baseline's value that rounding may move."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A bound on run - baseline; without `side` the intervals set it."""

    metric: str
    side: Literal["<=", ">="] | None = None
    amount: float = 0.0
    """The bound, in the metric's unit or in percent of the baseline's absolute value."""
    relative: bool = False

    @property
    def text(self) -> str:
        """The rule as it is written."""
        if self.side is None:
            return self.metric
        return f"{self.metric}{self.side}{self.amount:+g}{'%' if self.relative else ''}"

    def bound(self, baseline: float) -> float:
        """The bound on the change, in the metric's unit."""
        return abs(baseline) * self.amount / 100 if self.relative else self.amount

    def holds(self, change: float, baseline: float) -> bool:
        """Whether the change keeps within the bound; rounding never fails a rule."""
        slack = _SLACK * abs(baseline)
        bound = self.bound(baseline)
        return change >= bound - slack if self.side == ">=" else change <= bound + slack


def parse_rule(text: str) -> Rule:
    """Read 'psnr>=-0.05', 'rfid<=+1%' or 'psnr'; raise `UserError` for anything else."""
    match = _RULE.fullmatch(text)
    if match is None:
        raise UserError(f"rule {text!r} is not understood: {_HELP}")
    if match["side"] is None:
        return Rule(match["metric"])
    written = match["amount"].replace("−", "-").replace(" ", "")
    amount = float(written)
    if not math.isfinite(amount):
        raise UserError(f"rule {text!r} is not understood: {_HELP}")
    if amount and written[0] not in "+-":
        raise UserError(
            f"rule {text!r} bounds the change from the baseline, not the value: give the amount "
            f"a sign, as in {match['metric']}{match['side']}+{written}{match['percent']}"
        )
    side: Literal["<=", ">="] = "<=" if match["side"] == "<=" else ">="
    return Rule(match["metric"], side, amount, bool(match["percent"]))


def read_rules(path: Path) -> list[Rule]:
    """Rules from a TOML file: `rules = ["psnr>=-0.05", "rfid<=+1%", "ssim"]`."""
    rules = read_list(path, "rules", 'one list, rules = ["psnr>=-0.05", …]')
    if other := [rule for rule in rules if not isinstance(rule, str)]:
        raise UserError(f"--rules {path}: {other[0]!r} is no rule: {_HELP}")
    return unique(parse_rule(rule) for rule in rules)


def unique(rules: Iterable[Rule]) -> list[Rule]:
    """The rules, each once."""
    return list(dict.fromkeys(rules))
