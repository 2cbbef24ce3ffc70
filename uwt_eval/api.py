"""The commands `run`, `metrics` and `compare` as functions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from harness.interfaces import Model, Performed, RunRequest
from harness.interfaces.errors import UserError
from harness.interfaces.registry import MODELS, TASKS, expand_tasks
from uwt_eval.results import Results
from uwt_eval.wrapping import WrappedTokenizer

if TYPE_CHECKING:
    import pandas as pd

    from harness.engine.progress import Progress

AnyModel = str | Model | WrappedTokenizer


def evaluate(
    task: str,
    model: AnyModel | Sequence[AnyModel] | None = None,
    *,
    data: str | Path | None = None,
    protocol: str | None = None,
    model_precision: str | None = None,
    limit: int | None = None,
    metrics: str | Sequence[str] | None = None,
    device: str = "auto",
    batch_size: int | Literal["auto"] | None = None,
    seed: int = 0,
    max_failures: int = 0,
    small_sets: bool = False,
    fresh: bool = False,
    out: str | Path | None = None,
    progress: bool = True,
) -> Results:
    """Evaluate models on a task, as `uwt-eval run` does; what is finished already is not repeated.

    Args:
        task: A task or a group of them, see `uwt-eval list tasks`.
        model: A name as on the command line, such as 'webp:2048'; what `tokenizer` makes; or an
            object with the methods of a plug-in. Several in a list; the task's baselines if None.
        data: A folder, archive or data set; the setting's or the embedded sample set if None.
        protocol: Named protocol or a file that ends in .toml; the task's first if None.
        model_precision: fp32, tf32, bf16 or fp16 instead of what the protocol says.
        limit: Evaluate a fixed choice of so many samples.
        metrics: Keys instead of the task's own, in a list or a text with commas.
        device: auto, cpu, cuda, cuda:N or mps. Modules of `tokenizer` are measured where they are.
        batch_size: Images a forward pass on a GPU; 'auto' finds how many fit.
        seed: Of every random stream.
        max_failures: Failed samples up to which a result counts as complete.
        small_sets: Give FID below its least number of images too.
        fresh: Compute everything again, whatever is stored.
        out: Where run directories are made; `runs` if None.
        progress: Whether progress is shown on stderr.

    Raises:
        UserError: Bad input: one line that says what, where and how to mend it.
    """
    from harness.data.manifest import frozen_data
    from harness.data.settings import read_settings
    from harness.engine.runner import by_task, run
    from harness.engine.world import World

    if not isinstance(task, str):
        raise UserError(
            f"task {task!r} is no name: give one task or group, and others by a call each"
        )
    _check_whole(
        limit=1 if limit is None else limit,
        batch_size=1 if batch_size in (None, "auto") else batch_size,
        seed=seed,
        max_failures=max_failures,
    )
    model = () if model is None else model
    alone = isinstance(model, str) or hasattr(model, "card") or not isinstance(model, Iterable)
    given = list(cast("Sequence[AnyModel]", [model] if alone else model))
    shown = _progress(progress)
    requests: list[RunRequest] = []
    finished = []
    with ExitStack() as stack:
        offered = [stack.enter_context(_named(each)) for each in given]
        objects = [each for each in given if not isinstance(each, str)]
        for name in expand_tasks([task]):
            if objects and isinstance(TASKS.get(name), Performed):
                raise UserError(
                    f"task {name!r} runs its models in a process of their own: give it a plug-in "
                    "by name, not an object"
                )
            choices = offered or TASKS.get(name).spec.default_models
            if not choices:
                raise UserError(f"task {name!r} has no default model: give one")
            requests += [
                RunRequest(
                    task=name,
                    model=choice,
                    protocol=protocol,
                    model_precision=model_precision,
                    data=None if data is None else str(data),
                    limit=limit,
                    metrics=_keys(metrics),
                    seed=seed,
                    device=device,
                    batch_size=batch_size,
                    max_failures=max_failures,
                    small_sets=small_sets,
                    fresh=fresh,
                    out=read_settings().out if out is None else Path(out),
                )
                for choice in choices
            ]
        stack.enter_context(frozen_data())
        for request in by_task(requests):
            result = run(request, World(), shown)
            assert result is not None
            finished.append(result)
    return Results(
        records=tuple(each.record for each in finished),
        roots=tuple(each.root for each in finished),
        notices=tuple(dict.fromkeys(each.notice for each in finished if each.notice)),
        failures={each.record.run_id: each.first_errors for each in finished if each.first_errors},
    )


@contextmanager
def _named(model: AnyModel) -> Iterator[str]:
    """A model by the name that the engine finds it under within."""
    if isinstance(model, str):
        yield model
    elif isinstance(model, WrappedTokenizer):
        with MODELS.offering(model.name, model), model.evaluating():
            yield model.name
    elif hasattr(model, "card"):
        with MODELS.offering(model.card.name, lambda: model):
            yield model.card.name
    else:
        raise UserError(
            f"{type(model).__name__} is no model: give a name, what uwt_eval.tokenizer(module, "
            "name=…) makes of a module, or an object with the methods of a plug-in"
        )


def _keys(metrics: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Metrics as the engine takes them; a text is what the command's option is."""
    if metrics is None:
        return None
    return tuple(metrics.split(",") if isinstance(metrics, str) else metrics)


