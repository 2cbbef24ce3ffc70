"""Whether processes, or run directories, are of one run: what decides a number, by name."""

from __future__ import annotations

from collections.abc import Mapping

from harness.engine.run_file import RunFile
from harness.engine.world import World
from harness.interfaces.errors import UserError
from harness.interfaces.types import digest_of


def agree(file: RunFile, world: World) -> None:
    """Raise `UserError` where a process, on another machine, would do other work than the main one.

    Weights, packages and code are each machine's own.
    """
    own = facts_of(file)
    if different := differences(world.broadcast(own if world.is_main else None), own):
        raise UserError(
            f"the machine of process {world.rank} would do other work than that of process 0: "
            f"{different}"
        )


def facts_of(file: RunFile) -> dict[str, str]:
    """What two parts of one run have in common, by the name that people know it by."""
    origin = file.provenance
    code = origin.get("code", {})
    return {
        "task": f"{file.task} {file.task_version} {file.task_code[:12]}".strip(),
        "model": f"{file.model.title} ({file.model.digest[:12]})",
        "protocol": f"{file.protocol.name} ({file.protocol.digest[:12]})",
        "data": f"{len(file.samples)} samples ({file.dataset_digest[:12]})",
        "seed": str(file.seed),
        "block size (--batch-size)": str(file.block_size),
        "metrics": ",".join(file.metrics),
        **{f"extractor {name}": digest_of(file.extractors[name])[:12] for name in file.extractors},
        **{f"extractor {name}": "unavailable" for name in file.unavailable},
        "--max-failures": str(file.max_failures),
        "--small-sets": str(file.small_sets),
        "device": str(origin.get("machine", {}).get("device", "")).partition(":")[0],
        "commit": f"{code.get('commit', '')[:12]}{' with changes' if code.get('dirty') else ''}",
        **{f"package {name}": version for name, version in origin.get("packages", {}).items()},
    }


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> str:
    """What differs, as 'NAME OTHER, not ONE' for each; empty where nothing does."""
    return "; ".join(
        f"{name} {other.get(name, 'none')}, not {one.get(name, 'none')}"
        for name in {**one, **other}
        if one.get(name) != other.get(name)
    )
