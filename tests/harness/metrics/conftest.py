"""Photos and random weights that the metric tests share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage import data

from benchmarks.random_weights import random_inception_state_dict

Images = NDArray[np.uint8]


@pytest.fixture(scope="session")
def photos() -> Images:
    """Eight real 256x256 photos, uint8 (8, 256, 256, 3)."""
    sources = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket()]
    crops = [image[:256, :256] for image in sources] + [image[-256:, -256:] for image in sources]
    return np.stack(crops)


@pytest.fixture(scope="session")
def degraded(photos: Images) -> Images:
    """The photos with noise, uint8 (8, 256, 256, 3)."""
    noise = np.random.default_rng(0).normal(0, 12, photos.shape)
    return np.clip(photos + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def inception_state() -> dict[str, torch.Tensor]:
    """Random Inception weights, the same in every test."""
    return random_inception_state_dict(0)


@pytest.fixture(scope="module")
def inception_file(
    inception_state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The random Inception weights as a file."""
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(inception_state, path)
    return path


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    """Few of them where nobody says how many: two workers' would wait for each other."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(2, os.cpu_count() or 1))
