"""What a training run writes for people: JSON lines, trackers' curves, and pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from uniwetok.files import replaced
from uniwetok.train.engine.trackers import open_tracker

_PAIRS_A_ROW = 4
_COLUMNS = 4


class Logs:
    """``OUT/log.jsonl`` and trackers; lines after a resumed step are dropped."""

    def __init__(
        self,
        out: Path,
        first_step: int,
        trackers: Sequence[str] = ("tensorboard",),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Open the logs.

        Args:
            out: the run's folder.
            first_step: what was logged of later steps is written again.
            trackers: that are told too, see `open_tracker`.
            settings: of the run, which trackers show.

        Raises:
            TrainingError: a tracker cannot be opened.
        """
        self._path = out / "log.jsonl"
        kept = [row for row in read_log(out) if row["step"] <= first_step]
        with replaced(self._path) as partial:
            partial.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        self._file = self._path.open("a", encoding="utf-8")
        self._trackers = [
            open_tracker(name, out, first_step, settings or {}) for name in dict.fromkeys(trackers)
        ]

    def write(self, step: int, values: Mapping[str, float], kind: str = "train") -> None:
        """Add a line for a step that has been done, and its curves."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step, "kind": kind, **finite}) + "\n")
        self._file.flush()
        for tracker in self._trackers:
            tracker.log({f"{kind}/{name}": value for name, value in values.items()}, step=step)

    def close(self) -> None:
        """Flush and close."""
        self._file.close()
        for tracker in self._trackers:
            tracker.finish()


def read_log(out: Path) -> list[dict[str, Any]]:
    """Read a run's lines; one that a killed run left unfinished, or that is damaged, is dropped."""
    path = out / "log.jsonl"
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def to_pixels(images: Tensor) -> Tensor:
    """Round images in [-1, 1] to uint8, clamping what lies outside."""
    return (images.float().clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)


def write_pairs(path: Path, images: Tensor, reconstruction: Tensor) -> None:
    """Write a PNG of images, each beside its reconstruction.

    Args:
        path: of the PNG.
        images: (batch, 3, H, W) in [-1, 1].
        reconstruction: of the same shape.
    """
    write_grid(path, torch.stack([images, reconstruction], dim=1).flatten(0, 1), 2 * _PAIRS_A_ROW)


def write_grid(path: Path, images: Tensor, columns: int = _COLUMNS) -> None:
    """Write a PNG of images side by side.

    Args:
        path: of the PNG.
        images: (batch, 3, H, W) in [-1, 1].
        columns: images in a row.
    """
    grid = make_grid(to_pixels(images).cpu(), nrow=columns, padding=2, pad_value=255)
    with replaced(path) as partial:
        Image.fromarray(grid.permute(1, 2, 0).numpy()).save(partial, format="PNG")
