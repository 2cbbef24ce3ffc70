"""The cache of codes: what it holds, how it goes on, what is not taken for one; and its streams."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from tests.damage import flips
from tests.uniwetok.train.ar.tiny import tiny_tokenizer
from uniwetok.tokenizer import quantizer
from uniwetok.tokenizer.model import encoder_digest
from uniwetok.train import TrainingError
from uniwetok.train.ar.config import CodesConfig
from uniwetok.train.codes import blocks, build, integrity
from uniwetok.train.codes.build import build_codes
from uniwetok.train.codes.cache import (
    Codes,
    Header,
    Origin,
    data_digest,
    data_stamp,
    open_codes,
)
from uniwetok.train.codes.encoding import encode
from uniwetok.train.codes.integrity import with_checksums
from uniwetok.train.codes.stream import CachedCodes, EncodedCodes
from uniwetok.train.codes.views import center_view
from uniwetok.train.data.augment import to_model_range
from uniwetok.train.data.opening import open_images
from uniwetok.train.data.schedule import Place

CONFIG = CodesConfig(resolution=16, views=2, workers=0)


def make(folder: Path, images: Path, config: CodesConfig = CONFIG, classes: int = 10) -> Codes:
    source, tokenizer = open_images(images), tiny_tokenizer()
    origin = Origin(
        tokenizer=encoder_digest(tokenizer),
        data=data_digest(source),
        resolution=config.resolution,
        views=config.views,
        smallest_crop=config.smallest_crop,
        latent_channels=16,
        grid=4,
        precision=config.precision,
    )
    accelerator = Accelerator(cpu=True)
    return build_codes(folder, source, tokenizer, origin, config, classes, accelerator)


def test_codes_are_those_of_the_views(tmp_path: Path, photo_folder: Path) -> None:
    codes = make(tmp_path, photo_folder / "val")
    assert sorted(path.name for path in tmp_path.glob("codes*")) == ["codes.json", "codes.npy"]
    assert len(codes) == 6
    assert codes.labels.tolist() == [0, 0, 0, 1, 1, 1]
    source, tokenizer = open_images(photo_folder / "val"), tiny_tokenizer()
    for index in (0, 4):
        center = to_model_range(center_view(source.read(index), 16))[None]
        for view, image in ((2, center), (3, center.flip(-1))):
            (expected,) = quantizer.pack(tokenizer.encode(image))
            found = codes.read(np.array([index]), np.array([view]))
            assert found.tobytes() == expected
    first, second = (codes.read(np.arange(6), np.full(6, view)) for view in (0, 1))
    assert (first != second).any(axis=1).sum() > 3


def test_a_killed_build_goes_on_to_the_same_bytes(
    tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 2)
    make(tmp_path / "whole", photo_folder / "val")
    encode, calls = build._encode, itertools.count()

    def failing(*arguments: object) -> np.ndarray:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return encode(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(build, "_encode", failing)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "parts", photo_folder / "val")
    assert open_codes(tmp_path / "parts") is None
    make(tmp_path / "parts", photo_folder / "val")
    assert next(calls) == 4, "the first block is not encoded twice"
    for name in ("codes.npy", "codes.json"):
        pair = [(tmp_path / folder / name).read_bytes() for folder in ("whole", "parts")]
        assert pair[0] == pair[1]


HALF = dataclasses.replace(CONFIG, precision="bfloat16")


def test_half_precision_flips_few_bits_and_those_near_zero(
    tmp_path: Path, photo_folder: Path
) -> None:
    source, tokenizer = open_images(photo_folder / "val"), tiny_tokenizer()
    images = torch.stack([to_model_range(center_view(source.read(each), 16)) for each in range(6)])
    latents = tiny_tokenizer().double().latents(images.double())
    for precision, share in (("float32", 0.0), ("float16", 0.01), ("bfloat16", 0.05)):
        codes = encode(tokenizer, images, precision)
        flipped = codes.double() != quantizer.quantize(latents)
        assert flipped.double().mean() <= share
        # A product in bfloat16 errs by 2**-9, and a latent sums up those of the layers below it.
        assert latents[flipped].abs().max().item() < 0.05 if flipped.any() else True
    assert tokenizer.dtype == torch.float32
    whole, half = (
        make(tmp_path / config.precision, photo_folder / "val", config) for config in (CONFIG, HALF)
    )
    images, views = (each.ravel() for each in np.meshgrid(np.arange(6), np.arange(4)))
    bits = [np.unpackbits(codes.read(images, views)) for codes in (whole, half)]
    assert 0 < (bits[0] != bits[1]).mean() < 0.05


def test_latents_that_are_not_finite_are_told(photo_folder: Path) -> None:
    tokenizer = tiny_tokenizer()
    with torch.no_grad():
        tokenizer.encoder.conv_in.weight.mul_(1e6)
    image = to_model_range(center_view(open_images(photo_folder / "val").read(0), 16))[None]
    assert encode(tokenizer, image, "bfloat16").abs().eq(1).all()
    with pytest.raises(TrainingError, match=r"data\.precision=float16: .* \(try float32\)"):
        encode(tokenizer, image, "float16")


@pytest.fixture
def begun(tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a build that was interrupted before any image was encoded."""

    def stop(*_: object) -> np.ndarray:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "_encode", stop)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, photo_folder / "val")
    return tmp_path


