"""Class-to-image generation through the command line: images kept, resumed, compared as a set."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from harness.data.images import to_uint8
from harness.interfaces import Code
from harness.interfaces.registry import MODELS
from harness.interfaces.types import ModelCard
from tasks import PROTOCOLS
from tasks.gen.data import GenSettings
from tasks.gen.task import IMAGENET_GEN
from tests.conftest import CommandLine
from tests.damage import flips

SIDE = 256


class Colours:
    """Every class is a colour, every seed its brightness."""

    classes = 1000

    def __init__(self, drawn: list[int], broken: set[int], side: int = SIDE) -> None:
        self.side = side
        self._drawn = drawn
        self._broken = broken
        self.card = ModelCard(name=type(self).__name__.lower())

    def load(self, device: str) -> None:
        pass

    def sample(self, classes: Sequence[int], seeds: Sequence[int]) -> list[Code]:
        if self._broken & set(classes):
            raise ArithmeticError("no such colour")
        self._drawn.extend(classes)
        pairs = zip(classes, seeds, strict=True)
        return [Code(bytes([c % 256, c // 256, s % 251]), self.side, self.side) for c, s in pairs]

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        colours = torch.tensor([list(code.payload) for code in codes]) / 127.5 - 1
        return colours[:, :, None, None].expand(-1, -1, self.side, self.side).float()


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
    assert (to_uint8(exact, settings.uint8)[..., 0].ravel() == levels.numpy()).all()
    beyond = torch.tensor([-2.0, 2.0, 0.0]).view(3, 1, 1)
    assert to_uint8(beyond, settings.uint8).ravel().tolist() == [0, 255, 128]


def test_all_images_are_kept_in_order(
    uwt_eval: CommandLine, tmp_path: Path, drawn: list[int]
) -> None:
    result = uwt_eval(*command(tmp_path))
    assert result.code == 0, result.err
    assert "no reference given" in result.err
    (root,) = tmp_path.glob("imagenet-gen-*")
    with np.load(root / "samples.npz") as file:
        images = file["arr_0"]
        assert file["arr_1"].dtype == np.int64
        assert file["arr_1"].tolist() == [0, 200, 400, 599, 799, 999]
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


def test_images_that_were_damaged_are_made_again(
    uwt_eval: CommandLine, tmp_path: Path, drawn: list[int]
) -> None:
    assert uwt_eval(*command(tmp_path)).code == 0
    (path,) = tmp_path.glob("imagenet-gen-*/samples.npz")
    whole = path.read_bytes()
    said = ""
    for _ in flips(path, 3):
        result = uwt_eval(*command(tmp_path))
        assert result.code == 0
        said += result.err
        with np.load(path) as file, np.load(io.BytesIO(whole)) as first:
            assert all((file[name] == first[name]).all() for name in ("arr_0", "arr_1"))
    assert len(drawn) == 6, "what the model gave is stored"
    assert f"{path} counts as missing" in said


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


def test_another_size_is_refused_unless_the_protocol_has_it(
    uwt_eval: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {**MODELS._registered, "colours": functools.partial(Colours, [], set(), 64)}
    monkeypatch.setattr(MODELS, "_registered", models)
    result = uwt_eval(*command(tmp_path / "runs"))
    assert result.code == 2
    assert "model 'colours' draws 64x64, this protocol compares 256x256: give" in result.err
    protocol = tmp_path / "mine.toml"
    protocol.write_text((PROTOCOLS / "adm.toml").read_text().replace("size = 256", "size = 64"))
    assert uwt_eval(*command(tmp_path / "runs", "--protocol", protocol)).code == 0


def test_a_tokenizer_is_refused(uwt_eval: CommandLine, tmp_path: Path) -> None:
    result = uwt_eval(
        "run", "imagenet-gen", "--model", "identity", "--limit", "2", "--out", tmp_path
    )
    assert result.code == 2
    assert "needs one that draws images of classes" in result.err


NAMED = """
title = "Seven colours"
[kind.c2i]
decode = { exif = "ignore", alpha = "drop", sixteen_bit = "clip" }
classes = 7
class_names = ["red", "orange", "yellow", "green", "blue", "indigo", "violet"]
samples_per_class = 2
order = "cycle"
uint8 = "half-up"
inception_score = { rule = "adm" }
kid = { subsets = 100, subset_size = 1000, seed = 2020 }
prc = { features = "pool3", k = 3, precision = "adm-fp16" }
[kind.c2i.inception]
weights = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
input = "adm"
tap = "pool3"
min_samples = 2048
"""


class Rainbow(Colours):
    """Colours with names, which are not ImageNet's classes."""

    classes = 7
    class_names = ("red", "orange", "yellow", "green", "blue", "indigo", "violet")

    def __init__(self, protocol: str | None = None) -> None:
        super().__init__([], set())
        if protocol is not None:
            self.protocols = {"imagenet-gen": protocol}


