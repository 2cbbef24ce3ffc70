"""Pairs of images of one name in two sets: PSNR, SSIM and LPIPS, a row a pair."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from harness.data.images import to_float
from harness.data.manifest import blocks
from harness.engine.world import reproducible
from harness.interfaces import Columns, Extractor, ImagePairs, OnProgress
from harness.interfaces.errors import DecodeError, UserError
from harness.sets.images import ImageSet

_BLOCK = 8


def why_not_paired(reference: ImageSet, samples: ImageSet) -> str | None:
    """Why two sets do not pair by name, or None where they do."""
    if len(reference.ids) != len(samples.ids):
        return (
            f"{reference.label} has {len(reference.ids)} images and {samples.label} "
            f"{len(samples.ids)}"
        )
    known = set(samples.ids)
    lacking = next((name for name in reference.ids if name not in known), None)
    return None if lacking is None else f"{samples.label} has no image named {lacking!r}"


def observe_pairs(
    reference: ImageSet,
    samples: ImageSet,
    extractors: Mapping[str, Extractor],
    device: str,
    on_progress: OnProgress | None = None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Observe every pair once with all extractors.

    Returns:
        One row a pair that could be read, in the reference's order, and why others could not.

    Raises:
        UserError: The images of a pair differ in size.
    """
    places = {name: index for index, name in enumerate(samples.ids)}
    failures: dict[str, str] = {}

    def work(block: range) -> list[dict[str, float | str]]:
        loaded: dict[tuple[int, ...], list[tuple[int, np.ndarray, np.ndarray]]] = defaultdict(list)
        for index in block:
            name = reference.ids[index]
            try:
                first, second = reference.load(index), samples.load(places[name])
            except DecodeError as error:
                failures[name] = str(error)
                continue
            if first.shape != second.shape:
                raise UserError(
                    f"image {name!r} is {first.shape[1]}x{first.shape[0]} in {reference.label} and "
                    f"{second.shape[1]}x{second.shape[0]} in {samples.label}: pairs need one size"
                )
            loaded[first.shape].append((index, first, second))
        rows: dict[int, dict[str, float | str]] = {}
        for group in loaded.values():
            originals = np.stack([first for _, first, _ in group])
            others = np.stack([second for _, _, second in group])
            pairs = ImagePairs(to_float(originals), to_float(others), originals, others)
            seen: list[Columns] = [item.observe(pairs) for item in extractors.values()]
            for row, (index, _, _) in enumerate(group):
                values = {name: float(c[name][row]) for c in seen for name in c}
                rows[index] = {"id": reference.ids[index], **values}
        return [rows[index] for index in sorted(rows)]

    table: list[dict[str, float | str]] = []
    with reproducible(device) as lanes, ThreadPoolExecutor(lanes) as pool:
        todo = blocks(range(len(reference.ids)), _BLOCK)
        for done, rows in enumerate(pool.map(work, todo), 1):
            table += rows
            if on_progress is not None:
                on_progress(min(done * _BLOCK, len(reference.ids)), len(reference.ids))
    return pd.DataFrame(table, columns=None if table else ["id"]), failures
