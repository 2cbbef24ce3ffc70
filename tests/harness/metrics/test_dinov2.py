from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from benchmarks.random_weights import random_dinov2_state_dict
from harness.data import assets
from harness.data.digests import sha256_file
from harness.interfaces import ImagePairs, Observations
from harness.interfaces.errors import Unavailable
from harness.metrics.dinov2 import Dinov2Features, _positions, load_dinov2, prepared
from harness.metrics.feature_scores import FD_DINOV2, KD_DINOV2

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def planes(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def transformers_peer(state: dict[str, torch.Tensor]) -> torch.nn.Module:
    """The network as transformers writes it, with the same weights."""
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=1, image_size=224, patch_size=14
    )
    names = {
        "embeddings.cls_token": "cls_token",
        "embeddings.mask_token": "mask_token",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
        "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
        "layernorm.weight": "norm.weight",
        "layernorm.bias": "norm.bias",
    }

    def tensor(name: str) -> torch.Tensor:
        if name in names:
            return state[names[name]]
        block, part = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)", name).groups()
        kind = part.rpartition(".")[2]
        # Versions 4 and 5 call them differently.
        for place, called in enumerate(("query|q_proj", "key|k_proj", "value|v_proj")):
            if re.search(rf"\.({called})\.", part):
                return state[f"blocks.{block}.attn.qkv.{kind}"].chunk(3)[place]
        if re.search(r"\.(dense|o_proj)\.", part):
            return state[f"blocks.{block}.attn.proj.{kind}"]
        part = re.sub(r"layer_scale(\d)\.lambda1", r"ls\1.gamma", part)
        return state[f"blocks.{block}.{part}"]

    network = Dinov2Model(config)
    network.load_state_dict({name: tensor(name) for name in network.state_dict()})
    return network.eval()


@pytest.mark.parity
def test_features_are_those_of_transformers(photos: np.ndarray) -> None:
    state = random_dinov2_state_dict(0, grid=16)  # Trained on the grid of these images.
    images = prepared(planes(photos[:2]), "dgm-eval")
    with torch.inference_mode():
        found = load_dinov2(state).eval()(images)
        expected = transformers_peer(state)(images).pooler_output
    assert found.shape == (2, 64)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


def test_positions_are_resized_as_the_published_code_does_it() -> None:
    """Cubic convolution (a = -0.75) sampled at (x + 0.5) 37 / 16.1 - 0.5, edges repeated."""
    trained = random_dinov2_state_dict(0)["pos_embed"]
    found = _positions(trained)[0, 1:, 5].reshape(16, 16)
    grid = trained[0, 1:, 5].reshape(37, 37).double().numpy()

    def kernel(x: np.ndarray) -> np.ndarray:
        x = np.abs(x)
        near = 1.25 * x**3 - 2.25 * x**2 + 1
        far = -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)
        return np.where(x <= 1, near, np.where(x < 2, far, 0))

    at = (np.arange(16) + 0.5) * 37 / 16.1 - 0.5
    weights = np.zeros((16, 37))
    for row, x in enumerate(at):
        for place in np.floor(x) + np.arange(-1, 3):
            weights[row, int(np.clip(place, 0, 36))] += kernel(np.array(x - place))
    np.testing.assert_allclose(found, weights @ grid @ weights.T, rtol=0, atol=1e-5)
    assert torch.equal(_positions(trained)[:, :1], trained[:, :1])


