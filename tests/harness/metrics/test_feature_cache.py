"""Reference features on disk: same bits as computed ones, and never in the way."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.random_weights import random_inception_state_dict
from harness.data import assets
from harness.interfaces import Columns, ImagePairs
from harness.metrics import feature_cache
from harness.metrics.extractors import Inception, inception_logits, inception_spatial
from harness.metrics.feature_cache import FeatureCache
from harness.metrics.inception import InceptionFeatures
from tests.damage import flips

KEY = "ab" + 62 * "0"


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "features", {"weights": "w", "device": "cpu"})


def features(rows: int = 4) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, 6)).astype(np.float32)


def file_of(cache: FeatureCache) -> Path:
    (path,) = cache._folder.glob("*/*.npz")
    return path


def test_what_was_saved_is_loaded_bit_for_bit(cache: FeatureCache) -> None:
    assert cache.load(KEY, "pool3", 4) is None
    cache.save(KEY, "pool3", features())
    loaded = cache.load(KEY, "pool3", 4)
    assert loaded is not None
    np.testing.assert_array_equal(loaded, features())
    assert cache.load(KEY, "spatial", 4) is None
    assert not list(cache._folder.glob("**/*.tmp"))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def pickle(path: Path) -> None:
    np.savez(path, features=np.array([{}], dtype=object))


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        pickle,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK something else"),
        lambda path: np.savez(path, features=np.zeros((4, 6))),
        lambda path: np.savez(path, features=np.zeros((3, 6), np.float32)),
        lambda path: np.savez(path, features=np.zeros(4, np.float32)),
        lambda path: np.savez(path, others=np.zeros((4, 6), np.float32)),
    ],
)
def test_a_damaged_file_is_no_hit_and_is_replaced(
    cache: FeatureCache, damage: Callable[[Path], object]
) -> None:
    cache.save(KEY, "pool3", features())
    damage(file_of(cache))
    assert cache.load(KEY, "pool3", 4) is None
    cache.save(KEY, "pool3", features())
    assert cache.load(KEY, "pool3", 4) is not None


def test_a_flipped_bit_is_no_hit_or_changes_nothing(cache: FeatureCache) -> None:
    cache.save(KEY, "pool3", features())
    path = file_of(cache)
    for _ in flips(path):
        loaded = cache.load(KEY, "pool3", 4)
        assert loaded is None or loaded.tobytes() == features().tobytes()


def test_a_folder_that_cannot_be_written_is_silent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = FeatureCache(tmp_path / "file" / "features", {})
    cache.save(KEY, "pool3", features())
    assert cache.load(KEY, "pool3", 4) is None


def test_a_full_disk_is_silent_and_leaves_nothing(
    cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    cache.save(KEY, "pool3", features())
    assert [path for path in cache._folder.rglob("*") if path.is_file()] == []


def test_files_used_longest_ago_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{i:02d}" + 62 * "0" for i in range(4)]
    old = FeatureCache(tmp_path, {})
    for name in names:
        old.save(name, "pool3", features())
    size = old._path(names[0], "pool3").stat().st_size
    for seconds, name in enumerate(names):
        os.utime(old._path(name, "pool3"), (seconds, seconds))
    assert old.load(names[0], "pool3", 4) is not None  # Now it is the one used last.
    monkeypatch.setattr(feature_cache, "LIMIT", 2 * size)
    FeatureCache(tmp_path, {}).save("ff" + 62 * "0", "pool3", features())
    kept = [name for name in names if old.load(name, "pool3", 4) is not None]
    assert kept == [names[0], names[3]]


def test_keys_tell_images_shapes_and_identities_apart(tmp_path: Path) -> None:
    images = torch.arange(48, dtype=torch.uint8).reshape(1, 3, 4, 4)
    floats = images.double().div(127.5).sub(1).float()
    variants: list[tuple[Any, torch.Tensor]] = [
        ({"a": 1}, images),
        ({"a": 2}, images),
        ({"a": 1}, images.reshape(1, 3, 2, 8)),
        ({"a": 1}, images + 1),
        ({"a": 1}, floats),
        ({"a": 1}, floats + 1e-6),
    ]
    keys = {FeatureCache(tmp_path, identity).key(given) for identity, given in variants}
    assert len(keys) == len(variants)
    assert FeatureCache(tmp_path, {"a": 1}).key(images.clone()) in keys


def test_floats_that_are_levels_are_hashed_as_levels() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    floats = (levels.double() / 127.5 - 1).float()
    assert torch.equal(feature_cache._levels(floats), levels)
    assert torch.equal(feature_cache._levels(floats + 1e-6), floats + 1e-6)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "inception.pth"
    torch.save(random_inception_state_dict(0), path)
    monkeypatch.setattr(assets, "locate", lambda name: path)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each run of the network got."""
    counts: list[int] = []
    extract = InceptionFeatures.extract

    def counting(network: InceptionFeatures, prepared: torch.Tensor) -> Any:
        counts.append(len(prepared))
        return extract(network, prepared)

    monkeypatch.setattr(InceptionFeatures, "extract", counting)
    return counts


