"""The originals of those samples whose reconstructions were kept, where the data can be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from harness.commands.console import terminal
from harness.engine.progress import Progress
from harness.engine.run_file import RunFile, read_run_file
from harness.engine.shards import open_data
from harness.interfaces.errors import SampleFailure, UserError, one_line, warn
from harness.interfaces.registry import TASKS
from harness.interfaces.types import Sample
from reports.records import Loaded


def originals_of(
    runs: Sequence[Loaded], names: Iterable[str], data: str | None
) -> Mapping[str, Image.Image]:
    """What the models were given, by sample id; empty where it is no picture or not at hand.

    Args:
        runs: Run directories of the same samples.
        names: Ids of the samples that are wanted.
        data: Where the data lie; where the run's command had them if None.
    """
    wanted = set(names)
    record = runs[0].record
    if not wanted or record.task not in TASKS:
        return {}
    try:
        opened, samples = _opened(runs, data)
    except UserError as error:
        warn(f"{one_line(f'{record.task} · {record.dataset}')}: shown without originals: {error}")
        return {}
    found = {}
    for sample in (each for each in samples if opened is not None and each.id in wanted):
        try:
            pixels = opened.load(sample)
        except SampleFailure:
            continue  # The sample's status says so.
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
            break  # Classes and prompts: there is no original.
        found[sample.id] = Image.fromarray(pixels)
    return found


def _opened(runs: Sequence[Loaded], data: str | None) -> tuple[Any, Sequence[Sample]]:
    """The runs' data, if they are at hand, and their samples."""
    for root in (run.root for run in runs if run.root is not None):
        file = read_run_file(root)
        if "images" not in file.provenance:  # Others do not tell where their originals lie.
            place = data or next(given_to(file, "--data"), None)
            return open_data(file, place, Progress(terminal(stderr=True))), file.samples
    return None, ()


def given_to(file: RunFile, *options: str) -> Iterator[str]:
    """Values that a run's command gave to an option."""
    command = [str(word) for word in file.provenance.get("command", ())]
    for word, following in zip(command, [*command[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name in options:
            yield value if equals else following
