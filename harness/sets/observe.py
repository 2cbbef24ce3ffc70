"""What extractors see of sets of images: features of every image, measures of every pair."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd

from harness.data.images import to_device, to_float, to_host
from harness.data.manifest import blocks
from harness.engine.world import in_order, lanes_for, reproducible
from harness.interfaces import Columns, Extractor, ImagePairs, OnProgress
from harness.interfaces.errors import DecodeError, UserError, counted
from harness.interfaces.observing import Turn, Turns, on_device
from harness.metrics.extractors import FeatureExtractor
from harness.metrics.feature_cache import Rows, SharedNetwork
from harness.metrics.features import ReferenceFeatures
from harness.sets.images import ImageSet, Reference
from uwt_images.listing import IMAGE_SUFFIXES, suffix_of

if TYPE_CHECKING:
    from torch import Tensor

Result = TypeVar("Result")

BLOCK = 32
"""Images a network sees together; fixed, because on a GPU it decides the last bits."""
_PAIR_BLOCK = 8
_PIXELS_TOGETHER = 2**24
"""Most pixels of the images that a GPU prepares together: 400 MB of them in float64."""


class SizesDiffer(UserError):
    """The images of a pair differ in size."""


@dataclass(frozen=True)
class SetFeatures:
    """Features of the images that could be read, in the set's order."""

    ids: list[str]
    outputs: Mapping[str, np.ndarray]
    """float32 (n, width) by output name."""
    failures: Mapping[str, str]
    """Why images could not be read, by id."""


def reference_features(
    reference: Reference,
    extractors: Sequence[FeatureExtractor],
    device: str,
    on_progress: OnProgress | None = None,
) -> tuple[ReferenceFeatures, Mapping[str, str]]:
    """The reference's stored statistics and the features of its images, as far as there are any.

    Returns:
        What can be compared with, and why images could not be read, by id.

    Raises:
        UserError: No image can be read.
    """
    if reference.images is None or not extractors:
        return ReferenceFeatures({}, reference.statistics), {}
    found = observe_set(reference.images, extractors, device, on_progress)
    return ReferenceFeatures(found.outputs, reference.statistics), found.failures


def observe_set(
    images: ImageSet,
    extractors: Sequence[FeatureExtractor],
    device: str,
    on_progress: OnProgress | None = None,
) -> SetFeatures:
    """Features of all images by all extractors, computed where the cache has none.

    Raises:
        UserError: No image can be read, or features are not finite.
    """
    sharing: dict[SharedNetwork, list[FeatureExtractor]] = {}
    for extractor in extractors:
        sharing.setdefault(extractor.shared, []).append(extractor)
    turns = Turns(device)
    asked = [
        (shared, [each.output for each in users], turns.of(*users))
        for shared, users in sharing.items()
    ]
    failures: dict[str, str] = {}

    def work(block: range) -> Rows:
        found: Rows = {}
        for shared, outputs, turn in asked:
            found |= _features(images, block, shared, outputs, device, turn, failures)
        return found

    parts = in_lanes(work, len(images.ids), BLOCK, device, on_progress)
    ids = [name for name in images.ids if name not in failures]
    if not ids:
        raise UserError(f"{images.label}: none can be read of {counted(len(images.ids), 'image')}")
    joined = {
        output: np.concatenate([part[output] for part in parts if len(part[output])])
        for output in parts[0]
    }
    # The order of the set, whichever lane was the first to fail.
    failed = {name: failures[name] for name in images.ids if name in failures}
    return SetFeatures(ids, joined, failed)


def _features(
    images: ImageSet,
    block: range,
    shared: SharedNetwork,
    outputs: Sequence[str],
    device: str,
    turn: Turn,
    failures: dict[str, str],
) -> Rows:
    """Features of a block's readable images; notes the others in `failures`."""
    import torch

    def compute() -> Rows:
        loaded = []
        for index in block:
            try:
                loaded.append(images.load(index))
            except DecodeError as error:
                failures[images.ids[index]] = str(error)
        if not loaded:
            return {output: np.full((len(block), 1), np.nan, np.float32) for output in outputs}
        readable = [images.ids[index] not in failures for index in block]
        kept: Rows = {}
        with turn:
            network = shared.network()
        # Copied before its turn and read after it: the next block's work is queued meanwhile.
        inputs = list(_inputs(loaded, network.scaling, device))
        if device.startswith("cuda") and network.scaling == "byte":  # Floats are looked at first.
            inputs = [to_device(images, device) for images in inputs]
        with turn:
            prepared = [network.prepare(images) for images in inputs]
            features = network.extract(torch.cat(prepared))
        for output in outputs:
            rows = to_host(features[output])
            broken = ~np.isfinite(rows).all(axis=1)
            if broken.any():
                index = np.flatnonzero(readable)[int(broken.argmax())]
                name = images.ids[block[int(index)]]
                raise UserError(f"{images.label}: features of image {name!r} are not finite")
            kept[output] = np.full((len(block), rows.shape[1]), np.nan, np.float32)
            kept[output][readable] = rows
        return kept

    # In the cache an image that cannot be read is a row of NaN.
    key = shared.cache().key_of(f"{images.digest} {block.start} {block.stop}")
    found = shared.remembered(key, outputs, len(block), compute)
    lost = np.isnan(found[outputs[0]]).all(axis=1)
    for index in np.flatnonzero(lost):
        name = images.ids[block[int(index)]]
        if name not in failures:
            failures[name] = _why_unreadable(images, block[int(index)])
    return {output: rows[~lost] for output, rows in found.items()}


