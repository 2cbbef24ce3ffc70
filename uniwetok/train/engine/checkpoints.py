"""The folder of a training run: which run it holds, and its checkpoints.

```
OUT/config.json                     all settings
OUT/checkpoints/step-00001000.pt    everything the run needs to go on; whole, or not there
OUT/checkpoints/step-00001000/      the same of a sharded run, see `sharded`
```
"""

from __future__ import annotations

import errno
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, get_args

import torch
from torch.distributed import ProcessGroup

from uniwetok.fields import flatten
from uniwetok.files import read_json, replaced
from uniwetok.train import TrainingError
from uniwetok.train.engine import sharded
from uniwetok.train.engine.machine import decide, here
from uniwetok.train.engine.overrides import override, to_dict
from uniwetok.train.engine.settings import Precision, RunSettings

C = TypeVar("C", bound=RunSettings)

CONFIG_FILE = "config.json"
CHECKPOINTS = "checkpoints"
_MAY_CHANGE = frozenset(
    {
        "steps",
        "accumulation",
        "compile",
        "shard",
        "gradient_checkpointing",
        "log_every",
        "checkpoint_every",
        "keep_last",
        "keep_every",
        "grid_every",
        "validate_every",
        "data.workers",
        "data.corrupt_limit",
    }
)
"""Settings that a resumed run may have otherwise: none changes a step that is done.

``accumulation`` is there for another number of processes: as many parts in all draw the same.
"""

_LEFT_OF_START = 0.05
"""Share of the first weights in averages from which on it is told."""


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(
        self,
        folder: Path,
        keep_last: int = 2,
        keep_every: int = 0,
        group: ProcessGroup | None = None,
    ) -> None:
        """Look after a folder.

        Args:
            folder: holds nothing else.
            keep_last: how many of the last ones are kept, at least one.
            keep_every: those of the multiples of so many steps are kept too; 0 keeps none of them.
            group: processes that each write their part; None for one that writes all.
        """
        self._folder = folder
        self._keep_last = keep_last
        self._keep_every = keep_every
        self._group = group
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[Path] | None = None

    def steps(self) -> list[int]:
        """Steps there are checkpoints of, in order."""
        return sorted(map(_step_of, _paths(self._folder)))

    def path(self, step: int) -> Path:
        """Where the checkpoint after ``step`` steps lies."""
        folder = self._folder / f"step-{step:08d}"
        file = folder.with_suffix(".pt")
        there = [path for path in (file, folder) if path.exists()]
        return there[0] if there else file if self._group is None else folder

    def require_space(self, size: int) -> None:
        """Make sure that the next checkpoints fit.

        Args:
            size: bytes of one.

        Raises:
            TrainingError: the disk has less room than the run will take at its fullest.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        files = [file for path in _paths(self._folder) for file in (path, *path.glob("*"))]
        present = sum(file.stat().st_size for file in files)
        # While one is written, those that are kept are still there.
        needed = (self._keep_last + 1) * size - present
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise TrainingError(
                f"{self._folder}: checkpoints of {size / 1e9:.2f} GB need {needed / 1e9:.2f} GB "
                f"more, {free / 1e9:.2f} GB are free; make room or give another --out"
            )

    def save(self, step: int, state: Mapping[str, Any]) -> Path:
        """Write a checkpoint, then remove those that are not kept any more.

        Every process of the group must call this.

        Raises:
            TrainingError: it cannot be written; earlier checkpoints are still there.
        """
        target = self.path(step)
        try:
            if self._group is not None:
                sharded.write(target, state, self._group)
            else:
                with replaced(target) as partial:
                    torch.save(dict(state), partial)
        except (OSError, RuntimeError) as error:
            full = isinstance(error, OSError) and error.errno == errno.ENOSPC
            reason = "the disk is full" if full else str(error).splitlines()[0]
            raise TrainingError(
                f"{target}: the checkpoint cannot be written ({reason}); earlier ones are kept"
            ) from error
        if self._group is None or self._group.rank() == 0:
            for old in self.steps()[: -self._keep_last]:
                if not self._keep_every or old % self._keep_every:
                    _remove(self.path(old))
        return target

    def save_later(self, step: int, state: Mapping[str, Any]) -> None:
        """Write a state, which nobody changes any more, in the background.

        Raises:
            TrainingError: the one before could not be written.
        """
        self.finish()
        self._pending = self._writer.submit(self.save, step, state)

    def close(self) -> None:
        """Wait until all is written, whether it could be or not."""
        self._writer.shutdown()
        if self._group is not None:
            sharded.let_go()

    def finish(self) -> None:
        """Wait until all is written.

        Raises:
            TrainingError: it could not be.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def load_last(
        self,
        on_damage: Callable[[str], None],
        template: Callable[[], Mapping[str, Any]] = dict,
    ) -> tuple[int, dict[str, Any]] | None:
        """Read the last whole checkpoint, without running any code it may hold.

        Args:
            on_damage: called with a line on every later one, which is no longer as it was written.
            template: gives a state whose tensors one that is sharded is read into; others are read
                onto the CPU.

        Returns:
            Its step and its content, or None where there is no checkpoint.

        Raises:
            TrainingError: none is whole.
        """
        reasons = []
        for step in reversed(self.steps()):
            path = self.path(step)
            try:
                state = sharded.read(path, template()) if path.is_dir() else _read(path)
                if state["step"] != step:
                    raise ValueError(f"it is of step {state['step']}")
            except Exception as error:
                # Damaged bytes make readers of zip and pickle raise nearly any exception.
                reason = next(iter(str(error).splitlines()), type(error).__name__)
                reasons.append(f"{path}: no checkpoint of ours ({reason})")
                continue
            for line in reasons:
                on_damage(f"{line}; going on from the one before")
            return step, state
        if reasons:
            raise TrainingError(f"{'; '.join(reasons)}; remove it to start from the first step")
        return None

    def set_aside(self, after: int) -> None:
        """Rename the checkpoints after a step, so that they take no whole one's place."""
        for step in self.steps():
            if step > after:
                aside = self.path(step).with_suffix(".damaged")
                if aside.is_dir():
                    shutil.rmtree(aside)
                self.path(step).rename(aside)


