"""Generated images that were made elsewhere: their order, number and size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.baselines.elsewhere import Images
from harness.interfaces.errors import UserError
from tasks.gen.data import GenSettings
from tasks.gen.files import GenFiles
from tests.conftest import CommandLine

PROTOCOL = """
title = "Three colours"
[kind.c2i]
decode = { exif = "ignore", alpha = "drop", sixteen_bit = "clip" }
classes = 3
class_names = ["red", "green", "blue"]
samples_per_class = 2
order = "cycle"
size = 32
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
COLOURS = np.random.default_rng(0).integers(0, 256, (6, 1, 1, 3), dtype=np.uint8)
IMAGES = np.broadcast_to(COLOURS, (6, 32, 32, 3)).copy()


@pytest.fixture
def protocol(tmp_path: Path) -> Path:
    path = tmp_path / "three.toml"
    path.write_text(PROTOCOL)
    return path


def folder_of(folder: Path, names: list[str]) -> Path:
    for name, pixels in zip(names, IMAGES, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name, quality=100)
    (folder / ".DS_Store").write_bytes(b"\0")
    return folder


FLAT = [f"{index:06d}.png" for index in range(6)]


def order_of(place: Path, protocol: Path, limit: int | None = None) -> list[str]:
    """Names of the images in the order of the samples."""
    data = opened(place, protocol)
    return [data.load(sample) for sample in data.samples(limit)]


def opened(place: Path, protocol: Path) -> GenFiles:
    from tasks.gen.task import IMAGENET_GEN

    settings: GenSettings = IMAGENET_GEN.settings(IMAGENET_GEN.protocol(str(protocol)))
    return GenFiles(settings, None, "", Images(place))


def test_a_flat_folder_goes_by_name(tmp_path: Path, protocol: Path) -> None:
    names = ["000123.png", "000007.png", "000001.webp", "000009.jpg", "000010.jpeg", "2.png"]
    folder = folder_of(tmp_path / "made", names)
    assert order_of(folder, protocol) == sorted(names)
    assert order_of(folder, protocol, limit=4) == sorted(names)[:4]
    assert opened(folder, protocol).notice == ""


def test_folders_of_classes_go_in_the_protocols_order(tmp_path: Path, protocol: Path) -> None:
    names = [f"{label}/{number}.png" for label in (2, 10, 9) for number in "ab"]
    folder = folder_of(tmp_path / "made", names)
    cycle = ["2/a.png", "9/a.png", "10/a.png", "2/b.png", "9/b.png", "10/b.png"]
    assert order_of(folder, protocol) == cycle
    assert opened(folder, protocol).notice == ""


def test_uneven_folders_go_by_name_and_that_is_said(tmp_path: Path, protocol: Path) -> None:
    names = ["a/0.png", "a/1.png", "a/2.png", "b/0.png", "b/1.png", "c/0.png"]
    folder = folder_of(tmp_path / "made", names)
    assert order_of(folder, protocol) == names
    assert "class by class" in opened(folder, protocol).notice


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_keeps_its_order(save: Any, tmp_path: Path, protocol: Path) -> None:
    numbers = [f"{index:06d}" for index in range(6)]
    for labels, by_class in (
        ([0, 0, 1, 1, 2, 2], True),
        ([0, 1, 2, 0, 1, 2], False),
        (None, False),
    ):
        more = () if labels is None else (np.array(labels),)
        save(tmp_path / "made.npz", IMAGES, *more)
        assert order_of(tmp_path / "made.npz", protocol) == numbers
        notice = opened(tmp_path / "made.npz", protocol).notice
        assert ("class by class" in notice) is by_class


@pytest.mark.parametrize("order", [np.ascontiguousarray, np.asfortranarray])
def test_every_form_of_the_same_images_gives_one_record(
    order: Any, uwt_eval: CommandLine, tmp_path: Path, protocol: Path
) -> None:
    np.savez(tmp_path / "made.npz", order(IMAGES))
    np.savez_compressed(tmp_path / "small.npz", order(IMAGES), np.array([0, 1, 2, 0, 1, 2]))
    places = [folder_of(tmp_path / "made", FLAT), tmp_path / "made.npz", tmp_path / "small.npz"]
    for place in places:
        result = uwt_eval(
            "run", "imagenet-gen", "--images", place, "--label", "SiT", "--protocol", protocol,
            "--device", "cpu", "--out", tmp_path / "runs", "--json",
        )  # fmt: skip
        assert result.code == 0, result.err
        (record,) = result.records
        assert record["model"] == "SiT (images made elsewhere)"
        assert (record["n"], record["status"]) == (6, "complete")
        root = tmp_path / "runs" / record["run_id"]
        assert not (root / "samples.npz").exists(), "images are not kept a second time"
        assert (root / "grid.png").is_file()
        pictures = sorted((root / "pictures").glob("*.png"))
        np.testing.assert_array_equal([np.asarray(Image.open(path)) for path in pictures], IMAGES)
    assert len(list((tmp_path / "runs").iterdir())) == 3, "other files are another run"


