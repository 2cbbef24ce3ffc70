"""What several commands share: errors, and the one body behind `train`."""

from __future__ import annotations

import functools
import importlib
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from typer.core import TyperCommand

from harness.commands.console import MISUSED, terminal
from harness.commands.outputs import check_apart
from harness.interfaces.errors import ExitCode, Unavailable, UserError, counted
from uniwetok.commands.options import RunOptions, absent, check_places

if TYPE_CHECKING:
    from rich.console import Console

    from uniwetok.commands.validation import Validation
    from uniwetok.train.ar.config import ARTraining
    from uniwetok.train.data.places import DataPlace
    from uniwetok.train.data.reading import OnBlock
    from uniwetok.train.engine.loop import Finished, Hooks
    from uniwetok.train.engine.settings import RunSettings
    from uniwetok.train.mllm.config import MLLMTraining
    from uniwetok.train.tokenizer.config import TokenizerTraining

C = TypeVar("C", "TokenizerTraining", "ARTraining", "MLLMTraining")


class Training(TyperCommand):
    """A command whose settings are given by `--set`, which it says of those taken for options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options."""
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except MISUSED as error:
            from uniwetok.train.engine.settings import RunSettings

            option = str(getattr(error, "option_name", ""))
            name = option.removeprefix("--").replace("-", "_")
            if name not in RunSettings.__dataclass_fields__:
                raise
            given = " ".join(words).partition(option)[2].strip(" =").partition(" ")[0] or "…"
            how = f"settings are given by --set {name}={given}"
            raise UserError(f"no option {option}: {how}") from error


TRAINS_WITH = ("accelerate", "webdataset")
"""Packages of the extra `train` without which nothing is trained."""
_STOPPING = "\nstopping after this step, with a checkpoint (Ctrl-C again ends it at once)\n"


def given_data(
    data: Sequence[str] | None, more: Sequence[str] | None, config: C
) -> tuple[list[DataPlace], C]:
    """Read what `--data` says, make sure that it is there, and settle the weights of sources.

    Args:
        data: as given.
        more: what followed the first source.
        config: the run, whose mixture may name sources.

    Returns:
        The places, none if no word was given, and the run with their weights.

    Raises:
        TrainingError: what `read_places` and `weigh` raise.
        UserError: a path is absent, or words stand alone.
    """
    from uniwetok.train.data.places import read_places, weigh

    if more and not data:
        raise UserError(f"{more[0]}: what is it? sources follow --data NAME=PLACE@WEIGHT")
    places = read_places([*(data or []), *(more or [])])
    for place in places:
        if place.name and place.path is not None and not place.path.exists():
            _, mark, weight = str(place.path).rpartition("@")
            hint = f" ({weight!r} is no weight)" if mark else ""
            raise UserError(f"--data: source {place.name}: {place.path} does not exist{hint}")
        check_places(data=place.path)
    if places:
        mixed = replace(config.data, mixture=weigh(places, config.data.mixture))
        config = replace(config, data=mixed)
    return places, config


def main_source(places: Sequence[DataPlace], mixture: Sequence[str]) -> str:
    """Give the place of the source that most of the training comes from, the first of equals."""
    from uniwetok.train.data.mixture import read_weights

    weights = read_weights(mixture)
    return max(places, key=lambda each: weights.get(each.name, 1.0)).place


def carry_out(
    recipe: str,
    preset: str,
    config: RunSettings,
    run: RunOptions,
    train: Callable[[Path, Hooks, OnBlock], Finished],
    *,
    evaluation: Callable[[Path], list[str]],
    first: str = "",
    validation: Validation | None = None,
    sizes: Callable[[], Mapping[str, int]],
    reads: Sequence[str | Path | None],
) -> None:
    """Plan a run, or train and say how to evaluate what came of it.

    Args:
        recipe: package below `uniwetok.train`, whose ``plan.measure`` looks at the networks.
        preset: name, for the run's folder and the plan's title.
        config: the run.
        run: the command's options.
        train: trains in a folder.
        evaluation: the words of the command that evaluates the model in a folder.
        first: what the user has to do before.
        validation: along the way, where there is one.
        sizes: opens the sources that were named, and counts what each holds.
        reads: places of images, outside of which the run's folder has to lie.

    Raises:
        UserError: an option is impossible, or another training works in the run's folder.
    """
    if run.device not in {"auto", "cpu"}:
        raise UserError(f"--device {run.device}: use auto or cpu")
    if not (run.dry_run or config.init is None) and absent(config.init):
        raise UserError(f"--set init={config.init}: there is no such file or folder")
    if run.dry_run:
        from uniwetok.train.engine.machine import decide, planned_for
        from uniwetok.train.engine.plan import make_plan

        processor, world = planned_for(run.gpu, run.gpus, run.device)
        config, reasons = decide(config, processor)
        footprint = importlib.import_module(f"uniwetok.train.{recipe}.plan").measure(config)
        plan = make_plan(
            config,
            footprint,
            world,
            seconds_per_step=run.seconds_per_step,
            processor=processor,
            reasons=reasons,
            sizes=sizes(),
        )
        if run.as_json:
            print(json.dumps({"preset": preset, **plan.to_dict()}, indent=2))
        else:
            terminal().print(plan.table(preset))
        return
    from accelerate import PartialState

    from harness.data.store import check_folder
    from uniwetok.commands.locking import locked
    from uniwetok.train.engine.machine import on_cpu
    from uniwetok.train.engine.stopping import Stopped
    from uniwetok.train.engine.trackers import check_trackers

    check_trackers(run.trackers)
    out = run.folder(preset)
    for place in reads:
        check_apart(place, out)
    check_folder(out)
    _join(run.device)
    is_main = PartialState(cpu=on_cpu(run.device)).is_main_process
    quiet = run.quiet or run.as_json or not is_main
    teller = _Teller(config, validation, out, run.device, quiet=quiet, trackers=run.trackers)
    try:
        with (
            locked(out) if is_main else nullcontext(),
            teller.following() as (hooks, on_block),
        ):
            finished = train(out, hooks, on_block)
    except Stopped as stopped:
        if is_main:
            again = shlex.join(["uwt-eval", *sys.argv[1:]])
            messages = terminal(stderr=True, soft_wrap=True, highlight=False)
            messages.print(f"{stopped}; it goes on with: {again}", markup=False)
        # torchrun ends the others as soon as one fails: the main process has the last word.
        raise typer.Exit(ExitCode.INTERRUPTED if is_main else ExitCode.DONE) from None
    if is_main:
        words = shlex.join(evaluation(finished.model))
        _print_finished(finished, f"{first}{words}", as_json=run.as_json)


