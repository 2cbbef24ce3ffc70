"""Weights for tests of network metrics: random, under the published files' names."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from benchmarks.random_weights import (
    random_clip_state_dict,
    random_dinov2_state_dict,
    random_inception_state_dict,
    random_trunk_state_dict,
)
from harness.data import assets
from harness.data.digests import sha256_file


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under the published file names."""
    folder = tmp_path_factory.mktemp("weights")
    states = {
        "inception": random_inception_state_dict(0),
        "alexnet": random_trunk_state_dict("alex", 0),
        "vgg16": random_trunk_state_dict("vgg", 0),
        "dists": dict.fromkeys(("alpha", "beta"), torch.ones(1, 1475, 1, 1)),
        "dinov2": random_dinov2_state_dict(0),
        "clip-l14-336": random_clip_state_dict(0),
        "clip-b32": random_clip_state_dict(1),
    }
    for name, state in states.items():
        torch.save(state, folder / assets.find(name).filename)
    return folder


@pytest.fixture(scope="session")
def stand_ins(weights: Path) -> dict[str, assets.Asset]:
    """The published files as the random ones are; a benchmark's prompts are not among them."""
    return {
        name: dataclasses.replace(asset, sha256=sha256_file(weights / asset.filename))
        for name, asset in assets.ASSETS.items()
        if (weights / asset.filename).is_file()
    }


@pytest.fixture
def provide_weights(
    weights: Path, stand_ins: dict[str, assets.Asset], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let the random weights pass for the published ones."""
    for name, stand_in in stand_ins.items():
        monkeypatch.setitem(assets.ASSETS, name, stand_in)
    monkeypatch.setenv("UWT_EVAL_ASSETS", str(weights))
