"""A training run from its first step, or its last checkpoint, to its end; for every recipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from uniwetok.files import write_json
from uniwetok.train import TrainingError
from uniwetok.train.data.schedule import Place
from uniwetok.train.engine.checkpoints import CONFIG_FILE, Checkpoints
from uniwetok.train.engine.logs import Logs
from uniwetok.train.engine.optimizers import learning_rate
from uniwetok.train.engine.overrides import to_dict
from uniwetok.train.engine.trainer import B, Examples, Trainer

B_out = TypeVar("B_out", bound=Examples, covariant=True)


class Stream(Protocol[B_out]):
    """Endless batches of this process, from the step on that it was opened at."""

    def __iter__(self) -> Iterator[B_out]:
        """Yield a step's batch after the other."""
        ...

    def epochs(self, steps: int) -> float:
        """Return how often all processes have seen the data after so many steps."""
        ...


OpenStream = Callable[[Place], Stream[B]]
"""Opens this process's batches."""
MakePicture = Callable[[Path], None]
"""Writes a PNG of what the averaged model does; every process calls it, the main one writes."""
Validate = Callable[[Path, int], Mapping[str, float]]
"""Evaluates the model in a folder after so many steps."""


@dataclass(frozen=True)
class Hooks:
    """What the caller does along the way; the main process calls all of it."""

    on_step: Callable[[int, Mapping[str, float]], None] = lambda *_: None
    """Called after every step with its number and, at every log line, with its values."""
    validate: Validate | None = None
    """Gives numbers to log, by name."""
    on_notice: Callable[[str], None] = lambda _: None
    """Called with what a user must know."""


@dataclass(frozen=True)
class Finished:
    """A run that came to its end."""

    steps: int
    model: Path
    """Folder with the averaged weights."""
    values: Mapping[str, float]
    """Values of the log's last line, by name."""


@dataclass
class Loop(Generic[B]):
    """Steps of one run, and what is written along the way."""

    trainer: Trainer[Any, B]
    """The recipe's; its settings agree with those in ``out``, see `settle`."""
    open_stream: OpenStream[B]
    """Opens the batches of this process."""
    out: Path
    """The run's folder: configuration, checkpoints, logs, pictures and the model."""
    picture: MakePicture | None = None
    """Makes what is looked at along the way."""
    hooks: Hooks | None = None
    """What the caller does along the way."""
    notices: Sequence[str] = ()
    """What the user must know of the data."""

    def __post_init__(self) -> None:
        self._config = self.trainer.config
        self._accelerator = self.trainer.accelerator
        self._is_main = self._accelerator.is_main_process
        self._checkpoints = Checkpoints(self.out / "checkpoints")
        self._hooks = self.hooks or Hooks()
        self._unreadable = 0

    def finish(self) -> Finished:
        """Train, or resume from the last checkpoint.

        Raises:
            TrainingError: data cannot be read, the disk is full, or the loss is not finite; the
                last good checkpoint is kept.
        """
        start = self._resume()
        if self._is_main:
            for line in self.notices:
                self._hooks.on_notice(line)
            self._checkpoints.require_space(self.trainer.checkpoint_bytes)
            write_json(self.out / CONFIG_FILE, to_dict(self._config))
        self._accelerator.wait_for_everyone()
        values: dict[str, float] = {}
        if self._is_main:
            with closing(Logs(self.out, start)) as logs:
                values = self._steps(start, logs)
        else:
            self._steps(start, None)
        self.trainer.export(self.out / "model")
        self._accelerator.wait_for_everyone()
        return Finished(self._config.steps, self.out / "model", values)

    def _resume(self) -> int:
        notice = self._hooks.on_notice if self._is_main else lambda _: None
        found = self._checkpoints.load_last(notice)
        if found is None:
            return 0
        step, state = found
        self.trainer.restore(state["trainer"])
        self._unreadable = state["unreadable"]
        self._accelerator.wait_for_everyone()
        if self._is_main:
            self._checkpoints.set_aside(after=step)
        notice(f"going on after step {step:,} of {self._config.steps:,}")
        return step

    def _steps(self, start: int, logs: Logs | None) -> dict[str, float]:
        config = self._config
        values: dict[str, float] = {}
        pace = _Pace()
        stream = self.open_stream(self.trainer.place(start))
        batches = iter(stream)
        for step in range(start, config.steps):
            asked = time.perf_counter()
            batch = next(batches)
            pace.waited += time.perf_counter() - asked
            done = step + 1
            due = self._due(done)
            try:
                self.trainer.step(batch, step)
                if due:
                    # Reading the device stops it: only where it has to be read in any case.
                    self.trainer.check()
            except TrainingError as error:
                raise TrainingError(f"{error}; {self._last_good()}") from error
            self._unreadable += batch.unreadable
            pace.images += len(batch) * self._accelerator.num_processes
            logged: dict[str, float] = {}
            if "log" in due:
                values = logged = {
                    **self.trainer.averages(),
                    **pace.read(),
                    "learning_rate": learning_rate(config.optimizer, step, config.steps),
                    "epoch": stream.epochs(done),
                    "unreadable": self._unreadable,
                }
                pace = _Pace()
                if logs is not None:
                    logs.write(done, logged)
            if self._is_main:
                self._hooks.on_step(done, logged)
            if "grid" in due and self.picture:
                self.picture(self.out / "pictures" / f"step-{done:08d}.png")
            if "validate" in due:
                self._validate(done, logs)
            if "checkpoint" in due:
                self._checkpoint(done)
        return values

    def _due(self, done: int) -> set[str]:
        """Say what is to be done after so many steps, as the settings' intervals have it."""
        config = self._config
        return {
            name
            for name in ("log", "grid", "validate", "checkpoint")
            if (every := getattr(config, f"{name}_every"))
            and (done % every == 0 or done == config.steps)
        }

    def _checkpoint(self, done: int) -> None:
        # Nothing of the data or the random streams: both follow from the step's number alone.
        state = {"step": done, "unreadable": self._unreadable, "trainer": self.trainer.state()}
        if self._is_main:
            self._checkpoints.save(done, state)
        self._accelerator.wait_for_everyone()

    def _validate(self, done: int, logs: Logs | None) -> None:
        if self._hooks.validate is None:
            return
        self.trainer.export(self.out / "model")
        if self._is_main and logs is not None:
            logs.write(done, self._hooks.validate(self.out / "model", done), kind="validation")
        self._accelerator.wait_for_everyone()

    def _last_good(self) -> str:
        steps = self._checkpoints.steps()
        if not steps:
            return "there is no checkpoint yet; lower optimizer.learning_rate and start again"
        return (
            f"the last good state, after step {steps[-1]}, is {self._checkpoints.path(steps[-1])}"
        )


@dataclass
class _Pace:
    """Images and waiting since the last reading."""

    images: int = 0
    waited: float = 0.0
    since: float = field(default_factory=time.perf_counter)

    def read(self) -> dict[str, float]:
        """Give images a second and the share of the time that was spent waiting for data."""
        seconds = time.perf_counter() - self.since
        return {"images_per_second": self.images / seconds, "data_wait": self.waited / seconds}
