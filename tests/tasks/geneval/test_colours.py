"""The colour classifier beside open_clip's own zero-shot classifier."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from harness.interfaces.errors import Unavailable, UserError
from tasks.geneval.colours import ColourClassifier
from tasks.geneval.prompts import COLOUR_TEMPLATES, COLOURS
from tasks.geneval.settings import ColourModel


def crops(count: int) -> list[Image.Image]:
    """Plain colours with a little noise, of many sizes."""
    random = np.random.default_rng(0)
    pictures = []
    for height, width in random.integers(3, 60, (count, 2)).tolist():
        colour = 255 * random.integers(0, 2, 3)
        noise = random.integers(-60, 60, (height, width, 3))
        pictures.append(Image.fromarray((colour + noise).clip(0, 255).astype(np.uint8)))
    return pictures


def test_agrees_with_open_clip(colour_weights: Path) -> None:
    model, _, transform = open_clip.create_model_and_transforms(
        "tiny-clip", pretrained=str(colour_weights)
    )
    templates = [
        lambda colour, form=form: form.format(colour=colour, name="wine glass")
        for form in COLOUR_TEMPLATES
    ]
    tokenizer = open_clip.get_tokenizer("tiny-clip")
    vectors = open_clip.build_zero_shot_classifier(model.eval(), tokenizer, COLOURS, templates)
    pictures = crops(24)
    with torch.inference_mode():
        seen = model.encode_image(
            torch.stack([transform(each) for each in pictures]), normalize=True
        )
        expected = [COLOURS[place] for place in (seen @ vectors).argmax(1).tolist()]
    classify = ColourClassifier(
        ColourModel(teacher="tiny-clip", tag=str(colour_weights), precision="amp"), "cpu"
    )
    assert classify(pictures, "wine glass") == expected
    assert len(set(expected)) > 1, "a classifier that says one thing only would pass"


def test_weights_that_are_not_there(tmp_path: Path, colour_weights: Path) -> None:
    with pytest.raises(Unavailable, match="run `hf download timm/vit_large_patch14_clip_224"):
        ColourClassifier(
            ColourModel(teacher="ViT-L-14-quickgelu", tag="openai", precision="amp"), "cpu"
        )
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(b"damaged")
    damaged = ColourModel(teacher="tiny-clip", tag=str(path), precision="amp")
    with pytest.raises(UserError, match="cannot be built from"):
        ColourClassifier(damaged, "cpu")(crops(1), "dog")
