"""Class-to-image generation through the command line: images kept, resumed, compared as a set."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from harness.interfaces import Code
from harness.registry import MODELS
from harness.types import ModelCard
from tasks.gen import IMAGENET_GEN
from tasks.gen_protocol import GenSettings
from tests.conftest import CommandLine

SIDE = 24


class Colours:
    """Every class is a colour, every seed its brightness."""

    classes = 1000

    def __init__(self, drawn: list[int], broken: set[int]) -> None:
        self._drawn = drawn
        self._broken = broken
        self.card = ModelCard(name="colours")

    def load(self, device: str) -> None:
        pass

    def sample(self, classes: Sequence[int], seeds: Sequence[int]) -> list[Code]:
        if self._broken & set(classes):
            raise ArithmeticError("no such colour")
        self._drawn.extend(classes)
        pairs = zip(classes, seeds, strict=True)
        return [Code(bytes([c % 256, c // 256, s % 251]), SIDE, SIDE) for c, s in pairs]

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        colours = torch.tensor([list(code.payload) for code in codes]) / 127.5 - 1
        return colours[:, :, None, None].expand(-1, -1, SIDE, SIDE).float()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Offers the model `colours`; the classes that it drew."""
    drawn: list[int] = []
    models = {**MODELS._registered, "colours": functools.partial(Colours, drawn, set())}
    monkeypatch.setattr(MODELS, "_registered", models)
    return drawn


def command(out: Path, *more: object) -> tuple[object, ...]:
    given = ("--limit", "6", "--out", out, "--device", "cpu", "--json")
    return ("run", "imagenet-gen", "--model", "colours", *given, *more)


def test_the_protocols_samples() -> None:
    protocol = IMAGENET_GEN.protocol("adm")
    data = IMAGENET_GEN.open(None, protocol)
    samples = data.samples(None)
    assert len({sample.id for sample in samples}) == 50_000
    classes = np.array([data.load(sample) for sample in samples])
    assert (np.bincount(classes) == 50).all()
    assert (classes[:5000] == np.tile(np.arange(1000), 5)).all(), "each split holds every class"
    few = [data.load(sample) for sample in data.samples(3)]
    assert few == [0, 500, 999]


def test_pixels_round_half_up() -> None:
    settings = GenSettings.of(IMAGENET_GEN.protocol("adm").settings)
    levels = torch.arange(256)
    exact = (levels / 127.5 - 1).view(1, 16, 16).expand(3, -1, -1)
    assert (settings.to_uint8(exact)[..., 0].ravel() == levels.numpy()).all()
    beyond = torch.tensor([-2.0, 2.0, 0.0]).view(3, 1, 1)
    assert settings.to_uint8(beyond).ravel().tolist() == [0, 255, 128]


def test_all_images_are_kept_in_order(
    uwt_eval: CommandLine, tmp_path: Path, drawn: list[int]
) -> None:
    result = uwt_eval(*command(tmp_path))
    assert result.code == 0, result.err
    assert "no reference given" in result.err
    (root,) = tmp_path.glob("imagenet-gen-*")
    with np.load(root / "samples.npz") as file:
        images = file["arr_0"]
    assert (images.shape, images.dtype) == ((6, SIDE, SIDE, 3), np.uint8)
    classes = images[:, 0, 0, 0] + 256 * images[:, 0, 0, 1].astype(int)
    assert classes.tolist() == [0, 200, 400, 599, 799, 999]
    assert not (root / "images").exists()
    assert Image.open(root / "grid.png").width > 3 * 128
    (record,) = result.records
    assert set(record["metrics"]) == {"gfid", "sfid", "is", "precision", "recall"}
    drawn.clear()
    assert uwt_eval(*command(tmp_path)).code == 0
    assert drawn == [], "a finished run draws nothing again"


def test_a_class_that_fails_is_counted_and_tried_again(
    uwt_eval: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, drawn = {999}, list[int]()
    models = {**MODELS._registered, "colours": functools.partial(Colours, drawn, broken)}
    monkeypatch.setattr(MODELS, "_registered", models)
    result = uwt_eval(*command(tmp_path))
    assert result.code == 3
    assert result.records[0]["failures"] == {"model_error": 1}
    (root,) = tmp_path.glob("imagenet-gen-*")
    assert not (root / "samples.npz").exists()
    broken.clear()
    drawn.clear()
    assert uwt_eval(*command(tmp_path)).code == 0
    assert drawn == [799, 999], "its block alone is drawn again"
    with np.load(root / "samples.npz") as file:
        assert len(file["arr_0"]) == 6


def test_a_tokenizer_is_refused(uwt_eval: CommandLine, tmp_path: Path) -> None:
    result = uwt_eval(
        "run", "imagenet-gen", "--model", "identity", "--limit", "2", "--out", tmp_path
    )
    assert result.code == 2
    assert "draws no images of classes" in result.err


@pytest.mark.usefixtures("drawn")
def test_a_missing_reference_is_refused(uwt_eval: CommandLine, tmp_path: Path) -> None:
    result = uwt_eval(*command(tmp_path, "--data", tmp_path / "nowhere.npz"))
    assert result.code == 2
    assert "nowhere.npz" in result.err