def _join(device: str) -> None:
    """Start the group that accelerate would start, but where torchrun starts again it meets too."""
    from harness.engine.world import World, resolve_device

    world = World.from_environment()
    place = resolve_device(device, world)
    world.join(place, "nccl" if place.startswith("cuda") else "gloo")


@dataclass(frozen=True)
class _Teller:
    """Tells how a run goes, and validates with a task where there is one."""

    config: RunSettings
    validation: Validation | None
    out: Path
    device: str
    quiet: bool = field(kw_only=True)
    trackers: Sequence[str] = field(kw_only=True)

    @contextmanager
    def following(self) -> Iterator[tuple[Hooks, OnBlock]]:
        """Show a bar on a terminal, elsewhere a line for each of the log.

        Yields:
            What the loop calls, and what tells (done, total) of the work before it begins.
        """
        from harness.commands.interrupts import stoppable
        from harness.engine.progress import Progress
        from uniwetok.train.engine.loop import Hooks

        steps, every = self.config.steps, self.config.log_every
        first = iter([True])
        with Progress(self._messages, quiet=self.quiet).bar("training") as advance:

            def on_step(step: int, values: Mapping[str, float]) -> None:
                begins = next(first, False)
                if self._messages.is_terminal:
                    advance(step, steps)
                elif values:
                    self._notice(self._line(step, values))
                elif begins:
                    self._notice(
                        f"step {step:,} of {steps:,} is done; a line follows every {every:,}"
                    )

            yield (
                Hooks(
                    on_step=on_step,
                    validate=None if self.validation is None else self._validate,
                    trackers=self.trackers,
                    on_notice=self._notice,
                    stoppable=lambda: stoppable("" if self.quiet else _STOPPING),
                ),
                advance,
            )

    @functools.cached_property
    def _messages(self) -> Console:
        return terminal(stderr=True)

    def _notice(self, text: str) -> None:
        if not self.quiet:
            self._messages.print(text, markup=False, highlight=False, soft_wrap=True)

    def _line(self, step: int, values: Mapping[str, float]) -> str:
        left = timedelta(seconds=round(values["seconds_per_step"] * (self.config.steps - step)))
        unit = self.config.unit
        seen = (
            f", {name.partition('/')[2]} {value:.3g} epochs"
            for name, value in values.items()
            if name.startswith("epochs/")
        )
        lost = f", {values['unreadable']:,.0f} unreadable" if values.get("unreadable") else ""
        return (
            f"step {step:,} of {self.config.steps:,}: loss {values['loss']:.4g}, "
            f"{values[f'{unit}_per_second']:.3g} {unit}/s, {left} left{''.join(seen)}{lost}"
        )

    def _validate(self, model: Path, step: int) -> Mapping[str, float]:
        assert self.validation is not None
        return self.validation.run(model, step, self.out, self.device, self._notice)


def _print_finished(finished: Finished, next_step: str, *, as_json: bool) -> None:
    """Print where the model is, and the command that evaluates it."""
    if as_json:
        facts: dict[str, Any] = {"steps": finished.steps, "model": str(finished.model)}
        print(json.dumps({**facts, "values": dict(finished.values)}, indent=2))
        return
    console = terminal(soft_wrap=True, highlight=False)
    console.print(f"done: {counted(finished.steps, 'step')}; the model is {finished.model}")
    console.print(f"evaluate it: {next_step}", markup=False)


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn what the user can mend into one line and exit code 2."""
    from uniwetok.mllm.config import MLLMError
    from uniwetok.train import TrainingError

    try:
        yield
    except (TrainingError, MLLMError) as error:
        raise UserError(str(error)) from error
    except Unavailable as error:
        raise UserError(f"{error}; or --set loss.lpips_weight=0 trains without") from error
