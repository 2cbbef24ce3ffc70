"""The side that is compared with: images, stored statistics, or both in one ADM file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.data.digests import DigestCache
from harness.data.images import DecodeRule
from harness.interfaces import OnProgress
from harness.interfaces.errors import UserError
from harness.metrics.feature_statistics import FeatureStatistics, load_statistics
from harness.sets.images import ImageSet, open_images


@dataclass(frozen=True)
class Reference:
    """Images where there are any, and feature statistics where they are stored."""

    label: str
    digest: str
    images: ImageSet | None
    pool: FeatureStatistics | None = None
    spatial: FeatureStatistics | None = None


def open_reference(
    place: str, rule: DecodeRule, on_progress: OnProgress | None = None
) -> Reference:
    """Open a folder, archive, data set or `.npz`; raise `UserError` for anything else.

    An `.npz` with `mu` and `sigma` (and `mu_s`, `sigma_s`), such as ADM's
    `VIRTUAL_imagenet256_labeled.npz`, gives statistics, and images too where it has `arr_0`.
    """
    path = Path(place).expanduser()
    names: set[str] = set()
    if path.suffix == ".npz" and path.is_file():
        try:
            with np.load(path, allow_pickle=False) as file:
                names = set(file.files)
            pool, spatial = load_statistics(path) if "mu" in names else (None, None)
        except (ValueError, OSError, KeyError, EOFError) as error:
            raise UserError(f"{path}: not a readable .npz reference ({error})") from error
        if pool is not None:
            images = open_images(place, rule) if "arr_0" in names else None
            digest = images.digest if images is not None else DigestCache().of_file(path)
            return Reference(path.name, digest, images, pool, spatial)
    images = open_images(place, rule, on_progress)
    return Reference(images.label, images.digest, images)