@pytest.fixture
def rainbow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Offers the model `rainbow`; the file of a protocol of its classes."""
    monkeypatch.setattr(MODELS, "_registered", {**MODELS._registered, "rainbow": Rainbow})
    path = tmp_path / "seven.toml"
    path.write_text(NAMED)
    return path


def test_a_model_of_other_classes_runs_under_its_own_protocol(
    uwt_eval: CommandLine, tmp_path: Path, rainbow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UWT_EVAL_IMAGENET_REFERENCE", str(tmp_path / "imagenet.npz"))
    titles: list[str] = []

    def grid(cells: Sequence[tuple[Image.Image, str]]) -> Image.Image:
        titles.extend(title for _, title in cells)
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr("tasks.gen.data.labelled_grid", grid)
    given = ("--limit", "3", "--out", tmp_path / "runs", "--device", "cpu", "--json")
    own = uwt_eval("run", "imagenet-gen", "--model", f"rainbow?protocol={rainbow}", *given)
    (record,) = own.records
    assert titles == ["0 red", "3 green", "6 violet"]
    assert "7 classes of its own, not ImageNet's" in own.err
    assert "no reference given" in own.err, "ImageNet's is not a reference for other classes"
    assert record["protocol_digest"] != IMAGENET_GEN.protocol("adm").digest
    assert all(metric["value"] is None for metric in record["metrics"].values())
    (again,) = uwt_eval(
        "run", "imagenet-gen", "--model", "rainbow", "--protocol", rainbow, *given
    ).records
    for fact in ("model_digest", "protocol_digest", "metrics"):
        assert record[fact] == again[fact]


@pytest.mark.usefixtures("drawn")
def test_classes_of_model_and_protocol_must_be_the_same(
    uwt_eval: CommandLine, tmp_path: Path, rainbow: Path
) -> None:
    for model, protocol, message in (
        ("rainbow", "adm", "'rainbow' has 7 classes, not the 1000 of this protocol, ImageNet's"),
        ("colours", "nano", "has 1000 classes, not the 55 of this protocol, 'amphitheatre' to"),
        ("rainbow", "nano", "has 7 classes, not the 55"),
    ):
        result = uwt_eval(
            "run", "imagenet-gen", "--model", model, "--protocol", protocol, "--limit", "2",
            "--out", tmp_path / "runs", "--device", "cpu",
        )  # fmt: skip
        assert result.code == 2
        assert message in result.err
    rainbow.write_text(NAMED.replace("classes = 7", "classes = 8"))
    result = uwt_eval(
        "run", "imagenet-gen", "--model", "rainbow", "--protocol", rainbow, "--limit", "2"
    )
    assert result.code == 2
    assert "class_names has 7 names for 8 classes" in result.err


def test_no_other_protocol_compares_with_imagenets() -> None:
    assert IMAGENET_GEN.spec.protocols == ("adm", "nano")
    adm, nano = (IMAGENET_GEN.protocol(name) for name in ("adm", "nano"))
    assert adm.digest != nano.digest


@pytest.mark.usefixtures("drawn")
def test_a_missing_reference_is_refused(uwt_eval: CommandLine, tmp_path: Path) -> None:
    result = uwt_eval(*command(tmp_path, "--data", tmp_path / "nowhere.npz"))
    assert result.code == 2
    assert "nowhere.npz" in result.err
