"""Refusing to go on with what another configuration began."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uniwetok.train.engine.errors import TrainingError
from uniwetok.train.engine.overrides import to_dict

CONFIG_FILE = "config.json"
_MAY_CHANGE = frozenset(
    {
        "steps",
        "compile",
        "shard",
        "log_every",
        "checkpoint_every",
        "grid_every",
        "validate_every",
        "data.workers",
        "data.corrupt_limit",
    }
)
"""Settings that a resumed run may have otherwise: none changes a step that is done."""


def check_same_run(config: Any, out: Path) -> None:
    """Compare a run's settings with those in its folder, if it has been started.

    Raises:
        TrainingError: a setting that changes steps differs; the message names it.
    """
    path = out / CONFIG_FILE
    if not path.is_file():
        return
    try:
        begun = _flat(json.loads(path.read_text(encoding="utf-8")))
    except json.JSONDecodeError as error:
        raise TrainingError(f"{path}: not a configuration ({error}); give another --out") from error
    asked = _flat(to_dict(config))
    for name in sorted(begun.keys() | asked.keys()):
        if name not in _MAY_CHANGE and begun.get(name) != asked.get(name):
            raise TrainingError(
                f"{out} holds a run with {name}={begun.get(name)}, asked for is "
                f"{name}={asked.get(name)}; give another --out, or --set {name}={begun.get(name)}"
            )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Name nested values by their paths."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        path = f"{prefix}{name}"
        flat |= _flat(value, f"{path}.") if isinstance(value, dict) else {path: value}
    return flat