def pairs(noise: int, side: int = 64) -> ImagePairs:
    random = np.random.default_rng(0)
    reference = random.integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    wobble = np.random.default_rng(noise).integers(-20, 21, reference.shape)
    reconstruction = np.clip(reference.astype(int) + wobble, 0, 255).astype(np.uint8)

    def floats(images: np.ndarray) -> torch.Tensor:
        scaled = torch.from_numpy(images.astype(np.float64) / 127.5 - 1)
        return scaled.float().permute(0, 3, 1, 2).contiguous()

    return ImagePairs(floats(reference), floats(reconstruction), reference, reconstruction)


def settings(rule: str) -> dict[str, Any]:
    return {"inception": {"input": rule, "tap": "pool3"}}


def assert_equal(first: Columns, second: Columns) -> None:
    assert list(first) == list(second)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.parametrize("rule", ["wetok", "torch-fidelity"])
@pytest.mark.usefixtures("weights")
def test_a_hit_gives_the_same_bits_and_spares_the_network(rule: str, seen: list[int]) -> None:
    cold = Inception(settings(rule), "cpu").observe(pairs(1))
    assert seen == [2, 2]
    warm = Inception(settings(rule), "cpu").observe(pairs(1))
    assert seen == [2, 2, 2]
    assert_equal(cold, warm)
    other = Inception(settings(rule), "cpu").observe(pairs(2))
    assert seen == [2, 2, 2, 2]
    np.testing.assert_array_equal(cold["reference_pool3"], other["reference_pool3"])
    assert (cold["reconstruction_pool3"] != other["reconstruction_pool3"]).any()


@pytest.mark.usefixtures("weights")
def test_a_damaged_hit_is_computed_again(tmp_path: Path, seen: list[int]) -> None:
    cold = Inception(settings("wetok"), "cpu").observe(pairs(1))
    (path,) = (tmp_path / "cache" / "features").glob("*/*.npz")
    truncate(path)
    assert_equal(cold, Inception(settings("wetok"), "cpu").observe(pairs(1)))
    assert seen == [2, 2, 2, 2]


@pytest.mark.usefixtures("weights")
def test_rules_do_not_share_files(seen: list[int]) -> None:
    for rule in ("torch-fidelity", "clean"):
        Inception(settings(rule), "cpu").observe(pairs(1))
    assert seen == [2, 2, 2, 2]


@pytest.mark.usefixtures("weights")
def test_several_outputs_take_one_run_of_the_network(seen: list[int]) -> None:
    rule = settings("torch-fidelity")
    alone = Inception(rule, "cpu").observe(pairs(1))
    seen.clear()
    pool3, spatial, logits = (
        make(rule, "cpu") for make in (Inception, inception_spatial, inception_logits)
    )
    block = pairs(1)
    together = pool3.observe(block)
    spatial_columns, logit_columns = spatial.observe(block), logits.observe(block)
    # The spatial features of the originals were not on disk, so these ran once more.
    assert seen == [2, 2]
    assert_equal(alone, together)
    assert {name: rows.shape for name, rows in spatial_columns.items()} == {
        "reference_spatial": (2, 2023),
        "reconstruction_spatial": (2, 2023),
    }
    assert {name: rows.shape for name, rows in logit_columns.items()} == {
        "reconstruction_logits": (2, 1008)
    }
    assert pool3.identity == spatial.identity == logits.identity


@pytest.mark.usefixtures("weights")
def test_a_finished_block_is_let_go() -> None:
    pool3 = Inception(settings("wetok"), "cpu")
    pool3.observe(pairs(1))
    assert pool3.shared._lane.pairs is None


@pytest.mark.usefixtures("weights")
def test_within_a_block_an_input_is_seen_once_whatever_its_rule_is_called(seen: list[int]) -> None:
    alone = [Inception(settings(rule), "cpu").observe(pairs(1)) for rule in ("adm", "clean")]
    seen.clear()
    with feature_cache.inputs_seen_once() as inputs:
        adm, clean, again = (
            Inception(settings(rule), "cpu").observe(pairs(1))
            for rule in ("adm", "clean", "torch-fidelity")
        )
        assert_equal(adm, again)
        Inception(settings("adm"), "cpu").observe(pairs(2))
    assert inputs.inputs == sum(seen) == 10  # Only what was made of the originals is another.
    for found, expected in zip((adm, clean), alone, strict=True):
        assert_equal(found, expected)
