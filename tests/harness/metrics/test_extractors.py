"""A network of one's own as an extractor: its columns, its cache, and what it may not do."""

from __future__ import annotations

import gc
import weakref
from typing import ClassVar

import numpy as np
import pytest
import torch

from harness.interfaces import GeneratedImages, ImagePairs
from harness.metrics import extractors
from harness.metrics.extractors import FeatureExtractor
from harness.metrics.networks import ModuleNetwork


class Means(torch.nn.Module):
    """The mean of each channel; counts the images it sees."""

    seen = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        type(self).seen += len(images)
        return images.mean((2, 3))


class MeanFeatures(FeatureExtractor):
    output = "means"
    identity: ClassVar = {"version": 1}

    def build(self) -> ModuleNetwork:
        return ModuleNetwork(Means(), lambda images: images.float(), self.output, self.device)


class SpreadOut(FeatureExtractor):
    output = "maps"
    identity: ClassVar = {"version": 1}

    def build(self) -> ModuleNetwork:
        return ModuleNetwork(torch.nn.Identity(), torch.Tensor.float, self.output, self.device)


@pytest.fixture(autouse=True)
def fresh_count() -> None:
    Means.seen = 0


def levels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)


def pairs(seed: int = 1) -> ImagePairs:
    floats = torch.zeros(3, 3, 8, 8)
    return ImagePairs(floats, floats, levels(0), levels(seed))


def test_columns_are_the_networks_features_of_both_sides() -> None:
    columns = MeanFeatures({}, "cpu").observe(pairs())
    assert list(columns) == ["reference_means", "reconstruction_means"]
    for name, seed in (("reference_means", 0), ("reconstruction_means", 1)):
        np.testing.assert_allclose(columns[name], levels(seed).mean((1, 2)), rtol=1e-6)
        assert columns[name].dtype == np.float32


def test_generated_images_have_one_side() -> None:
    images = GeneratedImages(torch.zeros(3, 3, 8, 8), levels(2))
    assert list(MeanFeatures({}, "cpu").observe(images)) == ["reconstruction_means"]


def test_originals_are_seen_once_for_all_models() -> None:
    MeanFeatures({}, "cpu").observe(pairs(1))
    assert Means.seen == 6
    MeanFeatures({}, "cpu").observe(pairs(2))
    assert Means.seen == 9


def test_another_version_is_another_network(monkeypatch: pytest.MonkeyPatch) -> None:
    MeanFeatures({}, "cpu").observe(pairs())
    monkeypatch.setattr(MeanFeatures, "identity", {"version": 2})
    MeanFeatures({}, "cpu").observe(pairs())
    assert Means.seen == 12


def test_features_that_are_no_vectors_are_named() -> None:
    with pytest.raises(ValueError, match=r"maps: the module gives \(3, 3, 8, 8\), not \(B, d\)"):
        SpreadOut({}, "cpu").observe(pairs())


def test_a_network_goes_with_its_last_extractor() -> None:
    first, second = MeanFeatures({}, "cpu"), MeanFeatures({}, "cpu")
    assert first.shared is second.shared
    first.observe(pairs())
    shared = weakref.ref(first.shared)
    gc.disable()
    try:
        del first, second
        assert shared() is None
    finally:
        gc.enable()
    assert len(extractors._SHARED) == 0


def test_networks_outlive_their_extractors_while_models_follow_one_another() -> None:
    with extractors.networks_kept():
        first = weakref.ref(MeanFeatures({}, "cpu").shared)
        assert MeanFeatures({}, "cpu").shared is first()
    assert first() is None
    assert len(extractors._SHARED) == 0