def _inputs(loaded: Sequence[np.ndarray], scaling: str, device: str) -> Iterator[Tensor]:
    """Stack images for a network to prepare: (n, 3, H, W), in [0, 1] where it takes floats.

    One by one on a processor, whose cache larger ones would leave; on a GPU, where every step of
    preparing is started apart, neighbours of one size at once.
    """
    import torch

    for shape, group in groupby(loaded, key=np.shape):
        most = 1 if device == "cpu" else max(1, _PIXELS_TOGETHER // (shape[0] * shape[1]))
        for some in blocks(list(group), most):
            images = torch.from_numpy(np.stack(some)).permute(0, 3, 1, 2)
            yield images.float() / 255 if scaling == "unit" else images


def _why_unreadable(images: ImageSet, index: int) -> str:
    try:
        images.load(index)
    except DecodeError as error:
        return str(error)
    return "could not be read when its features were kept: clear the cache"


def why_not_paired(reference: ImageSet, samples: ImageSet) -> str | None:
    """Why two sets do not pair by name, or None where they do."""
    endings = "".join(map(_why_endings_count, (reference, samples)))
    if len(reference.ids) != len(samples.ids):
        return (
            f"{reference.label} has {counted(len(reference.ids), 'image')} and {samples.label} "
            f"{len(samples.ids):,}{endings}"
        )
    known = set(samples.ids)
    lacking = next((name for name in reference.ids if name not in known), None)
    return None if lacking is None else f"{samples.label} has no image named {lacking!r}{endings}"


def _why_endings_count(images: ImageSet) -> str:
    """Two names of a set that differ in their endings alone; '' where there are none."""
    stems: dict[str, str] = {}
    for name in images.ids:
        suffix = suffix_of(name)
        if suffix in IMAGE_SUFFIXES:
            twin = stems.setdefault(name[: -len(suffix)], name)
            if twin != name:
                return (
                    f"; endings count in {images.label}, for it holds {twin!r} beside {name!r}: "
                    "rename or remove one"
                )
    return ""


def observe_pairs(
    reference: ImageSet,
    samples: ImageSet,
    extractors: Mapping[str, Extractor],
    device: str,
    on_progress: OnProgress | None = None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Observe every pair once with all extractors.

    Returns:
        One row a pair that could be read, in the reference's order; why others could not, by
        SET/IMAGE.

    Raises:
        SizesDiffer: The images of a pair, of which it names the first, differ in size.
    """
    places = {name: index for index, name in enumerate(samples.ids)}
    turns = Turns(device)
    taken = [turns.taking(extractor) for extractor in extractors.values()]
    there = device.startswith("cuda") and any(map(on_device, extractors.values()))
    place = device if there else "cpu"
    failures: dict[str, str] = {}

    def work(block: range) -> list[dict[str, float | str]]:
        loaded: dict[tuple[int, ...], list[tuple[int, np.ndarray, np.ndarray]]] = defaultdict(list)
        for index in block:
            name = reference.ids[index]
            side = reference
            try:
                first = reference.load(index)
                side = samples
                second = samples.load(places[name])
            except DecodeError as error:
                failures[f"{side.label}/{name}"] = str(error)
                continue
            if first.shape != second.shape:
                raise SizesDiffer(
                    f"image {name!r} is {first.shape[1]}x{first.shape[0]} in {reference.label} and "
                    f"{second.shape[1]}x{second.shape[0]} in {samples.label}: pairs need one size"
                )
            loaded[first.shape].append((index, first, second))
        rows: dict[int, dict[str, float | str]] = {}
        for group in loaded.values():
            originals = np.stack([first for _, first, _ in group])
            others = np.stack([second for _, _, second in group])
            pairs = ImagePairs(
                to_float(originals, place), to_float(others, place), originals, others
            )
            seen: list[Columns] = [item.observe(pairs) for item in taken]
            for row, (index, _, _) in enumerate(group):
                values = {name: float(c[name][row]) for c in seen for name in c}
                height, width = originals.shape[1:3]
                sized = {"id": reference.ids[index], "height": height, "width": width}
                rows[index] = {**sized, **values}
        return [rows[index] for index in sorted(rows)]

    parts = in_lanes(work, len(reference.ids), _PAIR_BLOCK, device, on_progress)
    table = [row for part in parts for row in part]
    return pd.DataFrame(table, columns=None if table else ["id"]), failures


def in_lanes(
    work: Callable[[range], Result],
    count: int,
    size: int,
    device: str,
    on_progress: OnProgress | None,
) -> list[Result]:
    """Work on blocks of `count` places, several at a time; results in order."""
    results = []
    places = range(count)
    jobs = (partial(work, places[start : start + size]) for start in places[::size])
    with reproducible(device) as cores:
        lanes = lanes_for(device, cores)
        with ThreadPoolExecutor(lanes) as pool, closing(in_order(pool, lanes, jobs)) as found:
            for result in found:
                results.append(result)
                if on_progress is not None:
                    on_progress(min(len(results) * size, count), count)
    return results