def _check_whole(**numbers: object) -> None:
    """Raise `UserError` where an argument is no whole number."""
    for name, value in numbers.items():
        if not isinstance(value, Integral):
            raise UserError(f"{name}={value!r}: give a whole number")


def _place(stored: object) -> Path:
    """The path of stored results; raise `UserError` where it is none, as what `evaluate` gave."""
    if not isinstance(stored, str | os.PathLike):
        raise UserError(
            f"{type(stored).__name__} is no path: give a run directory, as results.roots[0]"
        )
    return Path(stored)


def metrics(
    reference: str | Path,
    samples: str | Path,
    names: str | Sequence[str] | None = None,
    *,
    protocol: str = "torch-fidelity",
    device: str = "auto",
    seed: int = 0,
    small_sets: bool = False,
    extrapolate: bool = False,
    progress: bool = True,
) -> Results:
    """Compare two sets of images in files, as `uwt-eval metrics` does.

    Args:
        reference: Folder, archive, data set folder or .npz to compare with.
        samples: The images to judge.
        names: Of `uwt-eval list metrics`, or prc or lpips; what `metrics` gives if None.
        protocol: torch-fidelity, adm, clean, wetok, exact or a .toml file.
        device: auto, cpu, cuda, cuda:N or mps.
        seed: Of the intervals.
        small_sets: Give FID and KID of too few images too.
        extrapolate: Note FID∞ too, FID at infinitely many images.
        progress: Whether progress is shown on stderr.

    Raises:
        UserError: Bad input.
    """
    from harness.sets.compare import compare_files

    _check_whole(seed=seed)
    comparison, record = compare_files(
        str(reference),
        str(samples),
        _keys(names),
        protocol=protocol,
        device=device,
        seed=seed,
        small_sets=small_sets,
        extrapolate=extrapolate,
        progress=_progress(progress),
    )
    failures = [f"{name}: {text}" for name, text in comparison.failures.items()]
    return Results((record,), (None,), failures={record.run_id: failures} if failures else {})


def load_runs(*places: str | Path) -> Results:
    """Results that are stored: run directories, folders of them, or files of records.

    Raises:
        UserError: There is none, or one is damaged.
    """
    from reports.records import load_records

    loaded = load_records([_place(each) for each in places])
    return Results(
        records=tuple(each.record for each in loaded), roots=tuple(each.root for each in loaded)
    )


def compare(before: str | Path, after: str | Path, *, force: bool = False) -> pd.DataFrame:
    """Differences of one run to another over the same samples, as `uwt-eval compare` finds them.

    Args:
        before: Run directory to compare with.
        after: Run directory that is judged.
        force: Compare what does not compare.

    Returns:
        a row a metric: before, after, difference, its 95% interval low and high, and p; of figures
        of whole sets the difference alone.

    Raises:
        UserError: The runs do not compare; the reason says why.
    """
    import pandas as pd

    from reports.compare import compare as compare_runs
    from reports.records import load_record

    found = compare_runs(load_record(_place(before)), load_record(_place(after)), force=force)
    rows = {
        key: {
            "before": each.mean_a,
            "after": each.mean_b,
            "difference": each.difference,
            "low": each.ci_low,
            "high": each.ci_high,
            "p": each.p_value,
        }
        for key, each in found.paired.items()
    } | {
        key: {"before": each.a, "after": each.b, "difference": each.difference}
        for key, each in found.unpaired.items()
    }
    columns = ["before", "after", "difference", "low", "high", "p"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _progress(shown: bool) -> Progress:
    from harness.commands.console import terminal
    from harness.engine.progress import Progress

    return Progress(terminal(stderr=True), quiet=not shown)
