"""What a training run writes for people: JSON lines and TensorBoard."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from uniwetok.files import replaced


class Logs:
    """``OUT/log.jsonl`` and ``OUT/tensorboard``; lines after a resumed step are dropped."""

    def __init__(self, out: Path, first_step: int) -> None:
        """Open the logs.

        Args:
            out: the run's folder.
            first_step: what is logged at or after it is written again.
        """
        self._path = out / "log.jsonl"
        _keep_before(self._path, first_step)
        self._file = self._path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=first_step)

    def write(self, step: int, values: Mapping[str, float], kind: str = "train") -> None:
        """Add a line for a step that has been done, and its curves."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step, "kind": kind, **finite}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Flush and close."""
        self._file.close()
        self._board.close()


def read_log(out: Path) -> list[dict[str, Any]]:
    """Read a run's lines; a line that a killed run left unfinished is dropped."""
    path = out / "log.jsonl"
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def _keep_before(path: Path, first_step: int) -> None:
    kept = [row for row in read_log(path.parent) if row["step"] <= first_step]
    with replaced(path) as partial:
        partial.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