def test_codes_of_another_precision_are_refused(begun: Path, photo_folder: Path) -> None:
    with pytest.raises(TrainingError, match="precision=float32, asked for is precision=bfloat16"):
        make(begun, photo_folder / "val", HALF)


def test_a_cache_from_before_precisions_were_told_apart_is_of_float32(
    tmp_path: Path, photo_folder: Path
) -> None:
    make(tmp_path, photo_folder / "val")
    values = integrity.read_sealed(tmp_path / "codes.json")
    del values["origin"]["precision"]
    integrity.write_sealed(tmp_path / "codes.json", values)
    codes = open_codes(tmp_path)
    assert codes is not None
    assert codes.header.origin.precision == "float32"


@pytest.mark.parametrize(("images", "expected"), [(16, [80, 80]), (15, [75, 75]), (1, [10])])
def test_a_gpu_encodes_full_batches_across_images(images: int, expected: list[int]) -> None:
    views = [torch.zeros(10, 3, 2, 2) for _ in range(images)]
    assert [len(batch) for batch in build.batches(views, "cuda")] == expected
    assert [len(batch) for batch in build.batches(views, "cpu")] == [10] * images


def test_another_build_that_was_begun_is_refused(begun: Path, photo_folder: Path) -> None:
    with pytest.raises(TrainingError, match="made with views=2, asked for is views=3"):
        make(begun, photo_folder / "val", dataclasses.replace(CONFIG, views=3))


