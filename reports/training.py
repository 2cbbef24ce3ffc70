"""What trainings logged, read from the `log.jsonl` of each: every value by its step."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.interfaces.errors import UserError

LOG_FILE = "log.jsonl"
_TRAINING = "train"
"""Kind of the lines that steps write; names from other kinds of lines begin with the kind."""
_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What a line raises that is none of a log's."""

Curve = list[tuple[int, float]]
"""Steps, and what was logged after each."""


@dataclass(frozen=True)
class Training:
    """What one run logged."""

    name: str
    """Its folder's, with the folders above where two are alike."""
    folder: Path
    curves: dict[str, Curve]
    """By name, such as ``loss`` or ``validation/psnr``; values that are not finite are left out."""
    notes: list[str]
    """What a reader must know of the log."""


def read_trainings(folders: Sequence[Path]) -> list[Training]:
    """Read the logs of several runs.

    Raises:
        UserError: A folder holds no log, or a log holds no line or a damaged one.
    """
    read = {folder.resolve(): _read(folder) for folder in folders}
    names = _names(list(read))
    return [Training(names[place], place, curves, notes) for place, (curves, notes) in read.items()]


def _read(folder: Path) -> tuple[dict[str, Curve], list[str]]:
    path = folder / LOG_FILE
    if not path.is_file():
        why = f"holds no {LOG_FILE}" if folder.is_dir() else "is no folder"
        raise UserError(f"{folder} {why}: give the --out of `uwt-eval train`")
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    curves: dict[str, Curve] = {}
    notes = []
    for number, line in enumerate(lines, 1):
        try:
            step, values = _parse(line)
        except _DAMAGE as error:
            if number < len(lines):
                raise UserError(
                    f"{path}: line {number} is damaged; remove it, or resume the training, which "
                    f"drops it"
                ) from error
            notes.append(f"{path}: the last line is unfinished and left out")
            continue
        for name, value in values.items():
            curves.setdefault(name, []).append((step, value))
    if not curves:
        raise UserError(f"{path} has no whole line yet: wait for log_every steps")
    return curves, notes


def _parse(line: str) -> tuple[int, dict[str, float]]:
    row = json.loads(line)
    step, kind = int(row.pop("step")), row.pop("kind")
    values = {
        name if kind == _TRAINING else f"{kind}/{name}": float(value)
        for name, value in row.items()
        if value is not None and math.isfinite(value)
    }
    return step, values


def _names(folders: Sequence[Path]) -> dict[Path, str]:
    """Name each folder by as many of its last parts as tell it from the others."""
    names: dict[Path, str] = {}
    depth = 1
    while len(names) < len(folders):
        ends = {folder: "/".join(folder.parts[-depth:]) for folder in folders}
        counts = Counter(ends.values())
        for folder, end in ends.items():
            if counts[end] == 1:
                names.setdefault(folder, end)
        depth += 1
    return names