@pytest.mark.parity
def test_input_is_that_of_dgm_eval_and_torch_fidelity(photos: np.ndarray) -> None:
    from torch_fidelity.interpolate_compat_tensorflow import (
        interpolate_bilinear_2d_like_tensorflow1x,
    )

    pictures = [*photos[:2], np.ascontiguousarray(photos[2, :100, :77])]
    normalise = transforms.Normalize(*_IMAGENET)
    plain = transforms.Compose(
        [
            transforms.Resize((224, 224), transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            normalise,
        ]
    )
    for picture in pictures:
        images = planes(picture[None])
        expected = plain(Image.fromarray(picture))
        np.testing.assert_allclose(prepared(images, "dgm-eval")[0], expected, rtol=0, atol=1e-6)
        channels = [
            np.asarray(
                Image.fromarray(picture[..., channel].astype(np.float32)).resize(
                    (224, 224), Image.Resampling.BICUBIC
                )
            )
            for channel in range(3)
        ]
        clean = normalise(torch.from_numpy(np.stack(channels)).clamp(0, 255) / 255)
        np.testing.assert_allclose(prepared(images, "dgm-eval-clean")[0], clean, rtol=0, atol=1e-5)
        resized = interpolate_bilinear_2d_like_tensorflow1x(
            images.float(), size=(224, 224), align_corners=False
        )
        bilinear = transforms.Normalize(*(tuple(255 * x for x in each) for each in _IMAGENET))
        np.testing.assert_allclose(
            prepared(images, "torch-fidelity"), bilinear(resized), rtol=0, atol=1e-5
        )


def test_distances_are_those_of_dgm_eval() -> None:
    from scipy import linalg

    draws = np.random.default_rng(0)
    x, y = (draws.normal(size=(n, 12)).astype(np.float32) for n in (300, 300))
    y = 1.2 * y + np.float32(0.3)
    seen = Observations(
        samples=None,  # type: ignore[arg-type]
        features={"reference_dinov2": x, "reconstruction_dinov2": y},
        small_sets=True,
    )
    sides = [(each.mean(0), np.cov(each.astype(float), rowvar=False)) for each in (x, y)]
    (mean_x, cov_x), (mean_y, cov_y) = sides
    root = linalg.sqrtm(cov_x @ cov_y).real
    expected = ((mean_x - mean_y) ** 2).sum() + np.trace(cov_x + cov_y - 2 * root)
    found = FD_DINOV2.score(seen, {})
    assert found.value == pytest.approx(expected, rel=1e-6)
    assert found.ci_low < found.value < found.ci_high

    rule = {"subsets": 20, "subset_size": 50, "seed": 7}
    legacy, values = np.random.RandomState(7), []
    for _ in range(20):
        a, b = (each[legacy.choice(300, 50, replace=False)].astype(float) for each in (x, y))
        within = [(u @ u.T / 12 + 1) ** 3 for u in (a, b)]
        own = sum((kernel.sum() - np.trace(kernel)) / (50 * 49) for kernel in within)
        values.append(own - 2 * ((a @ b.T / 12 + 1) ** 3).mean())
    found = KD_DINOV2.score(seen, {"kid": rule})
    assert found.value == pytest.approx(np.mean(values), rel=1e-5)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / assets.find("dinov2").filename
    torch.save(random_dinov2_state_dict(0), path)
    stand_in = dataclasses.replace(assets.find("dinov2"), sha256=sha256_file(path))
    monkeypatch.setitem(assets.ASSETS, "dinov2", stand_in)
    monkeypatch.setenv("UWT_EVAL_ASSETS", str(tmp_path))
    return path


@pytest.mark.usefixtures("weights")
def test_extractor_gives_both_sides_and_names_its_rule(
    photos: np.ndarray, degraded: np.ndarray
) -> None:
    floats = torch.zeros(2, 3, 256, 256)
    extractor = Dinov2Features({"inception": {}}, "cpu")
    columns = extractor.observe(ImagePairs(floats, floats, photos[:2], degraded[:2]))
    assert {name: rows.shape for name, rows in columns.items()} == {
        "reference_dinov2": (2, 64),
        "reconstruction_dinov2": (2, 64),
    }
    other = Dinov2Features({"inception": {}, "dinov2": {"input": "torch-fidelity"}}, "cpu")
    assert extractor.identity["input"] == "dgm-eval"
    assert other.network_identity != extractor.network_identity


def test_without_sets_or_weights_there_are_no_features() -> None:
    with pytest.raises(Unavailable, match="no sets of images"):
        Dinov2Features({}, "cpu")
    with pytest.raises(Unavailable, match="weights 'dinov2' missing"):
        Dinov2Features({"inception": {}}, "cpu")
    with pytest.raises(ValueError, match="none of DINOv2"):
        load_dinov2({"fc.weight": torch.zeros(1)})
