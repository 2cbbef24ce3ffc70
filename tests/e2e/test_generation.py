"""gFID and its companions through the command line, with random weights of the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import CommandLine

MODEL = """
import torch
from harness.interfaces import Code
from harness.interfaces.registry import MODELS
from harness.interfaces.types import ModelCard

@MODELS.register("noise")
class Noise:
    card = ModelCard(name="noise")
    classes = 1000
    def load(self, device):
        pass
    def sample(self, classes, seeds):
        return [Code(bytes([label % 256]), 256, 256) for label in classes]
    def decode(self, codes, seeds):
        draw, shape = torch.Generator(), (3, 256, 256)
        return torch.stack([torch.randn(shape, generator=draw.manual_seed(s)) for s in seeds]) / 2
"""


@pytest.mark.usefixtures("provide_weights")
def test_a_reference_is_added_without_drawing_again(uwt_eval: CommandLine, tmp_path: Path) -> None:
    plugin = tmp_path / "noise.py"
    plugin.write_text(MODEL)
    command = (
        "run", "imagenet-gen", "--plugin", plugin, "--model", "noise", "--limit", "6",
        "--device", "cpu", "--small-sets", "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    (alone,) = uwt_eval(*command).records
    assert alone["metrics"]["is"]["value"] >= 1
    assert "give one with --data" in alone["metrics"]["gfid"]["status"]
    (root,) = (tmp_path / "runs").iterdir()
    outputs = {path: path.stat().st_mtime_ns for path in (root / "outputs").iterdir()}

    with np.load(root / "samples.npz") as file:
        own = file["arr_0"]
    np.savez(tmp_path / "same.npz", own)
    np.savez(tmp_path / "darker.npz", own // 2)
    (same,) = uwt_eval(*command, "--data", tmp_path / "same.npz").records
    (darker,) = uwt_eval(*command, "--data", tmp_path / "darker.npz").records
    assert alone["run_id"] == same["run_id"] == darker["run_id"]
    assert len({record["dataset_digest"] for record in (alone, same, darker)}) == 3
    assert outputs == {path: path.stat().st_mtime_ns for path in outputs}
    for metric in ("gfid", "sfid"):
        assert same["metrics"][metric]["value"] == pytest.approx(0, abs=1e-3)
        assert darker["metrics"][metric]["value"] > 1e-3
    assert same["metrics"]["precision"]["value"] == same["metrics"]["recall"]["value"] == 1

    again = uwt_eval("score", root, "--json")
    assert again.code == 0, again.err
    values = uwt_eval(
        "metrics", tmp_path / "darker.npz", root / "samples.npz", "--protocol", "adm",
        "--metrics", "fid,sfid,precision", "--small-sets", "--device", "cpu", "--json",
    )  # fmt: skip
    assert values.code == 0, values.err
    (files,) = (
        values.records if values.out.startswith("[") else [__import__("json").loads(values.out)]
    )
    for ours, theirs in (("gfid", "fid"), ("sfid", "sfid"), ("precision", "precision")):
        assert darker["metrics"][ours]["value"] == pytest.approx(
            files["metrics"][theirs]["value"], rel=1e-4
        )


def test_pictures_without_any_data_or_weights(uwt_eval: CommandLine, tmp_path: Path) -> None:
    result = uwt_eval(
        "run", "imagenet-gen", "--limit", "2", "--device", "cpu", "--out", tmp_path / "runs",
        "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "55 classes of its own, not ImageNet's" in result.err
    (record,) = result.records
    assert record["model"].startswith("uniwetok-ar-nano?")
    assert record["protocol"] == "nano"
    assert record["n"] == 2
    assert {metric["value"] for metric in record["metrics"].values()} == {None}
    (root,) = (tmp_path / "runs").iterdir()
    with np.load(root / "samples.npz") as file:
        images = file["arr_0"]
    assert images.shape == (2, 256, 256, 3)
    assert images.std((1, 2)).min() > 8, "there is something in each picture"
    with Image.open(root / "grid.png") as grid:
        assert grid.width > 2 * 256


@pytest.mark.slow
@pytest.mark.usefixtures("provide_weights")
def test_shards_of_generation_are_the_run_itself(uwt_eval: CommandLine, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, 256, 256, 3), np.uint8)
    np.savez(tmp_path / "reference.npz", noise)
    command = (
        "run", "imagenet-gen", "-m", "uniwetok-ar-nano?steps=1", "--limit", "6", "--data",
        tmp_path / "reference.npz", "--device", "cpu", "--small-sets", "--json",
    )  # fmt: skip
    (whole,) = uwt_eval(*command, "--out", tmp_path / "whole").records
    for number in (1, 2):
        part = uwt_eval(*command, "--out", tmp_path / f"{number}", "--shard", f"{number}/2")
        assert part.code == 0, part.err
        assert part.records[0]["n"] == {1: 4, 2: 2}[number]
    roots = [tmp_path / f"{number}" / whole["run_id"] for number in (2, 1)]
    refused = uwt_eval("merge", roots[0], "--out", tmp_path / "refused")
    assert "--shard 1/2` makes them" in refused.err
    result = uwt_eval("merge", *roots, "--out", tmp_path / "merged", "--json")
    assert result.code == 0, result.err
    (merged,) = result.records
    assert merged["metrics"] == whole["metrics"]
    assert all(cell["value"] is not None for cell in merged["metrics"].values())
    for name in ("samples.npz", "grid.png"):
        files = [tmp_path / out / whole["run_id"] / name for out in ("whole", "merged")]
        assert files[0].read_bytes() == files[1].read_bytes()
