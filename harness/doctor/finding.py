"""One thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """'ok', 'warning' (something will be missing or slow) or 'error' (what is set cannot work)."""

    name: str
    level: Level
    text: str
    fix: str = ""
    """What mends it; never empty for a warning or an error."""
