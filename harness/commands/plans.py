"""What `uwt-eval run --dry-run` says: what would be done, and how much of it is done already."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.commands.console import terminal
from harness.interfaces.registry import TASKS

if TYPE_CHECKING:
    from harness.engine.observed import ObservedRun
    from harness.engine.plan import RunFile
    from harness.engine.world import World
    from harness.interfaces import RunRequest


def _as_json(request: RunRequest) -> dict[str, Any]:
    return {
        key: str(value) if isinstance(value, Path) else value
        for key, value in dataclasses.asdict(request).items()
    }


def _planned(request: RunRequest, world: World) -> dict[str, Any]:
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
    if isinstance(TASKS.get(request.task), Performed):
        run, _, device = performed_run(request, alone)
        name, root = run.name, request.out / run.name
        facts = {
            "dataset": request.data or TASKS.get(run.task).spec.dataset,
            "n": request.limit,
            "n_missing": None,
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
    return {
        "run_id": name,
        "task": run.task,
        "model": run.model.title,
        "protocol": run.protocol.name,
        "protocol_digest": run.protocol.digest,
        **facts,
        "directory": str(root),
        "request": _as_json(request),
    }


def print_plans(requests: list[RunRequest], world: World, *, as_json: bool) -> None:
    """Print a plan a request: of the whole run, or of the shard that is the world's."""
    plans = [_planned(request, world) for request in requests]
    if as_json:
        print(json.dumps(plans, indent=2))
        return
    console = terminal(soft_wrap=True, highlight=False)
    for item in plans:
        console.print(
            f"{item['task']} · {item['model']} · protocol {item['protocol']}", style="bold"
        )
        counts = "all samples" if item["n"] is None else f"{item['n']} samples"
        if "shard" in item and item["n"] is None:
            counts = f"{item['shard']}"
        elif "shard" in item:
            counts = f"{item['shard']}: {item['n']} of {item['n_run']} samples"
        if item["n_missing"] is not None:
            counts += f", {item['n_missing']} still to do"
        console.print(
            f"  {item['dataset']}: {counts}, on {item['device']}\n  into {item['directory']}",
            markup=False,
        )
        for name, reason in item["not_computed"].items():
            console.print(f"  {name}: {reason}", markup=False, style="dim")