def test_a_result_beside_its_reference_follows_from_its_files(
    uwt_eval: CommandLine, tmp_path: Path, protocol: Path
) -> None:
    np.savez(tmp_path / "made.npz", IMAGES)
    np.savez(tmp_path / "reference.npz", IMAGES // 2)
    result = uwt_eval(
        "run", "imagenet-gen", "--images", tmp_path / "made.npz", "--protocol", protocol,
        "--data", tmp_path / "reference.npz", "--device", "cpu", "--out", tmp_path / "runs",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert uwt_eval("leaderboard", "check", tmp_path / "runs").code == 0
    (path,) = (tmp_path / "runs").glob("*/run.json")
    path.write_text(path.read_text().replace('"reference": "', '"reference": "0'))
    assert uwt_eval("leaderboard", "check", tmp_path / "runs").code == 2


def test_another_number_is_refused(tmp_path: Path, protocol: Path) -> None:
    np.savez(tmp_path / "few.npz", IMAGES[:5])
    with pytest.raises(UserError, match="5 images given, the protocol compares 6; --limit 5"):
        order_of(tmp_path / "few.npz", protocol)
    with pytest.raises(UserError, match="5 images given"):
        order_of(tmp_path / "few.npz", protocol, limit=6)
    assert len(order_of(tmp_path / "few.npz", protocol, limit=5)) == 5
    np.savez(tmp_path / "many.npz", np.concatenate([IMAGES, IMAGES]))
    with pytest.raises(UserError, match=r"12 images given, the protocol compares 6$"):
        order_of(tmp_path / "many.npz", protocol)


@pytest.mark.parametrize("how", [(), ("--dry-run",)])
def test_what_cannot_be_measured_is_one_line(
    how: tuple[str, ...], uwt_eval: CommandLine, tmp_path: Path, protocol: Path
) -> None:
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "labels.npz", IMAGES, np.arange(4))
    np.savez(tmp_path / "objects.npz", np.array([print, len], dtype=object))
    np.savez(tmp_path / "channels.npz", IMAGES.transpose(0, 3, 1, 2))
    for place, text in (
        ("nowhere", "there is no such folder, nor an .npz file"),
        ("three.toml", "it is neither a folder nor an .npz file"),
        ("empty", "no image is there"),
        ("labels.npz", "arr_1 has 4 labels for 6 images"),
        ("objects.npz", "objects.npz"),
        ("channels.npz", "arr_0 has shape (6, 3, 32, 32), expected images (N, H, W, 3)"),
    ):
        result = uwt_eval(
            "run", "imagenet-gen", "--images", tmp_path / place, "--protocol", protocol,
            "--device", "cpu", "--out", tmp_path / "runs", *how,
        )  # fmt: skip
        assert result.code == 2
        assert text in " ".join(result.err.split())
    result = uwt_eval("run", "imagenet-gen", "--label", "SiT")
    assert result.code == 2
    assert "--label SiT names what made images" in result.err


def test_sizes_and_files_that_will_not_do(
    uwt_eval: CommandLine, tmp_path: Path, protocol: Path
) -> None:
    folder = folder_of(tmp_path / "made", FLAT)
    words = (
        "run", "imagenet-gen", "--images", folder, "--protocol", protocol,
        "--device", "cpu", "--out", tmp_path / "runs",
    )  # fmt: skip
    whole = (folder / "000002.png").read_bytes()
    (folder / "000002.png").write_bytes(whole[:60])
    result = uwt_eval(*words, "--json")
    assert result.code == 3
    assert result.records[0]["failures"] == {"decode_error": 1}
    assert "000002.png: " in result.err
    Image.new("RGB", (64, 32)).save(folder / "000002.png")
    result = uwt_eval(*words)
    assert result.code == 2
    message = " ".join(result.err.split())
    assert "image 000002.png is 64x32, this protocol compares 32x32" in message


def test_a_file_without_names_is_no_benchmarks_folder(
    uwt_eval: CommandLine, tmp_path: Path
) -> None:
    np.savez(tmp_path / "made.npz", IMAGES)
    result = uwt_eval(
        "run", "dpg", "--images", tmp_path / "made.npz", "--device", "cpu", "--out", tmp_path,
        "--limit", 4,
    )  # fmt: skip
    assert result.code == 2
    assert "images of an .npz file have no names" in " ".join(result.err.split())
