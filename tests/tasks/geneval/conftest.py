"""Tiny random networks in the places of the detector and the colour model."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

from tasks import PROTOCOLS

TINY_CLIP = {
    "embed_dim": 8,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {
        "context_length": 24,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 1,
    },
}


def tiny_detector() -> Mask2FormerForUniversalSegmentation:
    stages = [f"stage{number}" for number in range(1, 5)]
    backbone = SwinConfig(
        image_size=64,
        embed_dim=12,
        depths=[1, 1, 1, 1],
        num_heads=[1, 2, 3, 6],
        window_size=4,
        out_features=stages,
    )
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=64,
        encoder_layers=1,
        decoder_layers=3,
        dim_feedforward=64,
        num_attention_heads=2,
        num_queries=10,
        num_labels=80,
    )
    torch.manual_seed(0)
    return Mask2FormerForUniversalSegmentation(config).eval()


@pytest.fixture(scope="session")
def detector_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detector")
    tiny_detector().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def colour_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("colours")
    (folder / "tiny-clip.json").write_text(json.dumps(TINY_CLIP))
    open_clip.add_model_config(folder / "tiny-clip.json")
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-clip")
    with torch.no_grad():
        for values in model.parameters():
            values.normal_(0, 0.5)
        # What all inputs have in common would make them look alike.
        model.visual.class_embedding.zero_()
        model.token_embedding.weight[49407] = 0
        model.positional_embedding.mul_(0.1)
    save_file(model.state_dict(), folder / "tiny-clip.safetensors")
    return folder / "tiny-clip.safetensors"


@pytest.fixture
def tiny_protocol(tmp_path: Path, detector_folder: Path, colour_weights: Path) -> Path:
    """geneval-hf with the tiny networks, one picture a prompt; all that they see counts."""
    text = (PROTOCOLS / "geneval-hf.toml").read_text(encoding="utf-8")
    for old, new in (
        ('"facebook/mask2former-swin-small-coco-instance"', f'"{detector_folder}"'),
        ("images_per_prompt = 4", "images_per_prompt = 1"),
        ("self_check = true", "self_check = false"),
        ("threshold = 0.3", "threshold = 0.0"),
        ("threshold = 0.9", "threshold = 0.0"),
        ("ViT-L-14-quickgelu", "tiny-clip"),
        ('tag = "openai"', f'tag = "{colour_weights}"'),
    ):
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "tiny.toml"
    path.write_text(text, encoding="utf-8")
    return path