def test_a_full_disk_is_told_before(
    tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(TrainingError, match=r"6 images in 4 views take .* or encode --on-the-fly"):
        make(tmp_path / "codes", photo_folder / "val")


def test_unreadable_images_have_no_codes_and_are_never_drawn(
    tmp_path: Path, photo_folder: Path
) -> None:
    broken = photo_folder / "val" / "n00000000" / "a.png"
    broken.write_bytes(b"no image")
    codes = make(tmp_path / "codes", photo_folder / "val")
    assert codes.header.unreadable == [0]
    place = Place(batch_size=3, steps=4, seed=0)
    drawn = itertools.islice(CachedCodes(codes, CONFIG, place), 4)
    zero = bytes(codes.header.origin.bytes_per_view)
    assert all(row.tobytes() != zero for batch in drawn for row in batch.packed.numpy())


def test_images_without_class_are_refused(tmp_path: Path, photo_folder: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in (photo_folder / "val").rglob("*.png"):
        shutil.copy(path, flat)
    with pytest.raises(TrainingError, match="has no class"):
        make(tmp_path / "codes", flat)


def test_damaged_files_are_told(tmp_path: Path, photo_folder: Path) -> None:
    make(tmp_path, photo_folder / "val")
    header = json.loads((tmp_path / "codes.json").read_text())
    (tmp_path / "codes.json").write_text(json.dumps({**header, "labels": [0]}))
    with pytest.raises(TrainingError, match="the header's checksum differs"):
        open_codes(tmp_path)
    (tmp_path / "codes.json").write_text("{")
    with pytest.raises(TrainingError, match="no readable codes"):
        open_codes(tmp_path)


def test_a_flipped_bit_of_codes_is_told_or_changes_nothing(
    tmp_path: Path, photo_folder: Path
) -> None:
    codes = make(tmp_path, photo_folder / "val")
    images, views = (each.ravel() for each in np.meshgrid(np.arange(6), np.arange(4)))
    whole = codes.read(images, views).copy()
    del codes
    told = 0
    for name in ("codes.npy", "codes.json"):
        for _ in flips(tmp_path / name, 200):
            try:
                found = open_codes(tmp_path)
                assert found is not None
                assert (found.read(images, views) == whole).all()
                assert found.labels.tolist() == [0, 0, 0, 1, 1, 1]
            except TrainingError as error:
                told += str(tmp_path) in str(error)
    assert told > 200


@pytest.mark.parametrize("change", ["pixels", "more", "class"])
def test_other_images_have_another_digest(photo_folder: Path, change: str) -> None:
    root = photo_folder / "val"
    before = data_digest(open_images(root))
    first = next(root.rglob("*.png"))
    if change == "pixels":
        Image.new("RGB", (64, 64)).save(first)
    elif change == "more":
        shutil.copy(first, first.with_name("another.png"))
    else:
        first.parent.rename(root / "zebra")
    assert data_digest(open_images(root)) != before


def test_a_stamp_holds_until_a_file_is_written_or_replaced(
    photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = photo_folder / "val"
    assert data_stamp(open_images(root)) == "", "they have just been written"
    monkeypatch.setattr(integrity, "time", SimpleNamespace(time_ns=lambda: time.time_ns() + 10**12))
    before = data_stamp(open_images(root))
    assert before == data_stamp(open_images(root)) != ""
    path = next(root.rglob("*.png"))
    stat = path.stat()
    path.write_bytes(bytes(stat.st_size))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert data_stamp(open_images(root)) != before


def take(codes: Codes, count: int, config: CodesConfig = CONFIG, **place: int) -> list[bytes]:
    fields = {"batch_size": 4, "steps": 100, "seed": 0, **place}
    stream = CachedCodes(codes, config, Place(**fields))
    return [batch.packed.numpy().tobytes() for batch in itertools.islice(stream, count)]


def test_codes_of_a_mixture_are_drawn_by_weight(tmp_path: Path, photo_folder: Path) -> None:
    codes = make(tmp_path, photo_folder / "val")
    config = dataclasses.replace(CONFIG, mixture=("few@0.75", "many@0.25"))

    def stream(**place: int) -> CachedCodes:
        fields = {"batch_size": 8, "steps": 100, "seed": 0, **place}
        return CachedCodes(codes, config, Place(**fields), [2, 4])

    whole = [batch.labels.tolist() for batch in itertools.islice(stream(), 30)]
    later = [batch.labels.tolist() for batch in itertools.islice(stream(start=9), 21)]
    halves = [itertools.islice(stream(rank=rank, world=2), 30) for rank in (0, 1)]
    joined = [
        [*first.labels.tolist(), *second.labels.tolist()]
        for first, second in zip(*halves, strict=True)
    ]
    assert later == whole[9:]
    assert joined == whole
    progress = stream().progress(30)
    assert progress["samples/few"] / 240 == pytest.approx(0.75, abs=0.1)
    # The first two images are of class 0, of the others one.
    zeros = sum(labels.count(0) for labels in whole)
    assert progress["samples/few"] < zeros < progress["samples/few"] + progress["samples/many"] / 3
    codes.readable[:2] = False
    with pytest.raises(TrainingError, match="source few: nothing of it"):
        stream()


def test_neither_start_nor_processes_change_a_batch(tmp_path: Path, photo_folder: Path) -> None:
    codes = make(tmp_path, photo_folder / "val")
    whole = take(codes, 6)
    assert take(codes, 3, start=3) == whole[3:]
    halves = [take(codes, 6, rank=rank, world=2) for rank in (0, 1)]
    assert [first + second for first, second in zip(*halves, strict=True)] == whole


def numbered(images: int = 6, views: int = 2) -> Codes:
    """Codes of one byte, which says whose they are: 10 times the image plus the view."""
    origin = Origin(
        tokenizer="", data="", resolution=2, views=views, smallest_crop=0.8,
        latent_channels=8, grid=1,
    )  # fmt: skip
    header = Header(origin=origin, labels=list(range(images)), unreadable=[])
    names = np.add.outer(10 * np.arange(images), np.arange(views + 2)).astype(np.uint8)
    return Codes(header, with_checksums(names.reshape(-1, 1)).reshape(*names.shape, -1))


def test_an_epoch_takes_every_image_once_and_the_views_in_turn() -> None:
    never = dataclasses.replace(CONFIG, center_from=1.0, center_until=1.0)
    orders = set()
    for epoch in range(4):
        (batch,) = take(numbered(), 1, never, batch_size=6, start=epoch)
        assert sorted(name // 10 for name in batch) == list(range(6))
        assert {name % 10 for name in batch} == {epoch % 2}
        orders.add(tuple(name // 10 for name in batch))
    assert len(orders) > 1


def test_center_crops_take_over_late_in_the_run() -> None:
    config = dataclasses.replace(CONFIG, center_from=0.4, center_until=0.6)
    assert [config.center_share(p) for p in (0, 0.39, 0.5, 0.6, 1)] == pytest.approx(
        [0, 0, 0.5, 1, 1]
    )
    batches = take(numbered(), 10, config, batch_size=60, steps=10)
    views = [{name % 10 for name in batch} for batch in batches]
    assert all(seen <= {0, 1} for seen in views[:4])
    assert views[5] == {0, 1, 2, 3}
    assert all(seen == {2, 3} for seen in views[6:])


def test_fresh_views_do_not_depend_on_the_start(tmp_path: Path, photo_folder: Path) -> None:
    source, tokenizer = open_images(photo_folder / "val"), tiny_tokenizer()

    def take_fresh(start: int, steps: int) -> list[bytes]:
        place = Place(batch_size=3, steps=8, seed=0, start=start)
        stream = EncodedCodes(source, tokenizer, CONFIG, place)
        return [batch.packed.numpy().tobytes() for batch in itertools.islice(stream, steps)]

    whole = take_fresh(0, 4)
    assert take_fresh(2, 2) == whole[2:]
    assert len(set(whole)) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"views": -1}, "views=-1"),
        ({"smallest_crop": 0}, "smallest_crop=0"),
        ({"center_from": 0.9, "center_until": 0.5}, "in order"),
        ({"corrupt_limit": 2}, "corrupt_limit=2"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CodesConfig(**change)  # type: ignore[arg-type]


def test_bits_unpack_on_tensors_as_from_bytes() -> None:
    codes = torch.randn(3, 10, 2, 2, generator=torch.Generator().manual_seed(0)).sign()
    packed = quantizer.pack(codes)
    rows = torch.from_numpy(np.stack([np.frombuffer(row, np.uint8) for row in packed]))
    assert torch.equal(quantizer.unpack_bytes(rows, (2, 2), 10), codes)
