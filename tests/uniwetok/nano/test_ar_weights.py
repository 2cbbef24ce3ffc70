"""The class-to-image model that ships: its size, what it draws, and what puts it there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from benchmarks.nano import ship as shipping
from benchmarks.nano.ship import LARGEST_AR, ship_ar
from harness.engine.models import ModelChoice
from harness.interfaces.errors import UserError
from uniwetok.ar import BitDance
from uniwetok.nano import AR_WEIGHTS, GUIDANCE, WEIGHTS
from uniwetok.plugins.ar import UniWeTokAR, UniWeTokARNano
from uniwetok.presets import get_ar


@pytest.fixture(scope="module")
def nano() -> UniWeTokARNano:
    model = UniWeTokARNano(steps=12)
    model.load("cpu")
    return model


def test_the_weights_are_those_of_the_preset_and_small() -> None:
    assert BitDance.from_checkpoint(AR_WEIGHTS).config == get_ar("nano-ar").config.model
    files = sum(path.stat().st_size for path in AR_WEIGHTS.iterdir())
    assert files <= LARGEST_AR
    with safe_open(AR_WEIGHTS / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118


def test_images_follow_the_class(nano: UniWeTokARNano) -> None:
    assert nano.card.title == f"uniwetok-ar-nano?cfg={GUIDANCE:g}&steps=12&schedule=constant"
    labels = [nano.class_names.index(name) for name in ("underwater", "flower")]
    seeds = [0, 1]
    blue = []
    for label in labels:
        codes = nano.sample([label] * len(seeds), seeds)
        assert len({code.payload for code in codes}) == len(seeds)
        assert {(code.bits, code.height, code.width) for code in codes} == {(8192, 256, 256)}
        red, _, most_blue = nano.decode(codes, seeds).mean((0, 2, 3)).tolist()
        blue.append(most_blue - red)
    assert blue[0] > blue[1] + 0.2, "the sea is bluer than flowers"


def test_names_must_be_as_many_as_classes(tmp_path: Path) -> None:
    shutil.copytree(AR_WEIGHTS, tmp_path / "model")
    with (tmp_path / "model" / "classes.txt").open("a") as file:
        file.write("unicorn\n")
    model = ModelChoice.parse(f"uniwetok-ar:{tmp_path / 'model'}?tokenizer={WEIGHTS}").build()
    assert isinstance(model, UniWeTokAR)
    with pytest.raises(UserError, match=r"classes\.txt has 56 names for 55 classes"):
        _ = model.class_names
    (tmp_path / "model" / "classes.txt").unlink()
    again = ModelChoice.parse(f"uniwetok-ar:{tmp_path / 'model'}?tokenizer={WEIGHTS}").build()
    assert isinstance(again, UniWeTokAR)
    assert again.class_names == ()


def test_shipping_again_gives_the_same(tmp_path: Path) -> None:
    size = ship_ar(AR_WEIGHTS, tmp_path / "weights")
    assert size <= LARGEST_AR
    for path in AR_WEIGHTS.iterdir():
        assert (tmp_path / "weights" / path.name).read_bytes() == path.read_bytes()


def test_what_does_not_fit_is_not_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(AR_WEIGHTS, tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").write_text(json.dumps({"encoder_sha256": "0" * 64}))
    with pytest.raises(ValueError, match="not trained on the codes of the tokenizer"):
        ship_ar(tmp_path / "model", tmp_path / "weights")
    monkeypatch.setattr(shipping, "read_table", lambda: {"cat": ("cat",)})
    with pytest.raises(ValueError, match="has 55 classes, not 1"):
        ship_ar(AR_WEIGHTS, tmp_path / "weights")
    monkeypatch.setattr(shipping, "LARGEST_AR", 1000)
    with pytest.raises(ValueError, match="MB in float16"):
        ship_ar(AR_WEIGHTS, tmp_path / "weights")
    assert not (tmp_path / "weights").exists()
