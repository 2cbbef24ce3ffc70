"""Validating a training along the way by a task of `uwt-eval run`, and keeping the best model."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.interfaces.errors import UserError
from uniwetok.commands.options import RunOptions, check_places

if TYPE_CHECKING:
    from uniwetok.train.engine.settings import RunSettings


@dataclass(frozen=True, kw_only=True)
class ValidatedRunOptions(RunOptions):
    """The options of trainings that a task of `run` can validate along the way."""

    validate: Annotated[
        str | None,
        typer.Option(
            help="Task of a validation (default: what the command at the end runs, if it runs one)."
        ),
    ] = None
    validate_data: Annotated[
        str | None, typer.Option(help="Its data, or a generator's reference, as --data of `run`.")
    ] = None
    validate_every: Annotated[
        int | None, typer.Option(min=0, help="Steps between, as --set validate_every=N; 0: none.")
    ] = None
    validate_limit: Annotated[int, typer.Option(min=1, help="Images of a validation.")] = 256
    best: Annotated[
        str | None,
        typer.Option(help="Metric of it, such as psnr, by which OUT/best keeps the best model."),
    ] = None

    @property
    def changes(self) -> list[str]:
        """All settings that are given, as `--set` takes them."""
        every = [] if self.validate_every is None else [f"validate_every={self.validate_every}"]
        return [*super().changes, *every]

    def validation(
        self,
        config: RunSettings,
        task: str | None,
        model: Callable[[Path], str],
        data: str | None,
        protocol: str | None = None,
        *,
        does: Set[str],
    ) -> Validation | None:
        """Say how a run is validated.

        Args:
            config: the run.
            task: what validates it where no option names another.
            model: what `--model` would take for the weights in a folder.
            data: of the task where no option names others.
            protocol: of the task; None for the model's own.
            does: interfaces that such models have, of which a task takes one.

        Returns:
            None where nothing is validated, for no task is named.

        Raises:
            UserError: a task that is unknown or takes other models, data that are absent, `--best`
                without a validation, or a metric that the task has not.
        """
        from harness.interfaces.registry import TASKS

        check_places(validate_data=self.validate_data)
        if self.validate is not None and not does & set(TASKS.get(self.validate).spec.interfaces):
            needed = " or ".join(TASKS.get(self.validate).spec.interfaces)
            raise UserError(f"--validate {self.validate}: it takes {needed}, this trains none")
        if self.best is not None and not config.validate_every:
            raise UserError(f"--best {self.best}: nothing is validated; give --validate-every N")
        name = self.validate or task
        if name is None:
            if config.validate_every:
                raise UserError("--validate-every: by what task? name it with --validate TASK")
            return None
        place = self.validate_data or data
        chosen = Validation(name, model, place, self.validate_limit, protocol)
        if self.best is None:
            return chosen
        return replace(chosen, best=best_by(self.best, chosen.task))


@dataclass(frozen=True)
class Validation:
    """The task that a run is validated by, as `uwt-eval run` runs it."""

    task: str
    model: Callable[[Path], str]
    """What `--model` would take for the weights in a folder."""
    data: str | None
    limit: int
    protocol: str | None = None
    best: Best | None = None
    """By what the best model is kept."""

    def run(
        self, model: Path, step: int, out: Path, device: str, tell: Callable[[str], None]
    ) -> dict[str, float]:
        """Evaluate a model as `uwt-eval run` does, and keep it if it is the best.

        Args:
            model: folder of its weights.
            step: after which they were written.
            out: the training's folder.
            device: "cpu", or "auto" for this process's GPU where there is one.
            tell: is told what a user must know.

        Returns:
            Metrics that have a value, by key.
        """
        from harness.commands.console import terminal
        from harness.engine.progress import Progress
        from harness.engine.runner import run
        from harness.engine.world import World
        from harness.interfaces import RunRequest

        request = RunRequest(
            task=self.task,
            model=self.model(model),
            data=self.data,
            limit=self.limit,
            protocol=self.protocol,
            device=device,
            out=out / "validation",
        )
        finished = run(request, World(), Progress(terminal(stderr=True), quiet=True))
        assert finished is not None
        metrics = finished.record.metrics
        values = {name: m.value for name, m in metrics.items() if m.value is not None}
        tell(f"step {step:,}: " + ", ".join(f"{k} {v:.4g}" for k, v in values.items()))
        best, folder = self.best, out / "best"
        if best is not None and best.metric not in values:
            tell(f"step {step:,}: no {best.metric} to choose by: {metrics[best.metric].status}")
        elif best is not None and best.keep(model, folder, step, values[best.metric]):
            tell(f"step {step:,}: the best {best.metric} so far; the model is kept in {folder}")
        return values


@dataclass(frozen=True)
class Best:
    """Keeps the model of the best validation."""

    metric: str
    higher_is_better: bool

    def keep(self, model: Path, folder: Path, step: int, value: float) -> bool:
        """Copy a model if no earlier one was better or as good.

        Args:
            model: folder of the model that was validated.
            folder: of the best one, with what it reached in ``best.json``.
            step: after which it was validated.
            value: of the metric.
        """
        from uniwetok.files import read_json, replaced, write_json

        path = folder / "best.json"
        before = read_json(path) if path.is_file() else {}
        sign = 1 if self.higher_is_better else -1
        if before.get("metric") == self.metric and sign * value <= sign * before["value"]:
            return False
        for each in sorted(model.rglob("*")):
            if each.is_file():
                with replaced(folder / each.relative_to(model)) as partial:
                    shutil.copyfile(each, partial)
        # Last: a run that is killed before validates the same model again as it goes on.
        write_json(path, {"metric": self.metric, "value": value, "step": step})
        return True


def best_by(metric: str, task: str) -> Best:
    """Look up which way a task's metric is better.

    Raises:
        UserError: the task has no such metric, or neither way is better.
    """
    from harness.interfaces.errors import did_you_mean
    from harness.interfaces.registry import METRICS, TASKS

    known = TASKS.get(task).spec.metrics
    if metric not in known:
        raise UserError(f"--best {metric}: not a metric of {task}; {did_you_mean(metric, known)}")
    higher = METRICS.get(metric).higher_is_better
    if higher is None:
        raise UserError(f"--best {metric}: neither more nor less of it is better")
    return Best(metric, higher)
