"""Images made elsewhere give the figures of the model that made them, networks' included."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import CommandLine
from tests.e2e.test_generation import MODEL


def figures(record: dict[str, Any], *without: str) -> dict[str, Any]:
    return {name: cell for name, cell in record["metrics"].items() if name not in without}


@pytest.mark.slow
@pytest.mark.usefixtures("provide_weights")
def test_reconstructions(uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path) -> None:
    command = (
        "run", "imagenet-recon", "--data", photo_folder, "--device", "cpu", "--small-sets",
        "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    (ours,) = uwt_eval(*command, "--model", "jpeg").records
    (root,) = (tmp_path / "runs").iterdir()
    names = json.loads((root / "run.json").read_text())["samples"]
    assert len(names) <= 8, "a run keeps so many pictures"
    (tmp_path / "made").mkdir()
    for sample in names:
        picture = root / "pictures" / f"{sample['index']:06d}.png"
        shutil.copy(picture, tmp_path / "made" / f"{Path(sample['id']).stem}.png")
    result = uwt_eval(*command, "--images", tmp_path / "made")
    assert result.code == 0, result.err
    (theirs,) = result.records
    assert theirs["dataset_digest"] == ours["dataset_digest"]
    # A codec has no codebook, and of images made elsewhere nobody knows.
    without = ("bpp", "usage_pooled", "usage_group", "usage_joint")
    assert figures(theirs, *without) == figures(ours, *without)
    assert all(theirs["metrics"][name]["value"] for name in ("psnr", "ssim", "lpips_vgg", "rfid"))


@pytest.mark.slow
@pytest.mark.usefixtures("provide_weights")
def test_generated_images(uwt_eval: CommandLine, tmp_path: Path) -> None:
    plugin = tmp_path / "noise.py"
    plugin.write_text(MODEL)
    reference = np.random.default_rng(0).integers(0, 256, (8, 256, 256, 3), np.uint8)
    np.savez(tmp_path / "reference.npz", reference)
    command = (
        "run", "imagenet-gen", "--data", tmp_path / "reference.npz", "--limit", "6",
        "--device", "cpu", "--small-sets", "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    (ours,) = uwt_eval(*command, "--plugin", plugin, "--model", "noise").records
    (made,) = (tmp_path / "runs").glob("*/samples.npz")
    with np.load(made) as file:
        images, labels = file["arr_0"], file["arr_1"]
    np.savez_compressed(tmp_path / "packed.npz", images)
    for index, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        for folder, name in (("flat", f"{index:06d}"), ("classes", f"{label:04d}/{index}")):
            path = tmp_path / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    for place in (made, *(tmp_path / name for name in ("packed.npz", "flat", "classes"))):
        result = uwt_eval(*command, "--images", place)
        assert result.code == 0, result.err
        (theirs,) = result.records
        assert theirs["dataset_digest"] == ours["dataset_digest"]
        assert figures(theirs) == figures(ours)
    assert all(cell["value"] is not None for cell in ours["metrics"].values())


@pytest.mark.slow
def test_two_processes_give_the_same_record(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path
) -> None:
    words = ["run", "imagenet-recon-native", "--data", str(photo_folder), "--images"]
    words += [str(photo_folder), "--metrics", "ssim", "--device", "cpu", "--quiet", "--out"]
    assert uwt_eval(*words, tmp_path / "one").code == 0
    torchrun = [sys.executable, "-P", "-m", "torch.distributed.run", "--standalone", "--no-python"]
    script = str(Path(sys.executable).parent / "uwt-eval")
    subprocess.run(
        [*torchrun, "--nproc-per-node", "2", script, *words, str(tmp_path / "two")],
        check=True,
        timeout=180,
    )
    records = []
    for out in ("one", "two"):
        (path,) = (tmp_path / out).glob("*/record.json")
        records.append(json.loads(path.read_text()))
    assert records[1]["provenance"]["world_size"] == 2
    assert records[0]["metrics"]["ssim"]["value"] == 1
    assert [{**record, "provenance": {}} for record in records[:1]] == [
        {**record, "provenance": {}} for record in records[1:]
    ]
