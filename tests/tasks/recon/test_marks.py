"""Marks beside images: how they are read, moved with the image and told to extractors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.interfaces import ImageFiles
from harness.interfaces.errors import UserError
from harness.interfaces.registry import MODELS
from tasks.recon.data import Geometry
from tasks.recon.marks import Mark, MarkedImages, read_marks
from tasks.text.task import TEXT_RECON

HALVED = """
[settings]
decode = { exif = "apply", alpha = "white", sixteen_bit = "scale" }
[kind.recon-text]
uint8 = "round"
reference_uint8 = "as-decoded"
network_input = "uint8"
noise = "per-sample"
geometry = { resize = 64, crop = 64 }
text = { recogniser = "pp-ocrv6-small", place = "original" }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pages"
    (root / "deep").mkdir(parents=True)
    Image.new("RGB", (256, 128), "white").save(root / "a.png")
    Image.new("RGB", (128, 128), "white").save(root / "deep" / "b.png")
    lines = [
        {"file": "a.png", "text": "in", "box": [80, 10, 160, 40]},
        {"file": "a.png", "text": "cut off", "box": [0, 10, 80, 40]},
        {"file": "a.png", "text": "somewhere"},
    ]
    path = root / "transcripts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


def opened(folder: Path, protocol: str = "exact") -> MarkedImages:
    data = TEXT_RECON.open(str(folder), TEXT_RECON.protocol(protocol))
    assert isinstance(data, MarkedImages)
    return data


class Keeper:
    identity: dict[str, Any] = {}  # noqa: RUF012

    def observe(self, pairs: Any) -> dict[str, np.ndarray]:
        self.pairs = pairs
        return {"x": np.zeros(len(pairs.reference_uint8))}


def test_extractors_are_told_the_marks(folder: Path) -> None:
    data, keeper, model = opened(folder), Keeper(), MODELS.get("identity")()
    assert data.notice == "transcripts.jsonl says nothing of 1 images"
    model.load("cpu")
    for sample in data.samples(None):
        item = data.load(sample)
        codes = data.generate(model, [item], [0])
        data.observe({"keeper": keeper}, [item], data.render(model, codes, [0]))
        told = [mark.text for mark in keeper.pairs.marks[0]]
        assert told == (["in", "cut off", "somewhere"] if sample.id == "a.png" else [])


def test_marks_move_with_the_image_and_what_is_cut_off_is_no_mark(
    folder: Path, tmp_path: Path
) -> None:
    protocol = tmp_path / "halved.toml"
    protocol.write_text(HALVED)
    data = opened(folder, str(protocol))
    image, marks = data.load(data.samples(None)[0])
    assert image.shape == (64, 64, 3)
    # 256x128 became 128x64, of which 32 are cut off on either side.
    assert marks == [Mark("in", (8, 5, 48, 20)), Mark("somewhere")]


def test_points_move_as_pixels_do() -> None:
    geometry = Geometry(resize=64, crop=32)
    image = Image.new("RGB", (300, 200), "black")
    image.paste("white", (150, 100, 300, 200))
    moved = geometry.moved(np.array([[150.0, 100.0]]), 300, 200)[0]
    lit = np.argwhere(geometry.apply(image)[..., 0] > 127)
    assert lit.min(0)[::-1] == pytest.approx(moved, abs=1)


def test_a_changed_transcript_is_another_sample(folder: Path) -> None:
    before = opened(folder).samples(None)
    path = folder / "transcripts.jsonl"
    path.write_text(path.read_text().replace("somewhere", "elsewhere"))
    after = opened(folder).samples(None)
    assert [one.sha256 == two.sha256 for one, two in zip(before, after, strict=True)] == [
        False,
        True,
    ]


def test_without_a_file_nobody_marked_anything(folder: Path) -> None:
    (folder / "transcripts.jsonl").unlink()
    data = opened(folder)
    assert "no transcripts" in data.notice
    assert data.load(data.samples(None)[0])[1] is None


def test_reconstructions_made_elsewhere_have_their_originals_marks(
    folder: Path, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    made.mkdir()
    Image.new("RGB", (256, 128), "grey").save(made / "a.png")
    model: ImageFiles = MODELS.get("images")(made)
    model.load("cpu")
    data = TEXT_RECON.open_files(str(folder), TEXT_RECON.protocol("exact"), model)
    keeper, item = Keeper(), data.load(data.samples(None)[0])
    codes = data.generate(model, [item], [0])
    data.observe({"keeper": keeper}, [item], data.render(model, codes, [0]))
    assert len(keeper.pairs.marks[0]) == 3
    assert keeper.pairs.reconstruction_uint8[0, 0, 0, 0] == 128


def test_csv_with_sides(folder: Path) -> None:
    path = folder / "transcripts.csv"
    path.write_text('file,text,left,top,right,bottom\na.png,"a, b",1,2,30,40.5\na.png,c,,,,\n')
    assert read_marks(path, ["a.png"]) == {"a.png": [Mark("a, b", (1, 2, 30, 40.5)), Mark("c")]}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"file": "c.png", "text": "x"}', "'c.png' is none of the images"),
        ('{"text": "x"}', "None is none of the images"),
        ('{"file": ["a.png"]}', "is none of the images"),
        ('{"file": "a.png", "box": [1, 2, 3]}', "four numbers"),
        ('{"file": "a.png", "box": "full"}', "four numbers"),
        ('{"file": "a.png", "box": [9, 2, 3, 4]}', "right and bottom lie beyond"),
        ('{"file": "a.png", "box": [0, 0, 1e400, 4]}', "right and bottom lie beyond"),
        ('{"file": "a.png", "left": 3}', "four numbers"),
    ],
)
def test_lines_that_say_no_mark_are_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "transcripts.jsonl"
    path.write_text(f'{{"file": "a.png", "text": "right"}}\n{line}\n')
    with pytest.raises(UserError, match=said) as caught:
        read_marks(path, ["a.png"])
    assert "line 2" in str(caught.value)
