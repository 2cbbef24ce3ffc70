"""Reconstructions made elsewhere, beside those that a model makes here."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from torch import Tensor

from harness.baselines.elsewhere import Images
from harness.data.images import to_float, to_images, to_uint8
from harness.engine.models import ModelChoice
from harness.interfaces import Code
from harness.interfaces.registry import MODELS
from harness.interfaces.types import ModelCard
from tasks.recon.task import IMAGENET_RECON, ReconTask
from tests.conftest import CommandLine

METRICS = "bpp,psnr,ssim"


@pytest.fixture
def data(tmp_path: Path, photos: list[Image.Image]) -> Path:
    """Photos in ImageNet's layout, and what lies beside them in the world."""
    root = tmp_path / "imagenet" / "val"
    for index, photo in enumerate(photos):
        folder = root / ("n01440764" if index < 3 else "n01443537")
        folder.mkdir(parents=True, exist_ok=True)
        photo.save(folder / f"ILSVRC2012_val_{index + 1:08d}.JPEG")
    (root / "n01440764" / ".DS_Store").write_bytes(b"\0")
    (root / "n01440764" / "._ILSVRC2012_val_00000001.JPEG").write_bytes(b"\0")
    return root.parent


class Coarse:
    """Leaves every eighth level of the original."""

    concurrent = True
    card = ModelCard(name="coarse")

    def load(self, device: str) -> None:
        pass

    def encode(self, images: Tensor) -> list[Code]:
        pixels = to_uint8(images) // 8 * 8
        return [Code(image.tobytes(), *image.shape[:2]) for image in pixels]

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        pixels = [np.frombuffer(code.payload, np.uint8) for code in codes]
        shape = codes[0].height, codes[0].width, 3
        return to_float(np.stack([each.reshape(shape) for each in pixels]))


