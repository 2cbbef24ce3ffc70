"""Runs of protocols that differ in later stages only share what they have in common.

Every protocol has a run directory and a record of its own. What a new one would make again, because
only its scoring or observing differs, is linked from the run beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.data.blocks import blocks
from harness.data.image_files import SAMPLES_FILE
from harness.data.store import Store
from harness.engine.plan import RunFile, read_run_file
from harness.interfaces.errors import UserError
from harness.interfaces.types import Stage

_OUTPUTS = ("outputs", "images", "pictures", SAMPLES_FILE)
"""What `generate` leaves, with the pictures that are made of it."""


def share(store: Store, file: RunFile) -> None:
    """Link the outputs, and the observations where they are the same, into a run that is new."""
    for root, twin in twins(store.root, file):
        store.adopt(root, _OUTPUTS)
        if twin.protocol.digests[Stage.OBSERVE] == file.protocol.digests[Stage.OBSERVE]:
            store.adopt(root, ["observations"])
            if twin.reference == file.reference:
                store.adopt(root, [file.reference_file])


def twins(root: Path, file: RunFile) -> Iterator[tuple[Path, RunFile]]:
    """Runs beside `root` with the very same outputs; none where there is a run at `root` already.

    Outputs are found by their keys, which hold task, model, samples, seed and what of the protocol
    is about generating. The first block is looked for before a run's file is read.
    """
    if (root / "run.json").is_file():
        return
    cut = blocks(file.samples, file.block_size)
    keys = [file.output_key(block) for block in cut]
    for found in sorted(root.parent.glob(f"{file.task}-*/run.json")):
        if not Store(found.parent).has_part("outputs", 0, keys[0], len(cut[0])):
            continue
        try:
            twin = read_run_file(found.parent)
        except UserError:
            continue  # It was left by another version.
        if keys == [twin.output_key(block) for block in blocks(twin.samples, twin.block_size)]:
            yield found.parent, twin
