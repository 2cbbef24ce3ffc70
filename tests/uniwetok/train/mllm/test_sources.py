"""Records come from lines and from shards, and images from where they are named."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path

import pytest

from tests.uniwetok.train.mllm.tiny import records, write_data, write_images, write_lines
from uniwetok.train import TrainingError
from uniwetok.train.mllm.data.opening import open_records
from uniwetok.train.mllm.data.records import RecordError, TextImage
from uniwetok.train.mllm.data.source import image_size, read_image
from uwt_images.listing import UnreadableImage


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    names = write_images(tmp_path)
    pixels = [(tmp_path / name).read_bytes() for name in names]
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as archive:
        edit = {"kind": "edit", "source": "in.png", "instruction": "Go", "target": "out.png"}
        add(archive, "0001.json", json.dumps(edit).encode())
        add(archive, "0001.in.png", pixels[0])
        add(archive, "0001.out.png", pixels[1])
        add(archive, "0002.png", pixels[2])
        add(archive, "0002.txt", b"A caption")
        add(archive, "0002.json", json.dumps({"width": 70}).encode())
        add(archive, "0003.txt", b"No image")
    return path


def test_lines_of_several_files_are_numbered_in_each(tmp_path: Path) -> None:
    names = write_images(tmp_path)
    lines = [json.dumps(record, ensure_ascii=False) for record in records(names)]
    (tmp_path / "a.jsonl").write_text(f"\n{lines[0]}\r\n\n  \n{lines[1]}\n\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text("\n".join(lines[2:]), encoding="utf-8")
    source = pickle.loads(pickle.dumps(open_records(tmp_path)))
    assert len(source) == 8
    kinds = [source.record(index).kind for index in range(8)]
    assert kinds[:3] == ["text-image", "text-image", "interleaved"]
    places = [(Path(file).name, line) for file, line in map(source.where, range(8))]
    assert places[:4] == [("a.jsonl", 2), ("a.jsonl", 5), ("b.jsonl", 1), ("b.jsonl", 2)]
    second = source.record(1)
    assert isinstance(second, TextImage)
    assert second.text == "一个红色的正方形"
    assert image_size(source, 1, second.image.name) == (300, 200)
    assert read_image(source, 1, second.image.name).size == (200, 300)


def test_images_may_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    names = write_images(tmp_path)
    path = write_lines(tmp_path / "elsewhere" / "data.jsonl", records(names))
    assert image_size(open_records(path, tmp_path), 0, names[0]) == (64, 64)
    with pytest.raises(UnreadableImage, match="cannot be read"):
        image_size(open_records(path), 0, names[0])
    with pytest.raises(TrainingError, match="is no folder"):
        open_records(path, tmp_path / "nowhere")


def test_a_shard_holds_records_and_plain_captions(shard: Path) -> None:
    source = open_records(shard)
    assert len(source) == 3
    edit, caption = source.record(0), source.record(1)
    assert [image_size(source, 0, picture.name) for picture in edit.pictures] == [
        (64, 64),
        (64, 100),
    ]
    assert isinstance(caption, TextImage)
    assert caption.text == "A caption"
    assert read_image(source, 1, caption.image.name).size == (70, 130)
    with pytest.raises(RecordError, match="no image beside it"):
        source.record(2)
    with pytest.raises(UnreadableImage, match=r"images: in.png, out.png"):
        source.open_image(0, "other.png")
    assert source.where(1) == (f"{shard}/0002", 2)


def test_paths_without_records_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n \n")
    other = tmp_path / "data.csv"
    other.write_text("a,b")
    for path, message in (
        (empty, "holds no record"),
        (other, "neither .jsonl nor .tar"),
        (tmp_path / "missing", "does not exist"),
    ):
        with pytest.raises(TrainingError, match=message):
            open_records(path)
    assert len(open_records(write_data(tmp_path))) == 8


def test_of_several_splits_the_training_one_is_read(tmp_path: Path) -> None:
    whole = open_records(write_data(tmp_path / "whole"))
    lines = next((tmp_path / "whole").glob("*.jsonl")).read_text(encoding="utf-8")
    for split in ("train", "val"):
        (tmp_path / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    source = open_records(tmp_path)
    assert len(source) == len(whole)
    assert source.notices == (f"{tmp_path}: of its splits train, val 'train' is read",)
    (tmp_path / "train.jsonl").rename(tmp_path / "test.jsonl")
    with pytest.raises(TrainingError, match=r"several splits \(test, val\)"):
        open_records(tmp_path)


def test_an_image_that_is_a_device_is_not_opened(tmp_path: Path) -> None:
    record = {"kind": "text-image", "text": "a", "image": "a.png"}
    (tmp_path / "a.jsonl").write_text(json.dumps(record), encoding="utf-8")
    (tmp_path / "a.png").symlink_to("/dev/zero")
    with pytest.raises(UnreadableImage, match=r"a\.png cannot be read \(not a regular file\)"):
        image_size(open_records(tmp_path / "a.jsonl"), 0, "a.png")
