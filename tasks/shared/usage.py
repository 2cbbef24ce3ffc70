"""What a judge's replies cost, kept a sample and summed over a run."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.store import Store
from harness.interfaces.errors import warn
from harness.judges import JudgeReply

if TYPE_CHECKING:
    import pandas as pd

JUDGE_FILE = "judge.json"


@dataclass
class Usage:
    """What replies cost, however long ago they were asked for."""

    replies: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    """US dollars of those replies whose price is known."""
    priced: int = 0
    """How many those are."""
    models: Counter[str] = field(default_factory=Counter)
    """Replies by the snapshot that gave them, in the endpoint's words."""

    def add(self, reply: JudgeReply) -> None:
        """Count a reply in."""
        self.replies += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        self.cost += reply.cost or 0.0
        self.priced += reply.cost is not None
        self.models.update([reply.model] if reply.model else [])

    def merge(self, other: Usage) -> None:
        """Count another's in."""
        for name, count in vars(other).items():
            setattr(self, name, getattr(self, name) + count)

    def as_json(self) -> str:
        """A sample's `usage` cell."""
        return json.dumps(vars(self))


def read_usage(text: str) -> Usage:
    """A sample's `usage` cell."""
    content = json.loads(text)
    return Usage(**{**content, "models": Counter(content["models"])})


def write_usage(root: Path, rows: pd.DataFrame) -> None:
    """Write `judge.json`: what judging cost and how often it failed, over all samples.

    Args:
        root: The run directory.
        rows: Rows of `samples.parquet`.
    """
    total = Usage()
    for text in rows["usage"]:
        if isinstance(text, str) and text:
            total.merge(read_usage(text))
    if len(total.models) > 1:
        told = ", ".join(f"{name} ({count})" for name, count in total.models.most_common())
        warn(f"{root.name}: replies are of several judges, see {JUDGE_FILE}: {told}")
    statuses = rows["status"].value_counts()
    content = {
        "replies": total.replies,
        "prompt_tokens": total.prompt_tokens,
        "completion_tokens": total.completion_tokens,
        "cost_usd": total.cost if total.priced == total.replies > 0 else None,
        "models": dict(total.models.most_common()),
        "statuses": {name: int(count) for name, count in statuses.items()},
    }
    Store(root).write_json(JUDGE_FILE, content)
