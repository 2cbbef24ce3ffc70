"""Marks beside images: how they are read, moved with the image and told to extractors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from harness.data.sources import FolderSource
from harness.interfaces import ImageFiles
from harness.interfaces.errors import UserError
from harness.interfaces.registry import MODELS
from tasks.faces.task import FACE_RECON
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
    assert data.notice == "transcripts.jsonl says nothing of 1 image"
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
    assert read_marks(path, FolderSource(folder)) == {
        "a.png": [Mark("a, b", (1, 2, 30, 40.5)), Mark("c")]
    }


def refused(path: Path, root: Path, **options: bool) -> str:
    with pytest.raises(UserError) as caught:
        read_marks(path, FolderSource(root), **options)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"file": "c.png", "text": "x"}', "'c.png' is none of the images"),
        ('{"text": "x"}', "None is none of the images"),
        ('{"file": ["a.png"]}', "is none of the images"),
        ('{"file": "a.png", "box": [1, 2, 3]}', "four numbers"),
        ('{"file": "a.png", "box": []}', "four numbers"),
        ('{"file": "a.png", "box": "full"}', "four numbers"),
        ('{"file": "a.png", "box": "1234"}', "four numbers"),
        ('{"file": "a.png", "box": [9, 2, 3, 4]}', "right and bottom lie beyond"),
        ('{"file": "a.png", "box": [0, 0, 1e400, 4]}', "numbers must be finite"),
        ('{"file": "a.png", "box": [0, 0, 1%s, 4]}' % ("0" * 400), "numbers must be finite"),
        ('{"file": "a.png", "box": [NaN, 0, 9, 4]}', "numbers must be finite"),
        ('{"file": "a.png", "left": 3}', "four numbers"),
        ('{"file": "a.png", "left": 3, "box": [1, 2, 3, 4]}', "both there"),
        ('{"file": "a.png", "txt": "x"}', "unknown key 'txt': did you mean 'text'"),
        ('{"file": "a.png", "text": "x", "text": "y"}', "'text' is there 2 times"),
        ('{"file": "a.png", "text": 0}', "'text' is 0, expected a text"),
        ('{"file": "a.png", "text": " \\u3000\\n"}', "'text' is white space alone: write what"),
        ('{"file": "a.png", "text": "right"}', "the same text of 'a.png' as in"),
        # Boxes of the picture at twice its size, or counted from its middle.
        ('{"file": "a.png", "box": [300, 20, 400, 60]}', "the box 300, 20, 400, 60 lies outside"),
        ('{"file": "a.png", "box": [200, 20, 257.5, 60]}', "of 'a.png', which is 256x128: give"),
        ('{"file": "a.png", "box": [20, 100, 80, 140]}', "not of another resolution"),
        ('{"file": "a.png", "box": [-20, 10, 80, 40]}', "lies outside"),
        ('{"file": "a.png", "box": [20, -1.5, 80, 40]}', "lies outside"),
    ],
)
def test_lines_that_say_no_mark_are_named(folder: Path, line: str, said: str) -> None:
    path = folder / "transcripts.jsonl"
    path.write_text(f'{{"file": "a.png", "text": "right"}}\n{line}\n')
    words = refused(path, folder)
    assert said in words
    assert "line 2" in words


def test_a_pixel_outside_is_rounding_and_an_unreadable_image_has_no_outside(folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"no picture")
    path = folder / "transcripts.jsonl"
    boxes = {"a.png": [-1, -1, 257, 129], "broken.png": [0, 0, 9999, 9]}
    path.write_text("".join(json.dumps({"file": k, "box": v}) + "\n" for k, v in boxes.items()))
    assert {
        name: list(mark.box or ())
        for name, (mark,) in read_marks(path, FolderSource(folder)).items()
    } == boxes


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_boxes_are_counted_on_the_image_as_it_is_turned(tmp_path: Path, name: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (256, 128), "white").save(tmp_path / name, exif=exif)
    path = tmp_path / "transcripts.jsonl"
    path.write_text(json.dumps({"file": name, "text": "low", "box": [10, 200, 90, 240]}))
    assert name in read_marks(path, FolderSource(tmp_path), turned=True)
    assert "256x128" in refused(path, tmp_path, turned=False)
    path.write_text(json.dumps({"file": name, "text": "far", "box": [200, 10, 240, 90]}))
    assert "128x256" in refused(path, tmp_path, turned=True)


def test_one_box_twice_is_named_with_both_lines(folder: Path) -> None:
    path = folder / "transcripts.jsonl"
    path.write_text(path.read_text() + '\n{"file": "a.png", "text": "in", "box": [80,10,160,40]}\n')
    words = refused(path, folder)
    assert f"{path}, line 5: the same box of 'a.png' as in {path}, line 1" in words


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no lines"),
        ("file,text\n", "has no lines"),
        ("file;text;left\na.png;Way out, or in;3\n", "line 1: no column 'file': separate"),
        ("file\ttext\na.png\tx\n", "separate the columns with commas"),
        ("text\nx\n", "no column 'file' in the header"),
        ("file, text\na.png,x\n", "unknown column ' text': did you mean 'text'"),
        ("file,txt\na.png,x\n", "line 1: unknown column 'txt': did you mean 'text'"),
        ("file,text,text\na.png,x,y\n", "the column 'text' is there 2 times"),
        ('file,text\na.png,x\na.png,"Way out\na.png,y\n', "line 3: a quotation mark"),
        ('file,text\na.png,"Way out\na.png,"a, b"\n', "line 2: a quotation mark"),
        ('file,text\na.png,"Way out\na.png,y"\n', "row 3: 'text' runs over other rows"),
        ("file,text\na.png,x\na.png,x\n", "row 3: the same text of 'a.png' as in"),
        ("file,text\na.png,  \n", "row 2: 'text' is white space alone"),
        ("file,left,top,right,bottom\na.png,nan,1,9,9\n", "numbers must be finite"),
        ("file,left,top,right,bottom\na.png,0,1,900,9\n", "row 2: the box 0, 1, 900, 9 lies"),
    ],
)
def test_csv_that_says_no_mark(folder: Path, text: str, said: str) -> None:
    path = folder / "transcripts.csv"
    path.write_text(text)
    assert said in refused(path, folder)


def test_an_empty_file_and_two_files_are_refused(folder: Path) -> None:
    (folder / "transcripts.csv").write_text("file,text\na.png,x\n")
    with pytest.raises(UserError, match="are both there: keep one"):
        opened(folder)
    (folder / "transcripts.csv").unlink()
    (folder / "transcripts.jsonl").write_text("\n")
    with pytest.raises(UserError, match=r"transcripts\.jsonl has no lines"):
        opened(folder)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("faces.jsonl", '{"file": "a.png", "box": [200, 0, 300, 90]}', "line 1: the box 200"),
        ("faces.csv", "file,left,top,right,bottom\na.png,-9,0,30,90\n", "row 2: the box -9"),
        ("faces.jsonl", '{"file": "a.png", "bbox": [2, 0, 30, 90]}', "did you mean 'box'"),
        ("faces.jsonl", '{"file": "a.png"}', "line 1: no box"),
        ("faces.jsonl", "", "has no lines"),
    ],
)
def test_faces_are_read_alike(folder: Path, name: str, text: str, said: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(UserError) as caught:
        FACE_RECON.open(str(folder), FACE_RECON.protocol("exact"))
    assert str(folder / name) in str(caught.value)
    assert said in str(caught.value)
