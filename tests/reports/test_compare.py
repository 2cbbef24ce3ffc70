"""`uwt-eval compare` on runs made from given figures."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.conftest import CommandLine
from tests.reports.runs import cell, change_record, write_run

A = {"psnr": [20.0, 21.0, 22.0, 23.0], "ssim": [0.5, 0.6, 0.7, 0.8]}
TASK = "imagenet-recon"
B = {"psnr": [20.5, 20.0, 25.0, 23.1], "ssim": [0.5, 0.6, 0.7, 0.9]}


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    a = write_run(tmp_path, "a", columns=A, sets={"rfid": cell(3.0, 0.2)}, pictures=(0, 1, 2))
    b = write_run(tmp_path, "bb", columns=B, sets={"rfid": cell(2.5, 0.3)}, pictures=(1, 2, 3))
    return a, b


def facts(uwt_eval: CommandLine, *arguments: object) -> dict[str, Any]:
    result = uwt_eval("compare", *arguments, "--json")
    assert result.code == 0, result.err
    found: dict[str, Any] = json.loads(result.out)
    return found


def test_differences_samples_and_sets(uwt_eval: CommandLine, runs: tuple[Path, Path]) -> None:
    found = facts(uwt_eval, *runs, "--samples", 2)
    assert found["comparable"]
    assert found["common_samples"] == 4
    psnr = found["paired"]["psnr"]
    assert psnr["difference"] == pytest.approx(np.mean(np.subtract(B["psnr"], A["psnr"])))
    assert psnr["ci_low"] <= psnr["difference"] <= psnr["ci_high"]
    assert psnr["higher_is_better"]
    assert found["not_paired"]["rfid"]["difference"] == pytest.approx(-0.5)
    assert found["not_paired"]["rfid"]["ci_b"] == pytest.approx([2.2, 2.8])
    assert [sample["id"] for sample in found["worst"]] == ["photo-1", "photo-3"]
    assert [sample["id"] for sample in found["best"]] == ["photo-2", "photo-0"]
    assert found["best"][0]["change"] == pytest.approx(3.0)


def test_another_metric_orders_samples(uwt_eval: CommandLine, runs: tuple[Path, Path]) -> None:
    assert facts(uwt_eval, *runs, "--by", "ssim")["best"][0]["id"] == "photo-3"
    result = uwt_eval("compare", *runs, "--by", "rfid")
    assert result.code == 2
    assert "psnr, ssim" in result.err


def test_what_a_task_is_about_comes_before_rates(uwt_eval: CommandLine, tmp_path: Path) -> None:
    """Samples are ordered by it too; records of other versions have other orders."""
    for task, own in (("text-recon", "cer"), ("face-recon", "face_similarity"), (TASK, "psnr")):
        n = {"lines": [2.0] * 4, "characters": [10.0] * 4, "faces": [1.0] * 4}
        sums = {"edits": [1.0, 2.0, 3.0, 4.0], "face_similarity": [0.5, 0.6, 0.7, 0.8]}
        rate = {"bits": [8.0, 8.0, 8.0, 9.0], "height": [1.0] * 4, "width": [1.0] * 4}
        columns = {"bpp": [8.0] * 4, "psnr": A["psnr"], own: sums.get(own, A["psnr"])}
        runs = [
            write_run(tmp_path, f"{task}-{model}", columns=columns | n | sums | rate, task=task)
            for model in "ab"
        ]
        found = facts(uwt_eval, *runs)
        assert next(iter(found["paired"])) == own
        assert list(found["paired"])[-1] == "bpp"
        assert found["ranked_by"] == own


def test_the_terminal_says_what_is_paired(uwt_eval: CommandLine, runs: tuple[Path, Path]) -> None:
    out = uwt_eval("compare", *runs).out
    for text in (
        "paired by sample",
        "not paired",
        "PSNR ↑",
        "rFID ↓",
        "−0.500",
        "lost most: photo-1",
    ):
        assert text in out


def test_nothing_gained_where_all_samples_lost(uwt_eval: CommandLine, tmp_path: Path) -> None:
    a = write_run(tmp_path, "a", columns=A)
    b = write_run(tmp_path, "b", columns={name: np.array(A[name]) - 0.1 for name in A})
    for pair, most, least in (
        ((a, b), "lost most:", "lost least:"),
        ((b, a), "gained most:", "gained least:"),
    ):
        out = uwt_eval("compare", *pair).out
        assert most in out
        assert least in out
        assert ("gained" in out) != ("lost" in out)


def test_other_order_and_failures_are_paired_by_id(uwt_eval: CommandLine, tmp_path: Path) -> None:
    a = write_run(tmp_path, "a", columns=A, failed={0: "model_error"})
    b = write_run(tmp_path, "b", columns=A, failed={3: "decode_error"})
    rows = pd.read_parquet(b / "samples.parquet")
    rows.iloc[::-1].to_parquet(b / "samples.parquet", index=False)
    found = facts(uwt_eval, a, b)
    assert (found["common_samples"], found["only_in_a"], found["only_in_b"]) == (2, 1, 1)
    assert found["paired"]["psnr"]["difference"] == 0
    assert found["paired"]["psnr"]["p_value"] == 1
    assert len(found["warnings"]) == 3
    assert found["warnings"][2].startswith("only 2 pairs")


def test_the_protocols_averaging_weighs_the_pairs(uwt_eval: CommandLine, tmp_path: Path) -> None:
    settings = {"averaging": {"rule": "batch-means", "batch_size": 3, "world_size": 1}}
    a = write_run(tmp_path, "a", columns={"psnr": A["psnr"]}, settings=settings)
    b = write_run(tmp_path, "b", columns={"psnr": B["psnr"]}, settings=settings)
    psnr = facts(uwt_eval, a, b)["paired"]["psnr"]
    change = np.subtract(B["psnr"], A["psnr"])
    assert psnr["difference"] == pytest.approx((change[:3].mean() + change[3]) / 2)


def test_identical_images_are_left_out(uwt_eval: CommandLine, tmp_path: Path) -> None:
    a = write_run(tmp_path, "a", columns={"psnr": [20.0, 21.0, np.inf]})
    b = write_run(tmp_path, "b", columns={"psnr": [20.0, 22.0, 30.0]})
    found = facts(uwt_eval, a, b)
    assert found["paired"]["psnr"]["left_out"] == 1
    assert found["worst"][0] == {"id": "photo-2", "a": "inf", "b": 30.0, "change": "-inf"}


def test_another_protocol_is_refused_and_its_settings_are_named(
    uwt_eval: CommandLine, tmp_path: Path
) -> None:
    a = write_run(tmp_path, "a", settings={"uint8": "round", "geometry": {"crop": 256}})
    b = write_run(tmp_path, "b", settings={"uint8": "truncate", "geometry": {"crop": 256}})
    result = uwt_eval("compare", a, b)
    assert result.code == 2
    assert "setting uint8: round and truncate" in result.err
    assert "crop" not in result.err
    forced = uwt_eval("compare", a, b, "--force")
    assert forced.code == 0
    assert "NOT COMPARABLE, forced" in forced.out
    found = facts(uwt_eval, a, b, "--force")
    assert not found["comparable"]
    assert "uint8" in found["differs"][0]


def test_other_data_task_and_version_are_refused(uwt_eval: CommandLine, tmp_path: Path) -> None:
    a = write_run(tmp_path, "a")
    data = write_run(tmp_path, "b", columns={"psnr": [20.0, 21.0]})
    assert "dataset: photos (n=4" in uwt_eval("compare", a, data).err
    task = write_run(tmp_path, "b", task="coco-recon")
    assert "task: imagenet-recon and coco-recon" in uwt_eval("compare", a, task).err
    version = write_run(tmp_path, "c")
    change_record(version, task_version=2)
    assert "task_version: 1 and 2" in uwt_eval("compare", a, version).err


def test_a_record_alone_cannot_be_paired(uwt_eval: CommandLine, runs: tuple[Path, Path]) -> None:
    (runs[1] / "samples.parquet").unlink()
    result = uwt_eval("compare", *runs)
    assert result.code == 2
    assert "samples.parquet" in result.err
    (runs[1] / "samples.parquet").write_bytes(b"PAR1 and no more")
    result = uwt_eval("compare", *runs)
    assert result.code == 2
    assert "is damaged" in result.err


def test_sheet_shows_pictures_of_both_greatest_loss_first(
    uwt_eval: CommandLine, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    sheet = tmp_path / "sheet.png"
    result = uwt_eval("compare", *runs, "--sheet", sheet)
    assert result.code == 0, result.err
    assert "2 kept pictures" in result.out
    with Image.open(sheet) as image:
        colours = [image.getpixel((x, y)) for y in (40, 320) for x in (30, 300)]
    assert colours == [(40, 20, 128), (40, 40, 128), (80, 20, 128), (80, 40, 128)]


def test_originals_stand_first_on_a_sheet(uwt_eval: CommandLine, tmp_path: Path) -> None:
    words = ("--limit", "2", "--metrics", "psnr", "--out", tmp_path / "runs", "--quiet")
    models = ("--model", "jpeg:700", "--model", "jpeg:4000")
    assert uwt_eval("run", "imagenet-recon", *models, *words).code == 0
    coarse, fine = sorted((tmp_path / "runs").glob("imagenet-recon*"))
    sheet = tmp_path / "sheet.png"
    result = uwt_eval("compare", coarse, fine, "--sheet", sheet)
    assert (result.code, result.err) == (0, "")
    with Image.open(sheet) as image:
        original, a, b = (
            np.asarray(image.crop((6 + 262 * place, 18, 262 * (place + 1), 274)), float)
            for place in range(3)
        )
    losses = [np.square(shown - original).mean() for shown in (a, b)]
    assert 0 < min(losses) < max(losses) / 2


def test_a_sheet_goes_into_pictures_alone(
    uwt_eval: CommandLine, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mine", encoding="utf-8")
    result = uwt_eval("compare", *runs, "--sheet", notes)
    assert (result.code, result.out) == (2, "")
    assert result.err == f"error: --sheet {notes}: end its name in .png\n"
    assert notes.read_text(encoding="utf-8") == "mine"


def test_sheet_without_common_pictures_is_one_line(uwt_eval: CommandLine, tmp_path: Path) -> None:
    a, b = write_run(tmp_path, "a", pictures=(0,)), write_run(tmp_path, "b")
    result = uwt_eval("compare", a, b, "--sheet", tmp_path / "sheet.png")
    assert result.code == 2
    assert "leave --sheet out" in result.err


def test_fifty_thousand_samples_in_seconds(uwt_eval: CommandLine, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = ("psnr", "ssim", "lpips_alex", "lpips_vgg")
    values = {name: rng.normal(20, 2, 50_000) for name in names}
    better = {name: values[name] + 0.01 for name in names}
    a = write_run(tmp_path, "a", columns=values, intervals=False)
    b = write_run(tmp_path, "b", columns=better, intervals=False)
    started = time.process_time()
    found = facts(uwt_eval, a, b)
    assert time.process_time() - started < 15
    assert found["common_samples"] == 50_000
    assert found["paired"]["psnr"]["difference"] == pytest.approx(0.01)


def test_few_pairs_are_told(uwt_eval: CommandLine, runs: tuple[Path, Path], tmp_path: Path) -> None:
    note = "only 4 pairs: Student's t, which takes differences for normal"
    assert note in facts(uwt_eval, *runs)["warnings"]
    assert uwt_eval("compare", *runs).out.count(note) == 1
    ten = [write_run(tmp_path / name, name, columns={"psnr": range(10)}) for name in ("c", "d")]
    assert facts(uwt_eval, *ten)["warnings"] == []
