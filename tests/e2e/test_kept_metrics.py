"""`uwt-eval metrics --record`: results that everything takes which takes results of runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import CommandLine

SIZE = 64


@pytest.fixture
def sets(tmp_path: Path, photos: list[Image.Image]) -> Path:
    """A folder with originals, and two sets that lost much and more of them."""
    for index, photo in enumerate(photos):
        pixels = np.asarray(photo.resize((SIZE, SIZE)))
        for name, step in (("originals", 1), ("fine", 4), ("coarse", 16)):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(pixels // step * step).save(tmp_path / name / f"{index:03d}.png")
    return tmp_path


def kept(uwt_eval: CommandLine, sets: Path, name: str, *more: object) -> tuple[Any, Path]:
    """The record and its directory."""
    result = uwt_eval(
        "metrics", sets / "originals", sets / name, "--record", "--device", "cpu",
        "--out", sets / "runs", "--json", *more,
    )  # fmt: skip
    assert result.code in (0, 3), result.err
    (record,) = json.loads(result.out)
    return record, sets / "runs" / record["run_id"]


def test_results_compare_sample_by_sample(uwt_eval: CommandLine, sets: Path) -> None:
    fine, first = kept(uwt_eval, sets, "fine", "--metrics", "psnr,ssim", "--label", "VAR")
    coarse, second = kept(uwt_eval, sets, "coarse", "--metrics", "psnr,ssim")
    assert (fine["model"], coarse["model"]) == ("VAR", "coarse")
    assert fine["dataset_digest"] == coarse["dataset_digest"]
    assert fine["model_digest"] != coarse["model_digest"]
    found = json.loads(uwt_eval("compare", first, second, "--json").out)
    assert found["common_samples"] == 6
    difference = coarse["metrics"]["psnr"]["value"] - fine["metrics"]["psnr"]["value"]
    assert found["paired"]["psnr"]["difference"] == pytest.approx(difference)

    base = sets / "base.json"
    assert uwt_eval("gate", first, "--baseline", base, "--update-baseline").code == 0
    passed = uwt_eval("gate", first, "--baseline", base)
    assert passed.code == 0
    assert "unpaired" not in passed.out
    assert uwt_eval("gate", second, "--baseline", base).code == 1

    board = sets / "board.md"
    assert uwt_eval("leaderboard", "build", sets / "runs", "--out", board).code == 0
    text = board.read_text()
    assert text.index("| 1 | VAR |") < text.index("| 2 | coarse |")
    assert uwt_eval("leaderboard", "check", sets / "runs").code == 0
    page = sets / "page.html"
    assert uwt_eval("report", "html", first, "--out", page).code == 0
    assert "VAR" in page.read_text()


def test_metrics_are_added_to_those_kept(uwt_eval: CommandLine, sets: Path) -> None:
    _, root = kept(uwt_eval, sets, "fine", "--metrics", "psnr")
    both, again = kept(uwt_eval, sets, "fine", "--metrics", "ssim")
    assert again == root
    assert set(both["metrics"]) == {"psnr", "ssim"}
    whole, _ = kept(uwt_eval, sets, "fine", "--metrics", "psnr,ssim")
    assert whole["metrics"] == both["metrics"]
    (root / "record.json").write_text("{")
    result = kept(uwt_eval, sets, "fine", "--metrics", "ssim")[0]
    assert set(result["metrics"]) == {"ssim"}


def test_other_images_seeds_and_references_are_other_results(
    uwt_eval: CommandLine, sets: Path
) -> None:
    words = ("--metrics", "psnr")
    roots = {kept(uwt_eval, sets, "fine", *words)[1]}
    roots.add(kept(uwt_eval, sets, "fine", *words, "--seed", 1)[1])
    roots.add(kept(uwt_eval, sets, "fine", *words, "--protocol", "exact")[1])
    Image.new("RGB", (SIZE, SIZE)).save(sets / "fine" / "003.png")
    _, changed = kept(uwt_eval, sets, "fine", *words)
    Image.new("RGB", (SIZE, SIZE), "red").save(sets / "originals" / "004.png")
    _, other = kept(uwt_eval, sets, "fine", *words)
    assert len({*roots, changed, other}) == 5
    refused = uwt_eval("compare", changed, other)
    assert refused.code == 2
    assert "do not compare: dataset" in " ".join(refused.err.split())


def test_an_image_that_fails_is_in_the_rows(uwt_eval: CommandLine, sets: Path) -> None:
    whole = (sets / "coarse" / "002.png").read_bytes()
    (sets / "coarse" / "002.png").write_bytes(whole[: len(whole) // 2])
    record, first = kept(uwt_eval, sets, "coarse", "--metrics", "psnr")
    assert record["failures"] == {"decode_error": 1}
    _, second = kept(uwt_eval, sets, "fine", "--metrics", "psnr")
    assert json.loads(uwt_eval("compare", first, second, "--json").out)["common_samples"] == 5


def test_out_goes_with_record(uwt_eval: CommandLine, sets: Path) -> None:
    result = uwt_eval("metrics", sets / "fine", sets / "coarse", "--out", sets / "runs")
    assert result.code == 2
    assert "goes with --record" in result.err
