"""CLIPScore of drawn pictures, with a small random CLIP in place of the published one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.random_weights import random_clip_state_dict
from harness.data import assets
from harness.data.digests import sha256_file
from harness.interfaces import Observations
from harness.interfaces.errors import Unavailable
from tasks.shared.clip_score import CLIP_COSINE, CLIP_SCORE, ClipScores
from tasks.shared.text_to_image import Drawing, DrawnImages

SETTINGS = {"images_per_prompt": 2}
PROMPTS = ["a red cube", "two dogs on a beach", "a red cube", " ".join(["very"] * 80) + " old"]


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / assets.find("clip-b32").filename
    torch.save(random_clip_state_dict(0), path)
    stand_in = dataclasses.replace(assets.find("clip-b32"), sha256=sha256_file(path))
    monkeypatch.setitem(assets.ASSETS, "clip-b32", stand_in)
    monkeypatch.setenv("UWT_EVAL_ASSETS", str(tmp_path))
    return path


def drawn() -> DrawnImages[None]:
    draws = np.random.default_rng(0)
    sizes = [(64, 64), (90, 61), (56, 56), (200, 210)]
    images = [draws.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    drawings = [Drawing(str(i), prompt, 0, None) for i, prompt in enumerate(PROMPTS)]
    return DrawnImages(images, drawings)


@pytest.mark.parity
def test_figures_are_torchmetrics_and_the_papers_of_the_same_model(weights: Path) -> None:
    import open_clip
    from PIL import Image
    from torchmetrics.functional.multimodal import clip_score

    network = open_clip.load_openai_model(str(weights), precision="fp32", device="cpu").eval()
    tokens = open_clip.get_tokenizer("ViT-B-32")
    transform = open_clip.image_transform(
        56, is_train=False, mean=network.visual.image_mean, std=network.visual.image_std
    )

    class Peer(torch.nn.Module):
        config = SimpleNamespace()

        def get_image_features(self, pixels: torch.Tensor) -> torch.Tensor:
            return network.encode_image(pixels)

        def get_text_features(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return network.encode_text(ids)

    def processor(text: Any = None, images: Any = None, **_: object) -> dict[str, torch.Tensor]:
        if text is not None:
            return {"input_ids": tokens(text), "attention_mask": torch.ones(1, 1)}
        pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
        return {"pixel_values": torch.stack([transform(picture) for picture in pictures])}

    given = drawn()
    columns = ClipScores(SETTINGS, "cpu").observe(given)
    for prefix, column, factor in (
        ("", "clip_cosine", 1.0),
        ("A photo depicts ", "clip_score", 40),
    ):
        for place, (image, drawing) in enumerate(zip(given.images, given.drawings, strict=True)):
            with torch.inference_mode():
                expected = clip_score(
                    torch.from_numpy(image).permute(2, 0, 1),
                    prefix + drawing.prompt,
                    model_name_or_path=lambda: (Peer(), processor),
                )
            # torchmetrics gives 0 for negative ones of either kind, the paper too.
            found = max(columns[column][place], 0)
            assert found * factor == pytest.approx(float(expected), abs=2e-4)


@pytest.mark.usefixtures("weights")
def test_pictures_and_prompts_do_not_depend_on_their_neighbours() -> None:
    given = drawn()
    extractor = ClipScores(SETTINGS, "cpu")
    together = extractor.observe(given)
    for place in range(4):
        alone = DrawnImages(given.images[place : place + 1], given.drawings[place : place + 1])
        for name, values in extractor.observe(alone).items():
            assert values[0] == pytest.approx(together[name][place], abs=1e-9)
    assert together["clip_cut"].tolist() == [0, 0, 0, 1]


def test_figures_are_means_over_pictures_with_intervals_over_prompts() -> None:
    rows = pd.DataFrame(
        {
            "id": ["a/0000", "a/0001", "b/0000", "b/0001"],
            "clip_score": [0.5, 0.7, 0.6, 0.8],
            "clip_cosine": [20.0, 28.0, 24.0, 32.0],
            "clip_cut": [0.0, 0.0, 1.0, 1.0],
        }
    )
    found = CLIP_SCORE.score(Observations(samples=rows), {})
    assert found.value == pytest.approx(0.65)
    assert found.method == "bootstrap over prompts"
    assert found.note == "CLIP reads 77 tokens: 2 of 4 prompts are cut"
    assert CLIP_COSINE.score(Observations(samples=rows), {}).value == pytest.approx(26)
    assert CLIP_SCORE.higher_is_better


@pytest.mark.usefixtures("weights")
def test_protocols_name_model_and_prefix() -> None:
    plain = ClipScores(SETTINGS, "cpu")
    assert plain.identity["prefix"] == "A photo depicts "
    bare = {**SETTINGS, "clip_score": {"model": "ViT-B-32", "prefix": ""}}
    columns = ClipScores(bare, "cpu").observe(drawn())
    np.testing.assert_allclose(
        columns["clip_score"], 2.5 * np.maximum(columns["clip_cosine"] / 100, 0), atol=1e-12
    )
    with pytest.raises(Unavailable, match="weights 'clip-l14' missing"):
        ClipScores({**SETTINGS, "clip_score": {"model": "ViT-L-14", "prefix": ""}}, "cpu")
    with pytest.raises(Unavailable, match="draws no prompts"):
        ClipScores({}, "cpu")
