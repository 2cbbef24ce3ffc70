"""A training run from its first step, or its last checkpoint, to its end; for every recipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from torch import distributed

from uniwetok.files import write_json
from uniwetok.train import TrainingError
from uniwetok.train.data.schedule import Place
from uniwetok.train.engine.checkpoints import CHECKPOINTS, CONFIG_FILE, Checkpoints, copied
from uniwetok.train.engine.footprint import Footprint
from uniwetok.train.engine.logs import Logs
from uniwetok.train.engine.machine import here
from uniwetok.train.engine.optimizers import learning_rate
from uniwetok.train.engine.overrides import to_dict
from uniwetok.train.engine.sharded import open_group
from uniwetok.train.engine.state import IN_PLACE
from uniwetok.train.engine.stopping import Agreement, Stopped
from uniwetok.train.engine.trainer import B, Examples, Trainer

B_out = TypeVar("B_out", bound=Examples, covariant=True)


class Stream(Protocol[B_out]):
    """Endless batches of this process, from the step on that it was opened at."""

    def __iter__(self) -> Iterator[B_out]:
        """Yield a step's batch after the other."""
        ...

    def progress(self, steps: int) -> Mapping[str, float]:
        """Say, for the log, how much of the data all processes have seen after so many steps.

        Returns:
            ``epoch``; and, of a mixture, ``samples/NAME`` and ``epochs/NAME`` of each source.
        """
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
    trackers: Sequence[str] = ("tensorboard",)
    """What is told all that is logged, see `open_tracker`."""
    on_notice: Callable[[str], None] = lambda _: None
    """Called with what a user must know."""
    stoppable: Callable[[], AbstractContextManager[Callable[[], bool]]] = lambda: nullcontext(
        lambda: False
    )
    """Entered by every process around its steps; says whether it was told to stop."""


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
    measure: Callable[[Any], Footprint]
    """Counts the work of a step of given settings, for MFU; called where a GPU's peak is known."""
    picture: MakePicture | None = None
    """Makes what is looked at along the way."""
    hooks: Hooks | None = None
    """What the caller does along the way."""
    notices: Sequence[str] = ()
    """What the user must know of the data."""
    data: str = ""
    """Tells the data from others; a run goes on with the same. Empty where something else does."""

    def __post_init__(self) -> None:
        self._config = self.trainer.config
        self._accelerator = self.trainer.accelerator
        self._is_main = self._accelerator.is_main_process
        self._checkpoints = Checkpoints(
            self.out / CHECKPOINTS,
            self._config.keep_last,
            self._config.keep_every,
            open_group() if self._config.shard else None,
        )
        self._hooks = self.hooks or Hooks()
        several = self._accelerator.num_processes > 1
        self._waiting = open_group() if several and self._hooks.validate is not None else None
        self._unreadable = 0

    def finish(self) -> Finished:
        """Train, or resume from the last checkpoint.

        Raises:
            TrainingError: data cannot be read, the disk is full, or the loss is not finite; the
                last good checkpoint is kept.
            Stopped: the hooks said so.
        """
        start = self._resume()
        if self._is_main:
            for line in self.notices:
                self._hooks.on_notice(line)
            self._checkpoints.require_space(self.trainer.checkpoint_bytes)
            write_json(self.out / CONFIG_FILE, to_dict(self._config))
        self._accelerator.wait_for_everyone()
        logs = closing(self._open_logs(start)) if self._is_main else nullcontext()
        try:
            with logs as opened, self._hooks.stoppable() as told:
                values = self._steps(start, opened, Agreement(self._accelerator, told))
                self._written()
        finally:
            self._checkpoints.close()
        self.trainer.export(self.out / "model")
        self._accelerator.wait_for_everyone()
        return Finished(self._config.steps, self.out / "model", values)

    def _open_logs(self, start: int) -> Logs:
        return Logs(self.out, start, self._hooks.trackers, to_dict(self._config))

    def _least_seconds(self) -> float | None:
        """Seconds of a step at the peak of all GPUs, by which MFU is counted; None where unknown.

        Blocks that are run again are counted once: it is the model's work, not the hardware's.
        """
        config = self._config
        peak = here(self._accelerator.device.type).peak_flops(config.precision)
        if peak is None or not self._is_main:
            return None
        footprint = self.measure(replace(config, gradient_checkpointing=False))
        work: int = sum(footprint.flops.values()) * config.batch_size
        world: int = self._accelerator.num_processes
        return work / (peak * world)

    def _resume(self) -> int:
        notice = self._hooks.on_notice if self._is_main else lambda _: None
        found = self._checkpoints.load_last(
            notice, lambda: {"trainer": self.trainer.state(IN_PLACE)}
        )
        if found is None:
            return 0
        step, state = found
        if self.data and self.data != (state.get("data") or self.data):
            raise TrainingError(
                f"{self.out} holds a run on other images; give the same, or another --out"
            )
        if step > self._config.steps:
            raise TrainingError(
                f"{self.out} holds {step} steps, steps={self._config.steps} is fewer: "
                f"--set steps={step} or more, or give another --out"
            )
        try:
            self.trainer.restore(state["trainer"])
            self._unreadable = state["unreadable"]
        except (KeyError, TypeError, ValueError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise TrainingError(
                f"{self._checkpoints.path(step)} is of another run ({reason.splitlines()[0]}); "
                f"remove it, or give another --out"
            ) from error
        self._accelerator.wait_for_everyone()
        if self._is_main:
            self._checkpoints.set_aside(after=step)
        notice(f"going on after step {step:,} of {self._config.steps:,}")
        return step

    def _steps(self, start: int, logs: Logs | None, agreement: Agreement) -> dict[str, float]:
        config = self._config
        values: dict[str, float] = {}
        least = self._least_seconds()
        pace = _Pace()
        stream = self.open_stream(self.trainer.place(start))
        batches = iter(stream)
        for step in range(start, config.steps):
            asked = time.perf_counter()
            batch = next(batches)
            pace.waited += time.perf_counter() - asked
            done = step + 1
            due = self._due(done)
            with self._last_good_named():
                self.trainer.step(batch, step)
                if due:
                    # Reading the device stops it: only where it has to be read in any case.
                    self.trainer.check()
            self._unreadable += batch.unreadable
            pace.examples += len(batch) * self._accelerator.num_processes
            pace.steps += 1
            logged: dict[str, float] = {}
            if "log" in due:
                values = logged = {
                    **self.trainer.averages(),
                    **pace.read(config.unit, least),
                    "learning_rate": learning_rate(config.optimizer, step, config.steps),
                    **stream.progress(done),
                    "unreadable": self._unreadable,
                }
                pace = _Pace()
                if logs is not None:
                    logs.write(done, logged)
            if self._is_main:
                self._hooks.on_step(done, logged)
            with pace.paused():
                if "grid" in due and self.picture:
                    self.picture(self.out / "pictures" / f"step-{done:08d}.png")
                if "validate" in due:
                    self._validate(done, logs)
            stops = done < config.steps and agreement.stops()
            if "checkpoint" in due or stops:
                self._checkpoint(done)
            if stops:
                self._written()
                raise Stopped(done, config.steps, self._checkpoints.path(done))
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
        with self._last_good_named():
            self.trainer.check()
        # One copy at a time beside the run's own: the one before is written first.
        self._checkpoints.finish()
        # Nothing of the data or the random streams: both follow from the step's number alone.
        state = {
            "step": done,
            "unreadable": self._unreadable,
            "data": self.data,
            "trainer": self.trainer.state(),
        }
        if self._is_main or self._config.shard:
            # What came off a GPU is a copy already.
            on_cpu = self._accelerator.device.type == "cpu"
            self._checkpoints.save_later(done, copied(state) if on_cpu else state)

    def _written(self) -> None:
        """Wait until the last checkpoint is on disk; no process goes on, or ends, before."""
        self._checkpoints.finish()
        self._accelerator.wait_for_everyone()

    def _validate(self, done: int, logs: Logs | None) -> None:
        if self._hooks.validate is None:
            return
        self.trainer.export(self.out / "model")
        if self._is_main and logs is not None:
            logs.write(done, self._hooks.validate(self.out / "model", done), kind="validation")
        if self._waiting is not None:
            distributed.barrier(self._waiting)

    @contextmanager
    def _last_good_named(self) -> Iterator[None]:
        """Add to an error of training where the last good checkpoint is."""
        try:
            yield
        except TrainingError as error:
            self._checkpoints.finish()
            steps = self._checkpoints.steps()
            left = "there is no checkpoint yet; lower optimizer.learning_rate and start again"
            if steps:
                path = self._checkpoints.path(steps[-1])
                left = f"the last good state, after step {steps[-1]}, is {path}"
            raise TrainingError(f"{error}; {left}") from error


@dataclass
class _Pace:
    """Examples, steps and waiting since the last reading, pictures and validations left out."""

    examples: int = 0
    steps: int = 0
    waited: float = 0.0
    since: float = field(init=False)

    def __post_init__(self) -> None:
        self.since = time.perf_counter()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time of what is not training."""
        began = time.perf_counter()
        yield
        self.since += time.perf_counter() - began

    def read(self, unit: str, least: float | None) -> dict[str, float]:
        """Give throughput, and the share of the time that was spent waiting for data.

        Args:
            unit: what examples are counted in.
            least: seconds of a step at the processors' peak, for MFU; None without.
        """
        seconds = time.perf_counter() - self.since
        values = {
            f"{unit}_per_second": self.examples / seconds,
            "seconds_per_step": seconds / self.steps,
            "data_wait": self.waited / seconds,
        }
        return values if least is None else {**values, "mfu": least * self.steps / seconds}
