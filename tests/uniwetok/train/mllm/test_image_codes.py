"""The cache of images' codes: other pictures and damaged files are told, and never give codes."""

from __future__ import annotations

import dataclasses
import itertools
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from tests.damage import flips
from tests.uniwetok.mllm import toys
from tests.uniwetok.train.mllm.tiny import RULE, builder, write_data
from uniwetok.train import TrainingError
from uniwetok.train.codes import blocks, integrity
from uniwetok.train.data.schedule import Place
from uniwetok.train.mllm.config import SequenceData
from uniwetok.train.mllm.data import codes
from uniwetok.train.mllm.data.codes import ImageCodes, build_image_codes
from uniwetok.train.mllm.data.index import SampleIndex, index_samples
from uniwetok.train.mllm.data.opening import open_records
from uniwetok.train.mllm.data.source import RecordSource
from uniwetok.train.mllm.data.stream import PackedStream

DATA = SequenceData(row_tokens=160, image_area=128 * 128, workers=1)


def opened(path: Path) -> tuple[RecordSource, SampleIndex]:
    source = open_records(path)
    return source, index_samples(source, builder(), DATA, RULE, path.parent / "index")


def build(path: Path, folder: str = "codes", **changes: Any) -> ImageCodes:
    source, index = opened(path)
    tokenizer, accelerator = toys.image_tokenizer(), Accelerator(cpu=True)
    config = dataclasses.replace(DATA, workers=0, **changes)
    return build_image_codes(path.parent / folder, source, index, tokenizer, accelerator, config)


def read(cache: ImageCodes) -> list[list[torch.Tensor] | None]:
    return [cache.read(sample) for sample in range(len(cache.index))]


def same(found: list[list[torch.Tensor] | None], whole: list[list[torch.Tensor] | None]) -> bool:
    return all(
        one is not None and other is not None and all(map(torch.equal, one, other))
        for one, other in zip(found, whole, strict=True)
    )


def swap(path: Path, color: str) -> None:
    """Put a picture of one color in another's place: of the same name, time and sizes."""
    stat, size = path.stat(), Image.open(path).size
    Image.new("RGB", size, color).save(path, compress_level=0)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize("lately", [True, False], ids=["lately", "long ago"])
def test_codes_of_pictures_that_were_replaced_are_refused(
    tmp_path: Path, lately: bool, request: pytest.FixtureRequest
) -> None:
    if not lately:
        request.getfixturevalue("old_files")
    path, picture = write_data(tmp_path), tmp_path / "images" / "1.png"
    swap(picture, "black")
    size = picture.stat().st_size
    build(path)
    build(path)
    swap(picture, "white")
    assert picture.stat().st_size == size
    with pytest.raises(TrainingError, match=r"codes: these codes are of other data .*--codes"):
        build(path)


def test_codes_of_another_precision_are_refused(tmp_path: Path) -> None:
    path = write_data(tmp_path)
    whole, half = read(build(path)), read(build(path, "half", precision="bfloat16"))
    assert not same(whole, half)
    for folder, precision in (("codes", "bfloat16"), ("half", "float32")):
        with pytest.raises(TrainingError, match=f"asked for is precision={precision}; give"):
            build(path, folder, precision=precision)
    header = integrity.read_sealed(tmp_path / "codes" / "image-codes.json")
    del header["precision"]
    integrity.write_sealed(tmp_path / "codes" / "image-codes.json", header)
    assert same(read(build(path)), whole), "older caches do not say it"


@pytest.mark.usefixtures("old_files")
def test_files_that_did_not_change_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_data(tmp_path)
    whole = read(build(path))
    with monkeypatch.context() as patch:
        patch.setattr(integrity, "_content", pytest.fail)
        build(path)
    shutil.copytree(tmp_path, tmp_path / "moved")
    assert same(read(build(tmp_path / "moved" / "data.jsonl")), whole)


def test_a_flipped_bit_is_told_or_changes_nothing(tmp_path: Path) -> None:
    path = write_data(tmp_path)
    whole = read(build(path))
    folder, told = tmp_path / "codes", 0
    names = sorted(each.name for each in folder.iterdir())
    assert names == ["image-codes.bin", "image-codes.json"]
    for name in names:
        for _ in flips(folder / name, 25):
            try:
                assert same(read(build(path)), whole)
            except TrainingError as error:
                told += str(folder) in str(error)
    assert told > 37


def test_damaged_codes_end_training_in_one_line(tmp_path: Path) -> None:
    path = write_data(tmp_path)
    cache = build(path)
    file = tmp_path / "codes" / "image-codes.bin"
    file.write_bytes(bytes(file.stat().st_size))
    source, index = opened(path)
    stream = PackedStream(source, index, DATA, builder(), cache, Place(batch_size=2, seed=5))
    told = r"\A\S*image-codes.bin: the codes of image \d are damaged; remove .*\Z"
    with pytest.raises(TrainingError, match=told):
        next(iter(stream))


def test_a_flipped_bit_of_a_killed_build_leaves_no_image_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_data(tmp_path)
    whole = read(build(path, "whole"))
    monkeypatch.setattr(blocks, "BLOCK", 1)
    encode, calls = codes.encode_pixels, itertools.count()

    def failing(*arguments: Any) -> list[torch.Tensor]:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return encode(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(codes, "encode_pixels", failing)
        with pytest.raises(KeyboardInterrupt):
            build(path, "begun")
    made = told = tried = 0
    for name in ("image-codes.state.npy", "image-codes.json", "image-codes.bin"):
        for place in flips(tmp_path / "begun" / name, 10):
            folder = f"{name}-{place}"
            tried += 1
            shutil.copytree(tmp_path / "begun", tmp_path / folder)
            try:
                assert same(read(build(path, folder)), whole)
                made += 1
            except TrainingError as error:
                told += folder in str(error)
    assert made + told == tried
    assert made


@pytest.mark.parametrize("damaged", [0x0E, 0xF1, 0x10, 0x01])
def test_a_damaged_mark_has_its_image_encoded_anew(tmp_path: Path, damaged: int) -> None:
    marks = tmp_path / "marks.npy"
    blocks.mark_pending(marks, 3)
    blocks.open_marks(marks, 3)[:] = (blocks.DONE, damaged, blocks.UNREADABLE)
    seen: list[int] = []

    def pixels(image: int) -> torch.Tensor:
        seen.append(image)
        return torch.zeros(1)

    list(
        blocks.pending_blocks(blocks.open_marks(marks, 3), pixels, Accelerator(cpu=True), workers=0)
    )
    assert 1 in seen
    assert (blocks.open_marks(marks, 3) == blocks.DONE).all()
