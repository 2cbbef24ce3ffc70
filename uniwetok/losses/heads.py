"""Trained distillation heads as files beside a model, for zero-shot classification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from uniwetok.fields import check_count
from uniwetok.files import read_json, write_json
from uniwetok.losses.config import DistillationConfig
from uniwetok.losses.distillation import PrePostDistillation
from uniwetok.tensors import (
    HEADS_CARD_FILE,
    HEADS_FILE,
    CheckpointError,
    check_finite,
    first_line,
    read_tensors,
    shapes,
    write_tensors,
)
from uniwetok.weights import faults, listing


@dataclass(frozen=True, kw_only=True)
class HeadsCard:
    """What heads were trained for."""

    teacher: str
    """Name of the teacher: a model of open_clip, or "efficientnet-lite0"."""
    tag: str | None
    """Name of the teacher's pretrained weights, where it has several."""
    width: int
    """Length of the teacher's embeddings."""
    channels: int
    """Bits of a token."""
    config: DistillationConfig
    """Terms, weights and the kind of heads."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> HeadsCard:
        """Build a card from its fields as JSON holds them.

        Raises:
            TypeError: a field has another type.
            ValueError: fields are missing or unknown, or a value is impossible.
        """
        names = {field.name for field in fields(cls)}
        if values.keys() != names:
            raise ValueError(
                f"missing fields {sorted(names - values.keys())}, "
                f"unknown {sorted(values.keys() - names)}"
            )
        for name in ("width", "channels"):
            check_count(name, values[name])
        if not isinstance(values["teacher"], str) or not isinstance(values["tag"], str | None):
            raise TypeError("teacher must be a string, tag a string or null")
        return cls(**{**values, "config": DistillationConfig(**values["config"])})


def save_heads(
    folder: str | Path, heads: PrePostDistillation, *, teacher: str, tag: str | None
) -> None:
    """Write ``distillation.safetensors`` and ``distillation.json``, each at once or not at all.

    Args:
        folder: made if it is not there.
        heads: of any device and dtype.
        teacher: name of the teacher.
        tag: of its pretrained weights, or None.
    """
    folder = Path(folder)
    card = HeadsCard(
        teacher=teacher, tag=tag, width=heads.width, channels=heads.channels, config=heads.config
    )
    write_tensors(folder / HEADS_FILE, heads.state_dict())
    write_json(folder / HEADS_CARD_FILE, asdict(card))


def load_heads(folder: str | Path) -> tuple[PrePostDistillation, HeadsCard]:
    """Read what ``save_heads`` wrote.

    Returns:
        The heads on the CPU, in float32 and evaluation mode, and their card.

    Raises:
        ValueError: a file is missing or damaged, or the weights do not fit the card. It is a
            `CheckpointError`, whose one line names the file.
    """
    weights_path, card_path = Path(folder) / HEADS_FILE, Path(folder) / HEADS_CARD_FILE
    for path in (card_path, weights_path):
        if not path.is_file():
            raise CheckpointError(
                f"{path}: no such file; heads are saved by training with distillation"
            )
    card = _read_card(card_path)
    tensors = read_tensors(weights_path)
    try:
        with torch.device("meta"):
            heads = PrePostDistillation(card.config, card.channels, card.width)
    except ValueError as error:
        raise CheckpointError(f"{card_path}: not a card of heads: {first_line(error)}") from error
    expected = shapes(heads.state_dict())
    unfit = faults(shapes(tensors), expected)
    unfit += [f"{name} (not of these heads)" for name in tensors if name not in expected]
    if unfit:
        raise CheckpointError(
            f"{weights_path}: {listing(unfit)}. It does not belong to {HEADS_CARD_FILE} beside it; "
            f"fetch both again from one place"
        )
    check_finite(weights_path, tensors)
    weights = {name: value.to(torch.float32) for name, value in tensors.items()}
    heads.load_state_dict(weights, assign=True)
    return heads.eval(), card


def _read_card(path: Path) -> HeadsCard:
    try:
        values = read_json(path)
        if not isinstance(values, dict):
            raise TypeError(f"expected an object, got a {type(values).__name__}")
        return HeadsCard.from_dict(values)
    except (OSError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not a card of heads: {first_line(error)}") from error
