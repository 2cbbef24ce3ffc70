"""What `uwt-eval run --dry-run` says: what would be done, and how much of it is done already."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.commands.console import terminal
from harness.interfaces.errors import counted
from harness.interfaces.registry import TASKS

if TYPE_CHECKING:
    from harness.engine.observed import ObservedRun
    from harness.engine.run_file import RunFile
    from harness.engine.world import World
    from harness.interfaces import RunRequest


class _Speeds:
    """Images a second of earlier runs in the folders of results, by what decides them."""

    def __init__(self) -> None:
        self._folders: dict[Path, list[dict[str, Any]]] = {}

    def of(self, run: ObservedRun | RunFile, device: str, out: Path) -> dict[str, Any]:
        """The latest speed of the same model, task and protocol on such a device, and its run."""
        kind, gpu = device.partition(":")[0], ""
        if kind == "cuda":  # Torch takes its time, which on a CPU nothing asks for.
            from harness.engine.provenance import machine

            gpu = machine(device)["gpu"]
        wanted = (run.task, run.model.digest, run.protocol.digest, kind, gpu)
        found = [
            (origin.get("finished", ""), rate, record["run_id"])
            for record in self._records(out)
            if (origin := record["provenance"])
            and (rate := origin.get("images_per_second"))
            and wanted
            == (
                *(record[key] for key in ("task", "model_digest", "protocol_digest")),
                str(origin.get("machine", {}).get("device", "")).partition(":")[0],
                origin.get("machine", {}).get("gpu", ""),
            )
        ]
        _, rate, run_id = max(found, default=("", None, None))
        return {"images_per_second": rate, "images_per_second_of": run_id}

    def _records(self, out: Path) -> list[dict[str, Any]]:
        if out not in self._folders:
            self._folders[out] = []
            for path in sorted(out.glob("*/record.json")):
                # What is damaged is said where it is read for its figures.
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                    record = json.loads(path.read_text(encoding="utf-8"))
                    keys = ("task", "model_digest", "protocol_digest", "run_id", "provenance")
                    self._folders[out].append({key: record[key] for key in keys})
        return self._folders[out]


def _as_json(request: RunRequest) -> dict[str, Any]:
    return {
        key: str(value) if isinstance(value, Path) else value
        for key, value in dataclasses.asdict(request).items()
    }


def _planned(request: RunRequest, world: World, speeds: _Speeds) -> dict[str, Any]:
    """What a run would do; the samples of a task that another program performs are not known."""
    from harness.data.store import Store
    from harness.engine.observed import performed_run
    from harness.engine.plan import make_plan
    from harness.engine.runner import twins
    from harness.engine.work import Worker
    from harness.engine.world import World
    from harness.interfaces import Performed

    alone = World(shard=world.shard, shards=world.shards)
    run: ObservedRun | RunFile
    facts: dict[str, Any]
    task = TASKS.get(request.task)
    if isinstance(task, Performed):
        run, _, device = performed_run(request, alone)
        name, root = run.name, request.out / run.name
        facts = {
            "dataset": request.data or TASKS.get(run.task).spec.dataset,
            "n": request.limit,
            "n_missing": None,
            "n_kept": 0 if request.fresh else task.kept(root),
            **({"shard": alone.title, "n_run": request.limit} if alone.title else {}),
            "device": device,
            "batch_size": request.batch_size,
            "not_computed": {},
        }
    else:
        plan = make_plan(request, alone)
        # A run that is new takes over what one beside it has in common with it.
        twin = next((root for root, _ in twins(plan.root, plan.file)), plan.root)
        worker = Worker(plan, Store(twin), alone)
        n = sum(len(block) for _, block in worker.share)
        run, name, root = plan.file, plan.file.run_id, plan.root
        facts = {
            "dataset": plan.file.dataset,
            "n": n,
            "n_missing": n if request.fresh else sum(len(block) for _, block in worker.missing()),
            **({"shard": alone.title, "n_run": len(plan.file.samples)} if alone.title else {}),
            "device": plan.device,
            "batch_size": plan.batch_size,
            "not_computed": plan.file.unavailable,
        }
    speed = speeds.of(run, facts["device"], request.out)
    rate, missing = speed["images_per_second"], facts["n_missing"]
    known = missing is not None and (rate is not None or missing == 0)
    return {
        "run_id": name,
        "task": run.task,
        "model": run.model.title,
        "protocol": run.protocol.name,
        "protocol_digest": run.protocol.digest,
        **facts,
        **speed,
        "model_seconds": (missing / rate if missing else 0.0) if known else None,
        "directory": str(root),
        "request": _as_json(request),
    }


def print_plans(requests: list[RunRequest], world: World, *, as_json: bool) -> None:
    """Print a plan a request: of the whole run, or of the shard that is the world's."""
    if not world.is_main:
        return
    speeds = _Speeds()
    plans = [_planned(request, world, speeds) for request in requests]
    if as_json:
        print(json.dumps(plans, indent=2))
        return
    console = terminal(soft_wrap=True, highlight=False)
    said: set[tuple[str, str]] = set()
    for item in plans:
        console.print(
            f"{item['task']} · {item['model']} · protocol {item['protocol']}", style="bold"
        )
        counts = "all samples" if item["n"] is None else counted(item["n"], "sample")
        if "shard" in item and item["n"] is None:
            counts = f"{item['shard']}"
        elif "shard" in item:
            counts = f"{item['shard']}: {item['n']} of {item['n_run']} samples"
        if item["n_missing"] is not None:
            counts += f", {item['n_missing']} still to do"
        if item.get("n_kept"):
            counts += f", {counted(item['n_kept'], 'output')} kept"
        console.print(
            f"  {item['dataset']}: {counts}, on {item['device']}\n  into {item['directory']}",
            markup=False,
        )
        if item["n_missing"] != 0:
            console.print(f"  {_cost(item)}", markup=False)
        # Of many runs most want for the same.
        for name, reason in sorted(set(item["not_computed"].items()) - said):
            console.print(f"  {name}: {reason}", markup=False, style="dim")
        said.update(item["not_computed"].items())
    if len(plans) > 1:
        missing = sum(item["n_missing"] or 0 for item in plans)
        known = [item["model_seconds"] for item in plans if item["model_seconds"] is not None]
        text = f"{len(plans)} runs, {counted(missing, 'sample')} still to do, "
        text += f"{_duration(sum(known))} of the models' own time"
        if unknown := len(plans) - len(known):
            text += f" and {counted(unknown, 'run')} of unknown time"
        console.print(text, style="bold")


def _cost(item: dict[str, Any]) -> str:
    if item["model_seconds"] is None:
        return f"time unknown: no finished run of its kind on {item['device']} to go by"
    where = "one core" if item["device"] == "cpu" else item["device"]
    return (
        f"about {_duration(item['model_seconds'])} of the model's own time on {where}, at "
        f"{item['images_per_second']:.3g} images/s as in {item['images_per_second_of']}; reading, "
        "metrics and judges come on top"
    )


def _duration(seconds: float) -> str:
    """Seconds below two minutes, minutes below two hours, else hours."""
    for unit, size in (("s", 1), ("min", 60)):
        if seconds < 120 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 3600:.1f} h"
