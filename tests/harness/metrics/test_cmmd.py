from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.random_weights import random_clip_state_dict
from harness.data import assets
from harness.data.digests import sha256_file
from harness.interfaces import GeneratedImages, Observations
from harness.interfaces.errors import Unavailable
from harness.metrics import cmmd
from harness.metrics.clip import ClipFeatures, load_clip
from harness.metrics.cmmd import cmmd_value
from harness.metrics.feature_scores import CMMD


def units(seed: int, count: int, shift: float = 0.0, width: int = 24) -> np.ndarray:
    """float32 (count, width) of length 1, as CLIP's embeddings crowded in one direction."""
    rows = np.random.default_rng(seed).normal(size=(count, width))
    rows[:, 0] += 4
    rows[:, 1] += shift
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def by_the_paper(x: np.ndarray, y: np.ndarray) -> float:
    """Means of the Gaussian kernel over all pairs, in float64, times 1,000."""
    x, y = x.astype(np.float64), y.astype(np.float64)

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        squares = ((a[:, None] - b[None]) ** 2).sum(axis=-1)
        return float(np.exp(-squares / (2 * 10**2)).mean())

    return 1000 * (kernel(x, x) + kernel(y, y) - 2 * kernel(x, y))


@pytest.mark.parametrize("tile", [2048, 16])
def test_value_is_the_papers_formula(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cmmd, "_TILE", tile)
    x, y = units(0, 70), units(1, 53, shift=1)
    found = cmmd_value(x, y, paired=False)
    assert found.value == pytest.approx(by_the_paper(x, y), abs=1e-7)
    assert found.method == "jackknife over images"
    assert cmmd_value(x, x, paired=True).value == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("paired", [False, True])
def test_interval_is_the_jackknifes(paired: bool) -> None:
    x = units(0, 12)
    y = x + np.float32(0.1) * units(1, 12) if paired else units(1, 15, shift=1)
    variance = 0.0
    sides = [(x, y)] if paired else [(x, None), (None, y)]
    for first, second in sides:
        count = len(first if first is not None else second)
        left_out = [
            by_the_paper(
                x if first is None else np.delete(x, row, axis=0),
                y if second is None else np.delete(y, row, axis=0),
            )
            for row in range(count)
        ]
        variance += (count - 1) * np.var(left_out)
    found = cmmd_value(x, y, paired=paired)
    assert found.ci_high - found.value == pytest.approx(1.959964 * variance**0.5, rel=1e-4)


def test_bad_sets_are_named() -> None:
    x = units(0, 5)
    with pytest.raises(Unavailable, match="no interval of 2 images; 3 are"):
        cmmd_value(x[:2], x, paired=False)
    with pytest.raises(ValueError, match="pairs need equal counts"):
        cmmd_value(x, x[:4], paired=True)
    broken = x.copy()
    broken[1, 0] = np.nan
    with pytest.raises(ValueError, match="samples row 1 is not finite"):
        cmmd_value(x, broken, paired=True)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / assets.find("clip-l14-336").filename
    torch.save(random_clip_state_dict(0), path)
    stand_in = dataclasses.replace(assets.find("clip-l14-336"), sha256=sha256_file(path))
    monkeypatch.setitem(assets.ASSETS, "clip-l14-336", stand_in)
    monkeypatch.setenv("UWT_EVAL_ASSETS", str(tmp_path))
    return path


@pytest.mark.parity
def test_embeddings_are_those_of_openais_network(weights: Path, photos: np.ndarray) -> None:
    from torch_fidelity.feature_extractor_clip import build_model

    wide = np.ascontiguousarray(photos[:1, :200])
    columns = ClipFeatures({"inception": {}}, "cpu").observe(
        GeneratedImages(torch.zeros(1, 3, 200, 256), wide)
    )
    square = Image.fromarray(wide[0]).crop((28, 0, 228, 200))
    resized = np.asarray(square.resize((56, 56), Image.Resampling.BICUBIC))
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    pixels = (resized / 255 - np.array(mean)) / np.array(std)
    network = build_model(torch.load(weights), torch.float32)
    with torch.inference_mode():
        expected = network.visual(torch.from_numpy(pixels).float().permute(2, 0, 1)[None])
        expected /= expected.norm(dim=-1, keepdim=True)
    np.testing.assert_allclose(columns["reconstruction_clip_336"], expected, rtol=0, atol=1e-5)


def test_metric_reads_the_embeddings() -> None:
    x, y = units(0, 20), units(1, 20)
    seen = Observations(
        samples=None,  # type: ignore[arg-type]
        features={"reference_clip_336": x, "reconstruction_clip_336": y},
    )
    found = CMMD.score(seen, {})
    assert found.value == pytest.approx(by_the_paper(x, y), abs=1e-7)
    assert found.method == "jackknife over pairs"


def test_without_sets_weights_or_a_clip_there_are_no_embeddings(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no sets of images"):
        ClipFeatures({}, "cpu")
    with pytest.raises(Unavailable, match="weights 'clip-l14-336' missing"):
        ClipFeatures({"inception": {}}, "cpu")
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="none of OpenAI's CLIP files"):
        load_clip(tmp_path / "other.pt", "cpu")