def _paths(folder: Path) -> list[Path]:
    """Give the checkpoints that lie in a folder and are whole, or were."""
    names = re.compile(r"step-[0-9]{8,}(\.pt)?")
    return [path for path in folder.glob("step-*") if names.fullmatch(path.name)]


def _step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def copied(state: Any) -> Any:
    """Copy nested mappings and lists with their tensors, which training changes in place."""
    if isinstance(state, torch.Tensor):
        return state.detach().clone()
    if isinstance(state, Mapping):
        return {name: copied(value) for name, value in state.items()}
    return type(state)(map(copied, state)) if isinstance(state, list | tuple) else state


def _read(path: Path) -> dict[str, Any]:
    """Read a file, of which every part must have its CRC-32, which torch writes and never reads."""
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise ValueError(f"the checksum of {damaged} differs")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _remove(path: Path) -> None:
    """Remove a checkpoint, which at no time is there in part."""
    if path.is_dir():
        path = path.rename(path.with_suffix(".partial"))
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def settle(config: C, out: Path, device: str) -> tuple[C, list[str]]:
    """Compare a run's settings with those in its folder, and choose what they leave to the machine.

    A run without any checkpoint may begin anew with other settings.

    Args:
        config: the run, as asked for.
        out: its folder, where it may have been started.
        device: "cpu" or "auto".

    Returns:
        The run with a precision of its own, and what the user must know of it.

    Raises:
        TrainingError: a setting that changes steps differs; the message names it.
    """
    begun, notices = _begun(out), []
    if config.precision == "auto" and begun.get("precision") in get_args(Precision):
        config = replace(config, precision=begun["precision"])
        notices.append(f"precision {config.precision}: as the run began")
    config, reasons = decide(config, here(device))
    for name, reason in reasons.items():
        notices.append(f"{name} {str(getattr(config, name)).lower()}: {reason}")
    new = not begun and config.init is None
    if new and config.ema_decay**config.steps > _LEFT_OF_START:
        few = max(0.0, round(1 - 10 / config.steps, 3))
        notices.append(
            f"ema_decay={config.ema_decay:g} is for longer runs: after steps={config.steps} the "
            "averages, which pictures and model are of, are in part the random start "
            f"(--set ema_decay={few:g})"
        )
    asked = flatten(to_dict(config))
    for name, value in _since_added(begun, flatten(to_dict(type(config)()))).items():
        begun[name] = value
        if isinstance(value, str) and asked.get(name) != value:
            # A preset may have learned of it meanwhile: the same command goes on all the same.
            config = override(config, [f"{name}={value}"])
            asked[name] = value
            notices.append(f"{name}={value}: as the run began")
    for name in sorted(begun.keys() | asked.keys()) if begun else ():
        if name not in _MAY_CHANGE and begun.get(name) != asked.get(name):
            raise TrainingError(
                f"{out} holds a run with {name}={begun.get(name)}, asked for is "
                f"{name}={asked.get(name)}; give another --out, or --set {name}={begun.get(name)}"
            )
    return config, notices


def _since_added(begun: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Give the settings that were added after a run began: their defaults are what it did."""
    parts = {name.rpartition(".")[0] for name in begun}
    return {
        name: value
        for name, value in defaults.items()
        # A part that the run was without, such as a loss, lacks its settings for that reason.
        if name not in begun and name.rpartition(".")[0] in parts
    }


def _begun(out: Path) -> dict[str, Any]:
    """Read the settings of the run in a folder, by name; none where nothing is to go on with."""
    path = out / CONFIG_FILE
    if not path.is_file():
        return {}
    try:
        content = read_json(path)
        if not isinstance(content, Mapping):
            raise ValueError("it holds no settings by name")
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: not a configuration ({error}); give another --out") from error
    begun = flatten(content)
    # Another program's file, which has none of our intervals, is never written over.
    ours = "checkpoint_every" in begun
    return {} if ours and not _paths(out / CHECKPOINTS) else begun
