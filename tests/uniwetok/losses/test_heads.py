from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from uniwetok.losses import DistillationConfig
from uniwetok.losses.distillation import PrePostDistillation
from uniwetok.losses.heads import HeadsCard, load_heads, save_heads

CHANNELS, WIDTH = 16, 32
ATTENTION = DistillationConfig(head="attention", attention_heads=4, post_weight=0.5)


@pytest.fixture
def heads() -> PrePostDistillation:
    torch.manual_seed(0)
    return PrePostDistillation(ATTENTION, CHANNELS, WIDTH)


@pytest.fixture
def folder(heads, tmp_path) -> Path:
    path = tmp_path / "model"
    save_heads(path, heads, teacher="ViT", tag="webli")
    return path


def test_saved_heads_come_back(heads, folder):
    loaded, card = load_heads(folder)
    assert card == HeadsCard(
        teacher="ViT", tag="webli", width=WIDTH, channels=CHANNELS, config=ATTENTION
    )
    assert not loaded.training
    latents = torch.randn(2, CHANNELS, 2, 2)
    assert loaded.pre(latents).equal(heads.pre(latents))
    assert loaded.post(latents).equal(heads.post(latents))
    assert sorted(path.name for path in folder.iterdir()) == [
        "distillation.json",
        "distillation.safetensors",
    ]


def test_one_head_without_a_tag(tmp_path):
    heads = PrePostDistillation(DistillationConfig(pre=False), CHANNELS, WIDTH)
    save_heads(tmp_path, heads, teacher="efficientnet-lite0", tag=None)
    loaded, card = load_heads(tmp_path)
    assert loaded.pre is None
    assert loaded.post is not None
    assert card.tag is None


def test_saving_over_the_files_that_were_loaded(heads, folder):
    save_heads(folder, load_heads(folder)[0], teacher="ViT", tag=None)
    latents = torch.randn(2, CHANNELS, 2, 2)
    assert load_heads(folder)[0].pre(latents).equal(heads.pre(latents))


def test_a_write_that_fails_leaves_the_old_files(heads, folder, monkeypatch):
    def full(_: object, path: Path, **__: object) -> None:
        path.write_bytes(b"half a file")
        raise OSError("no space left")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="no space"):
        save_heads(folder, heads, teacher="another", tag=None)
    loaded, card = load_heads(folder)
    assert card.teacher == "ViT"
    latents = torch.randn(2, CHANNELS, 2, 2)
    assert loaded.post(latents).equal(heads.post(latents))


@pytest.mark.parametrize("name", ["distillation.json", "distillation.safetensors"])
def test_missing_files(folder, name):
    (folder / name).unlink()
    with pytest.raises(ValueError, match=rf"{name}: no such file; heads are saved by training"):
        load_heads(folder)


def test_truncated_weights(folder):
    path = folder / "distillation.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="not a safetensors file, or damaged; fetch it again"):
        load_heads(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 8}, r"26 tensors do not fit: pre\.query \(file \(1, 1, 32\), model"),
        ({"config": {"post": False}}, "tensors do not fit: .*not of these heads"),
        ({"width": 33}, "attention_heads=4 does not divide the teacher's width 33"),
        ({"width": "32"}, "width='32' must be a whole number of at least 1"),
        ({"teacher": None}, "teacher must be a string"),
        ({"depth": 1}, r"missing fields \[\], unknown \['depth'\]"),
        ({"config": {"head": "mlp"}}, "head='mlp' is unknown"),
        ({"config": {"depth": 1}}, "unexpected keyword argument 'depth'"),
        ({"config": None}, "not a card of heads: TypeError"),
    ],
)
def test_cards_that_do_not_fit(folder, change, message):
    path = folder / "distillation.json"
    values = json.loads(path.read_text())
    if isinstance(change.get("config"), dict):
        change = {"config": values["config"] | change["config"]}
    path.write_text(json.dumps(values | change))
    with pytest.raises(ValueError, match=message) as caught:
        load_heads(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_damaged_cards(folder, content):
    (folder / "distillation.json").write_text(content)
    with pytest.raises(ValueError, match=r"distillation.json: not a card of heads: \w+Error"):
        load_heads(folder)


def test_incomplete_weights(folder):
    path = folder / "distillation.safetensors"
    kept = {name: value.clone() for name, value in load_file(path).items() if "query" not in name}
    save_file(kept, path)
    with pytest.raises(ValueError, match=r"2 tensors do not fit: pre.query \(missing\), post.quer"):
        load_heads(folder)
