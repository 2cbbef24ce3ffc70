"""Experiment trackers that get what a run logs, through accelerate."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from uniwetok.fields import did_you_mean
from uniwetok.train import TrainingError

TRACKERS = ("tensorboard", "trackio", "wandb")
_PROJECT = "uniwetok"
_IDENTITY_FILE = "run_id.txt"


def check_trackers(names: Sequence[str]) -> None:
    """Make sure that trackers are known and installed.

    Raises:
        TrainingError: one is not; the message says how to install it.
    """
    for name in names:
        if name not in TRACKERS:
            raise TrainingError(f"--log {name}: {did_you_mean(name, TRACKERS)}")
        if find_spec(name) is None:
            raise TrainingError(f"--log {name}: it is not installed; pip install {name}")
        if name not in LOGGER_TYPE_TO_CLASS:
            raise TrainingError(f"--log {name}: accelerate is too old; pip install -U accelerate")


def open_tracker(name: str, out: Path, first_step: int, settings: Mapping[str, Any]) -> Any:
    """Open one of `TRACKERS` on the main process; a run that is resumed goes on in its curves.

    Args:
        name: of the tracker.
        out: the run's folder.
        first_step: what was logged of later steps is to be logged again.
        settings: of the run.

    Returns:
        Accelerate's ``GeneralTracker``.

    Raises:
        TrainingError: it cannot be opened: no account, no network, no space.
    """
    options: dict[str, Any]
    if name == "tensorboard":
        project = name
        options = {"logging_dir": out, "purge_step": first_step + 1}
    else:
        project, run = _PROJECT, _identity(out)
        # Wandb finds a run by its id, trackio by its name.
        own = {"id": run, "dir": str(out)} if name == "wandb" else {}
        title = out.resolve().name if own else f"{out.resolve().name}-{run}"
        options = {"name": title, "config": dict(settings), "resume": "allow", **own}
    try:
        tracker = LOGGER_TYPE_TO_CLASS[name](project, **options)
        # Before accelerate 1.10 a tracker starts as it is made.
        if hasattr(tracker, "start"):
            tracker.start()
    except Exception as error:  # Each has errors of its own.
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise TrainingError(f"--log {name}: {first}") from error
    return tracker


def _identity(out: Path) -> str:
    """Give the run a name of its own among all, the same whenever it is resumed."""
    path = out / _IDENTITY_FILE
    if not path.is_file():
        path.write_text(f"{uuid.uuid4().hex[:12]}\n", encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()
