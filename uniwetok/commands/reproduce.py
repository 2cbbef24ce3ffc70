"""Studies of `uwt-eval reproduce`: what the paper says, tried again at a small size."""

from __future__ import annotations

import itertools
import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from harness.commands.console import Json, terminal
from harness.interfaces.errors import UserError, counted
from harness.interfaces.extras import need
from uniwetok.commands.options import Quiet
from uniwetok.commands.shared import TRAINS_WITH, user_errors

if TYPE_CHECKING:
    from harness.interfaces import OnProgress
    from uniwetok.studies.mllm.report import MiniMLLMResult
    from uniwetok.studies.report import MiniResult
    from uniwetok.studies.settings import Arm, MiniSettings

app = typer.Typer()


@app.command("mini-ablations")
def mini_ablations(
    data: Annotated[
        str | None,
        typer.Option(help="Photos: a folder or shards (default: those scikit-image ships)."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("runs")
    / "mini-ablations",
    seeds: Annotated[int, typer.Option(min=1, help="Times that each arm is trained.")] = 7,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of each training (default: 375).")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="table1 ... table5: only its directions; repeat.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes at once; each keeps one core busy.")
    ] = 2,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the arms and the time they would take.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Repeat Tables 1-5 at a small size on a CPU; the same command again goes on."""
    need("training", *TRAINS_WITH)
    from uniwetok.studies.settings import MiniSettings

    with user_errors():
        arms = _arms(only or [])
        settings = MiniSettings() if steps is None else MiniSettings(steps=steps)
        if dry_run:
            _print_plan(arms, settings, seeds, workers, as_json=as_json)
            return
        result = _run(arms, settings, data, out, seeds, workers, quiet=quiet or as_json)
    minutes = f"CPU time of all trainings and measurements: {result.cpu_seconds / 60:.1f} min"
    _print_result(result, minutes, as_json=as_json)


@app.command("mini-mllm")
def mini_mllm(
    out: Annotated[Path, typer.Option(help="Folder of data, models, pictures and results.")] = Path(
        "runs"
    )
    / "mini-mllm",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of the model's training (default: 3000).")
    ] = None,
    tokenizer_steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of the image tokenizer (default: 1500).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a nano multimodal model that answers, draws and edits, and measure it on easy-VQA.

    The same command again goes on. Needs the package easy-vqa, which is in uwt-eval[mini].
    """
    need("this study", "easy_vqa", *TRAINS_WITH, "transformers")
    with user_errors():
        from harness.engine.progress import Progress
        from uniwetok.studies.mllm.proof import prove
        from uniwetok.studies.mllm.settings import MiniMLLMSettings

        given = {"steps": steps, "tokenizer_steps": tokenizer_steps}
        settings = MiniMLLMSettings(**{name: n for name, n in given.items() if n is not None})
        bars = Progress(terminal(stderr=True), quiet=quiet or as_json)
        with ExitStack() as stack:
            shown: dict[str, OnProgress] = {}

            def on_step(name: str, done: int, total: int) -> None:
                if name not in shown:
                    stack.close()  # One bar at a time.
                    shown[name] = stack.enter_context(bars.bar(name))
                shown[name](done, total)

            result = prove(settings, out, seed=seed, on_step=on_step)
    _print_result(result, f"pictures: {out / 'pictures'}", as_json=as_json)


def _print_result(result: MiniResult | MiniMLLMResult, last: str, *, as_json: bool) -> None:
    """Print a study's result for machines, or for people with one more line."""
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
        return
    console = terminal()
    console.print(result.render())
    console.print(last, soft_wrap=True)


def _arms(only: list[str]) -> list[Arm]:
    """Arms that the directions of some tables, or of all, compare."""
    from uniwetok.fields import did_you_mean
    from uniwetok.studies.claims import CLAIMS, TABLES
    from uniwetok.studies.settings import ARMS

    for name in only:
        if name not in TABLES:
            raise UserError(f"--only {name}: {did_you_mean(name, TABLES)}")
    wanted = {
        arm for claim in CLAIMS if not only or f"table{claim.table}" in only for arm in claim.arms
    }
    return [arm for name, arm in ARMS.items() if name in wanted]


def _run(
    arms: list[Arm],
    settings: MiniSettings,
    data: str | None,
    out: Path,
    seeds: int,
    workers: int,
    *,
    quiet: bool,
) -> MiniResult:
    from harness.data.store import check_folder
    from harness.engine.progress import Progress
    from uniwetok.studies.photos import cut_crops
    from uniwetok.studies.report import MiniResult
    from uniwetok.studies.runner import Job, embed, finished, run_jobs
    from uniwetok.studies.settings import SIZE
    from uniwetok.train.data.augment import to_model_range

    check_folder(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror}): give another --out") from error
    messages = terminal(stderr=True)
    crops = cut_crops(data, crops=settings.crops, size=SIZE)
    if crops.skipped and not quiet:
        messages.print(
            f"{counted(len(crops.skipped), 'photo')} left out, first: {crops.skipped[0]}"
        )
    # Seed by seed, so that an interrupted run has compared all arms with the first ones.
    jobs = [Job(arm=arm, seed=seed, settings=settings) for seed in range(seeds) for arm in arms]
    results = finished(jobs, crops, out)
    left = [job for job in jobs if (job.arm.name, job.seed) not in results]
    if left:
        progress = Progress(messages, quiet=quiet)
        with progress.bar("teacher") as advance:
            embeddings = embed(to_model_range(crops.pixels), advance)
        with progress.bar("training") as advance:
            done = itertools.count(len(jobs) - len(left))
            advance(next(done), len(jobs))
            run_jobs(
                left,
                crops,
                embeddings,
                out,
                workers=workers,
                on_done=lambda _: advance(next(done), len(jobs)),
            )
        results = finished(jobs, crops, out)
    measured = tuple(results[job.arm.name, job.seed] for job in jobs)
    return MiniResult(settings, tuple(range(seeds)), len(crops.names), measured)


def _print_plan(
    arms: list[Arm], settings: MiniSettings, seeds: int, workers: int, *, as_json: bool
) -> None:
    from uniwetok.studies.estimate import estimate

    plan = estimate(arms, settings, seeds)
    minutes = plan.cpu_seconds / 60
    if as_json:
        print(json.dumps({**vars(plan), "seeds": seeds, "workers": workers}, indent=2))
        return
    table = Table(
        title=f"{counted(seeds, 'seed')} of {counted(settings.steps, 'step')}",
        title_justify="left",
        box=None,
    )
    for heading in ("arm", "what", "preset", "its changes", "CPU seconds a seed"):
        table.add_column(heading)
    for arm in arms:
        seconds = f"{plan.arm_seconds[arm.name]:.0f}"
        table.add_row(arm.name, arm.title, arm.preset, " ".join(arm.changes), seconds)
    console = terminal()
    console.print(table)
    console.print(
        f"about {minutes:.0f} minutes of CPU time, {minutes / workers:.0f} minutes with {workers} "
        f"processes on cores of their own; the teacher and two steps of each arm were measured"
    )