class Between(Coarse):
    """Gives values between the levels, as networks do."""

    card = ModelCard(name="between")

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        return super().decode(codes, seeds) + 0.3 / 127.5


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offers the models `coarse` and `between`."""
    models = {**MODELS._registered, "coarse": Coarse, "between": Between}
    monkeypatch.setattr(MODELS, "_registered", models)


def reconstructed(
    data: Path, folder: Path, task: ReconTask = IMAGENET_RECON, name: str = "coarse"
) -> Path:
    """What a model makes of the photos, in PNG files as its own code would save them."""
    folder.mkdir()
    model: Any = ModelChoice.parse(name).build()
    opened = task.open(str(data), task.protocol("exact"))
    for sample in opened.samples(None):
        item = opened.load(sample)
        (image,) = opened.render(model, opened.generate(model, [item], [0]), [0])
        to_images(image[None])[0].save(folder / f"{Path(sample.id).stem}.png")
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "notes.txt").write_text("made by me")
    return folder


def command(data: Path, out: Path, *more: object, task: str = "imagenet-recon") -> tuple[Any, ...]:
    given = ("--data", data, "--out", out, "--device", "cpu", "--metrics", METRICS, "--json")
    return ("run", task, *given, *more)


@pytest.mark.parametrize(
    ("protocol", "model"), [("exact", "between"), ("wetok", "coarse"), ("exact", "jpeg")]
)
def test_a_models_pictures_give_the_models_record(
    protocol: str, model: str, uwt_eval: CommandLine, tmp_path: Path, data: Path
) -> None:
    folder = reconstructed(data, tmp_path / "recon", name=model)
    more = ("--protocol", protocol)
    (ours,) = uwt_eval(*command(data, tmp_path / "runs", "--model", model, *more)).records
    result = uwt_eval(
        *command(data, tmp_path / "runs", "--images", folder, "--label", "VAR & d=30", *more)
    )
    assert result.code == 0, result.err
    (theirs,) = result.records
    assert theirs["model"] == "VAR & d=30 (images made elsewhere)"
    assert theirs["provenance"]["images"] == "made elsewhere"
    assert theirs["provenance"]["images_per_second"] is None
    for name in ("task", "task_version", "protocol_digest", "dataset_digest", "n", "status"):
        assert theirs[name] == ours[name]
    for name in ("psnr", "ssim"):
        assert ours["metrics"][name]["value"] is not None
        assert theirs["metrics"][name] == ours["metrics"][name]
    assert theirs["metrics"]["bpp"]["value"] is None
    assert "state their rate" in theirs["metrics"]["bpp"]["status"]


@pytest.mark.parametrize(("stated", "bpp"), [("bits=8192", 0.125), ("bpp=0.25", 0.25)])
def test_a_rate_is_taken_as_it_is_stated(
    stated: str, bpp: float, uwt_eval: CommandLine, tmp_path: Path, data: Path
) -> None:
    folder = reconstructed(data, tmp_path / "recon")
    words = command(data, tmp_path / "runs", "--model", f"images:{folder}?{stated}")
    for _ in range(2):
        (record,) = uwt_eval(*words).records
        assert record["metrics"]["bpp"]["value"] == pytest.approx(bpp)
    (without,) = uwt_eval(*command(data, tmp_path / "runs", "--images", folder)).records
    assert without["model_digest"] != record["model_digest"]
    (again,) = uwt_eval("score", next((tmp_path / "runs").glob("*recon?*")), "--json").records
    assert again["n"] == 6


def test_the_codes_of_images_made_elsewhere_are_not_known(
    uwt_eval: CommandLine, tmp_path: Path, data: Path
) -> None:
    folder = reconstructed(data, tmp_path / "recon")
    words = command(data, tmp_path / "runs", "--images", folder, "--metrics", "psnr,usage_pooled")
    (record,) = uwt_eval(*words).records
    (again,) = uwt_eval("score", next((tmp_path / "runs").iterdir()), "--json").records
    for each in (record, again):
        status = each["metrics"]["usage_pooled"]["status"]
        assert status == "not computed: the codes of images made elsewhere are not known"


def test_original_resolution(uwt_eval: CommandLine, tmp_path: Path, data: Path) -> None:
    from tasks.recon.task import IMAGENET_RECON_NATIVE

    folder = reconstructed(data, tmp_path / "recon", IMAGENET_RECON_NATIVE)
    words = command(data, tmp_path / "runs", task="imagenet-recon-native")
    ours, theirs = uwt_eval(*words, "--model", "coarse", "--images", folder).records
    assert len({Image.open(path).size for path in folder.glob("[!.]*.png")}) > 1
    for name in ("psnr", "ssim"):
        assert theirs["metrics"][name] == ours["metrics"][name]


def lose(folder: Path, name: str) -> None:
    (folder / name).unlink()


def shrink(folder: Path, name: str) -> None:
    with Image.open(folder / name) as image:
        image.resize((128, 128)).save(folder / name)


def cut(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])


def block(folder: Path, name: str) -> None:
    lose(folder, name)
    os.mkfifo(folder / name)


@pytest.mark.parametrize(
    ("damage", "status", "text"),
    [
        (lose, "missing", "no image is named like this original"),
        (shrink, "model_error", "2.png is 128x128, its original is evaluated at 256x256"),
        (cut, "decode_error", "ILSVRC2012_val_00000002.png: "),
        (block, "decode_error", "not a regular file"),
    ],
)
def test_images_that_will_not_do_count_as_failed(
    damage: Callable[[Path, str], None],
    status: str,
    text: str,
    uwt_eval: CommandLine,
    tmp_path: Path,
    data: Path,
) -> None:
    folder = reconstructed(data, tmp_path / "recon")
    damage(folder, "ILSVRC2012_val_00000002.png")
    result = uwt_eval(*command(data, tmp_path / "runs", "--images", folder))
    assert result.code == 3
    (record,) = result.records
    assert record["failures"] == {status: 1}
    assert text in result.err.replace("\n", " ")
    words = command(data, tmp_path / "runs", "--images", folder, "--max-failures", 1)
    (record,) = uwt_eval(*words).records
    assert record["metrics"]["psnr"]["n"] == 5


def test_all_of_another_size_are_refused(uwt_eval: CommandLine, tmp_path: Path, data: Path) -> None:
    folder = reconstructed(data, tmp_path / "recon")
    for path in folder.glob("[!.]*.png"):
        shrink(folder, path.name)
    result = uwt_eval(*command(data, tmp_path / "runs", "--images", folder))
    assert result.code == 2
    assert "is 128x128, its original is evaluated at 256x256" in result.err.replace("\n", " ")


@pytest.mark.parametrize("how", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ILSVRC2012_val_00000001.webp", "are images of one name"),
        ("ILSVRC2012_val_00009999.png", "1 of 7 images are named like no original"),
    ],
)
def test_surplus_images_are_refused(
    name: str, text: str, how: tuple[str, ...], uwt_eval: CommandLine, tmp_path: Path, data: Path
) -> None:
    folder = reconstructed(data, tmp_path / "recon")
    Image.new("RGB", (256, 256)).save(folder / name)
    result = uwt_eval(*command(data, tmp_path / "runs", "--images", folder, *how))
    assert result.code == 2
    assert text in result.err.replace("\n", " ")
    assert not (tmp_path / "runs").exists()


def test_numbered_images_pair_in_the_order_of_names_where_that_is_said(
    uwt_eval: CommandLine, tmp_path: Path, data: Path
) -> None:
    folder = reconstructed(data, tmp_path / "recon")
    (before,) = uwt_eval(*command(data, tmp_path / "runs", "--images", folder)).records
    pixels = []
    for index, path in enumerate(sorted(folder.glob("[!.]*.png"))):
        pixels.append(np.asarray(Image.open(path)))
        path.rename(folder / f"{index:06d}.png")
    refused = uwt_eval(*command(data, tmp_path / "runs", "--images", folder))
    assert refused.code == 2
    assert "pairs=order" in refused.err
    np.savez_compressed(tmp_path / "recon.npz", np.stack(pixels))
    for place in (folder, tmp_path / "recon.npz"):
        words = command(data, tmp_path / "runs", "--images", f"{place}?pairs=order")
        (record,) = uwt_eval(*words).records
        assert record["metrics"] == before["metrics"]


def test_a_changed_image_is_another_run(uwt_eval: CommandLine, tmp_path: Path, data: Path) -> None:
    folder = reconstructed(data, tmp_path / "recon")
    (before,) = uwt_eval(*command(data, tmp_path / "runs", "--images", folder)).records
    Image.new("RGB", (256, 256)).save(folder / "ILSVRC2012_val_00000002.png")
    (after,) = uwt_eval(*command(data, tmp_path / "runs", "--images", folder)).records
    assert after["run_id"] != before["run_id"]
    assert after["metrics"]["psnr"]["value"] < before["metrics"]["psnr"]["value"]
    folder.rename(tmp_path / "moved")
    (moved,) = uwt_eval(*command(data, tmp_path / "runs", "--images", tmp_path / "moved")).records
    assert moved["model_digest"] == after["model_digest"]


def test_an_interrupted_run_goes_on(
    uwt_eval: CommandLine, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = reconstructed(data, tmp_path / "recon")
    (whole,) = uwt_eval(*command(data, tmp_path / "whole", "--images", folder)).records
    read = Images.read

    def stopping(self: Images, names: list[str]) -> list[Code]:
        if "5.png" in names[0]:
            for _ in range(6000):  # Another lane is at work.
                if any((tmp_path / "runs").glob("*/outputs/*")):
                    break
                time.sleep(0.01)
            raise KeyboardInterrupt
        return read(self, names)

    monkeypatch.setattr(Images, "read", stopping)
    words = command(data, tmp_path / "runs", "--images", folder)
    assert uwt_eval(*words).code == 130
    stored = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*/outputs/*")}
    assert stored
    monkeypatch.setattr(Images, "read", read)
    (record,) = uwt_eval(*words).records
    assert stored == {path: path.stat().st_mtime_ns for path in stored}, "read again"
    assert record["metrics"] == whole["metrics"]
    (rows,) = (pd.read_parquet(path) for path in (tmp_path / "runs").glob("*/samples.parquet"))
    assert rows["bits"].isna().all()
