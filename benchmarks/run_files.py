"""The file of a run that no model has made, for benchmarks of what is done with one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.engine.run_file import RunFile
    from harness.interfaces.types import ModelCard, Protocol


def run_file(
    names: Iterable[str],
    protocol: Protocol,
    model: ModelCard,
    extractors: Iterable[str],
    metrics: tuple[str, ...],
) -> RunFile:
    """A run of images of these names, in the blocks of a run on a GPU."""
    from harness.data.manifest import block_size
    from harness.engine.run_file import RunFile
    from harness.interfaces.types import Sample

    samples = tuple(
        Sample(id=name, index=index, sha256=f"{index:064x}") for index, name in enumerate(names)
    )
    return RunFile(
        run_id="run",
        task="imagenet-recon",
        task_version=1,
        protocol=protocol,
        model=model,
        dataset="random",
        dataset_digest="0" * 64,
        notice="",
        seed=0,
        block_size=block_size("cuda", len(samples)),
        max_failures=0,
        small_sets=False,
        metrics=metrics,
        extractors={name: {"version": 1} for name in extractors},
        unavailable={},
        samples=samples,
        provenance={},
    )
