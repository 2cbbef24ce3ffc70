"""Metrics that are there for the asking, through the command line, with random weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from harness.interfaces.registry import MODELS
from tests.conftest import CommandLine
from tests.tasks.painter import Painter

PAIRS = ("ms_ssim", "dists")
SETS = ("fd_dinov2", "kd_dinov2", "cmmd")
AT_INFINITY = ("fid_inf", "fd_dinov2_inf")
"""Of Inception and of a smaller network."""


def check(cells: Mapping[str, Any]) -> None:
    for name, cell in cells.items():
        assert cell["status"] == "ok", (name, cell)
        assert cell["ci_low"] <= cell["value"] <= cell["ci_high"]
        assert cell["method"]


@pytest.fixture
def two_folders(tmp_path: Path) -> tuple[Path, Path]:
    """Twenty-two pictures of 32 pixels and their blurred copies."""
    draws = np.random.default_rng(0)
    for number in range(22):
        levels = draws.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(levels).resize((32, 32))
        for name, each in (("a", picture), ("b", picture.filter(ImageFilter.BoxBlur(2)))):
            (tmp_path / name).mkdir(exist_ok=True)
            each.save(tmp_path / name / f"{number}.png")
    return tmp_path / "a", tmp_path / "b"


@pytest.mark.usefixtures("provide_weights")
def test_a_run_adds_them_and_tables_and_gates_take_them(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path
) -> None:
    runs = tmp_path / "runs"
    result = uwt_eval(
        "run", "imagenet-recon", "--data", photo_folder, "-m", "jpeg", "-m", "jpeg:4096",
        "--metrics", ",".join(("ms_ssim", *SETS)), "--limit", 4, "--small-sets", "--out", runs,
        "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    coarse, fine = (record["metrics"] for record in result.records)
    check(coarse)
    assert fine["ms_ssim"]["value"] > coarse["ms_ssim"]["value"]
    assert fine["cmmd"]["value"] < coarse["cmmd"]["value"]
    both = [runs / record["run_id"] for record in result.records]
    shown = uwt_eval("compare", *both)
    assert shown.code == 0, shown.err
    for title in ("MS-SSIM", "CMMD", "FD-DINOv2"):
        assert title in shown.out
    baseline = tmp_path / "baseline.json"
    uwt_eval("gate", both[0], "--baseline", baseline, "--update-baseline")
    rules = ("--rule", "ms_ssim>=-0.001", "--rule", "cmmd<=+1%")
    for run in both:
        judged = uwt_eval("gate", run, "--baseline", baseline, *rules)
        assert "ms_ssim" in judged.out
        assert "cmmd" in judged.out


@pytest.mark.usefixtures("provide_weights")
def test_two_folders_are_compared_by_them(
    uwt_eval: CommandLine, two_folders: tuple[Path, Path]
) -> None:
    names = ("dists", *SETS, AT_INFINITY[1])
    result = uwt_eval(
        "metrics", *two_folders, "--metrics", ",".join(names), "--small-sets", "--json"
    )
    assert result.code == 0, result.err
    check(result.records[0]["metrics"])
    # The pictures are too small for five scales.
    refused = uwt_eval("metrics", *two_folders, "--metrics", "ms_ssim", "--json")
    status = refused.records[0]["metrics"]["ms_ssim"]["status"]
    assert status.endswith("22 of 22 images have a side of fewer than 161 pixels")


@pytest.mark.usefixtures("provide_weights")
def test_protocols_choose_among_their_rules(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path
) -> None:
    source = Path(__file__).parents[2] / "tasks/protocols/exact.toml"
    own = tmp_path / "own.toml"
    own.write_text(
        source.read_text(encoding="utf-8")
        + '\n[kind.sets.ms_ssim]\nrule = "torchmetrics"\n'
        + '[kind.sets.dinov2]\ninput = "torch-fidelity"\n',
        encoding="utf-8",
    )
    values = []
    for protocol in ("exact", own):
        result = uwt_eval(
            "metrics", photo_folder, photo_folder, "--metrics", "ms_ssim,fd_dinov2",
            "--small-sets", "--protocol", protocol, "--json",
        )  # fmt: skip
        assert result.code == 0, result.err
        values.append(result.records[0])
    assert values[0]["protocol_digest"] != values[1]["protocol_digest"]
    own.write_text(own.read_text().replace('"torchmetrics"', '"wang"'))
    refused = uwt_eval("metrics", photo_folder, photo_folder, "--protocol", own)
    assert refused.code == 2
    assert "ms_ssim.rule" in refused.err


def test_missing_weights_are_named_and_the_rest_runs(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path
) -> None:
    result = uwt_eval(
        "run", "imagenet-recon", "--data", photo_folder, "-m", "jpeg", "--limit", 2,
        "--metrics", ",".join((*PAIRS, *SETS, *AT_INFINITY)), "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    cells = result.records[0]["metrics"]
    assert cells["ms_ssim"]["value"] < 1
    wanted = {
        "dists": "vgg16",
        "fd_dinov2": "dinov2",
        "cmmd": "clip-l14-336",
        "fid_inf": "inception",
    }
    for name, asset in wanted.items():
        assert f"weights '{asset}' missing" in cells[name]["status"]


@pytest.mark.usefixtures("provide_weights")
@pytest.mark.parametrize("task", ["geneval", "dpg"])
def test_drawings_are_compared_with_their_prompts(
    task: str, uwt_eval: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = {**MODELS._registered, "painter": lambda: Painter([])}
    monkeypatch.setattr(MODELS, "_registered", registered)
    result = uwt_eval(
        "run", task, "-m", "painter", "--metrics", "clip_score,clip_cosine", "--limit", 8,
        "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    cells = result.records[0]["metrics"]
    check({name: cells[name] for name in ("clip_score", "clip_cosine")})
    assert cells["clip_score"]["method"] == "bootstrap over prompts"
    pairs = uwt_eval(
        "run", task, "-m", "painter", "--metrics", "ms_ssim,cmmd", "--limit", 4,
        "--out", tmp_path / "other", "--json",
    )  # fmt: skip
    for cell in pairs.records[0]["metrics"].values():
        assert cell["status"].startswith("not applicable"), json.dumps(cell)
