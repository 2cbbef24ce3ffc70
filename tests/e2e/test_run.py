"""The main job through the command line: on the sample set, on photos, again, and interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harness.metrics.lpips import Lpips
from tests.conftest import CommandLine
from tests.strangers import hostile

REPOSITORY = Path(__file__).parent.parent.parent

WAITING_PLUGIN = """
import os, time
from pathlib import Path
from harness.baselines.codecs import Jpeg
from harness.interfaces.registry import MODELS

@MODELS.register("waiting-jpeg")
class WaitingJpeg(Jpeg):
    # Where RUNS names a folder, it waits, once two blocks are stored there, for its end.
    def encode(self, images):
        while "RUNS" in os.environ and len([*Path(os.environ["RUNS"]).glob("*/outputs/0*")]) > 1:
            time.sleep(0.01)
        return super().encode(images)
"""


def result_of(root: Path) -> dict[str, Any]:
    """The one record below a folder, without what may differ between runs."""
    (path,) = root.glob("*/record.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    record.pop("provenance")
    return record


def parts(root: Path) -> dict[str, int]:
    """Every stored part and its modification time: a part made again has a new one."""
    found = root.glob("*/outputs/[0-9]*.parquet")
    return {str(path): path.stat().st_mtime_ns for path in found}


def test_sample_set_gives_table_record_rows_and_grid(uwt_eval: CommandLine, tmp_path: Path) -> None:
    result = uwt_eval("run", "imagenet-recon", "--limit", 8, "--out", tmp_path)
    assert result.code == 0, result.err
    assert "sample set" in result.err
    for text in ("webp", "jpeg", "avif", "PSNR", "SSIM", "LPIPS(A)", "rFID", "images/s", "23.26"):
        assert text in result.out
    assert "other data, not comparable" in result.out
    assert "uwt-eval assets fetch inception" in " ".join(result.out.split())
    for model in ("webp", "jpeg", "avif"):
        (root,) = tmp_path.glob(f"imagenet-recon-{model}-*")
        record = json.loads((root / "record.json").read_text(encoding="utf-8"))
        rows = pd.read_parquet(root / "samples.parquet")
        assert record["n"] == len(rows) == 8
        assert record["metrics"]["psnr"]["value"] == pytest.approx(rows["psnr"].mean())
        with Image.open(root / "grid.png") as grid:
            assert grid.width > 1000
        assert 0.1 < record["metrics"]["bpp"]["value"] <= 0.125


def test_json_is_a_list_of_records_that_fit_the_published_schema(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path
) -> None:
    schema = json.loads(uwt_eval("show", "--schema").out)
    result = uwt_eval(
        "run", "imagenet-recon", "--data", photo_folder, "--model", "jpeg", "--model", "identity",
        "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert [record["model"] for record in result.records] == ["jpeg", "identity"]
    for record in result.records:
        jsonschema.validate(record, schema)
        assert record["dataset"] == "imagenet"
        assert record["metrics"]["rfid"]["value"] is None
        assert "weights 'inception' missing" in record["metrics"]["rfid"]["status"]
    assert result.records[0]["metrics"]["psnr"]["ci_low"] is not None
    assert "infinite for all 6" in result.records[1]["metrics"]["psnr"]["status"]
    assert result.records[1]["metrics"]["ssim"]["value"] == 1.0


def test_the_same_command_again_repeats_no_work(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path
) -> None:
    command = ("run", "imagenet-recon", "--data", photo_folder, "-m", "jpeg", "--out", tmp_path)
    assert uwt_eval(*command).code == 0
    first, before = result_of(tmp_path), parts(tmp_path)
    assert uwt_eval(*command).code == 0
    assert result_of(tmp_path) == first
    assert parts(tmp_path) == before


def test_photos_that_a_clip_protocol_makes_white_are_told(
    uwt_eval: CommandLine, tmp_path: Path, photos: list[Image.Image]
) -> None:
    """16-bit grey values are above 255 nearly all, so that original and copy are both white."""
    (tmp_path / "photos").mkdir()
    levels = np.random.default_rng(0).integers(300, 65536, (64, 64), np.uint16)
    Image.fromarray(levels).save(tmp_path / "photos" / "sixteen.png")
    photos[0].save(tmp_path / "photos" / "usual.png")
    result = uwt_eval(
        "run", "imagenet-recon", "--data", tmp_path / "photos", "--model", "jpeg",
        "--out", tmp_path / "runs",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "†" in result.out
    said = "† PSNR of jpeg: over 1 of 2 samples, 1 identical image (infinite) left out"
    assert said in " ".join(result.out.split())


@pytest.mark.parametrize("task", ["imagenet-recon-native", "coco-recon", "coco-recon-native"])
@pytest.mark.parametrize("protocol", ["wetok", "exact"])
def test_other_reconstruction_tasks(
    task: str, protocol: str, uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path
) -> None:
    result = uwt_eval(
        "run", task, "--data", photo_folder, "-m", "jpeg", "--protocol", protocol,
        "--out", tmp_path, "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    (record,) = result.records
    assert record["protocol"] == protocol
    assert record["n"] == 6
    assert record["metrics"]["psnr"]["value"] > 15


def test_groups_run_every_task(uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path) -> None:
    result = uwt_eval(
        "run", "table10", "--data", photo_folder, "-m", "jpeg", "--limit", 2, "--out", tmp_path,
        "--json",
    )  # fmt: skip
    assert {record["task"] for record in result.records} == {
        "imagenet-recon",
        "imagenet-recon-native",
        "coco-recon",
        "coco-recon-native",
    }


def test_dry_run_does_nothing(uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path) -> None:
    result = uwt_eval(
        "run", "imagenet-recon", "--data", photo_folder, "-m", "jpeg", "--out", tmp_path / "runs",
        "--dry-run", "--json",
    )  # fmt: skip
    (plan,) = result.records
    assert (plan["n"], plan["n_missing"]) == (6, 6)
    assert not (tmp_path / "runs").exists()


def test_score_needs_neither_model_nor_data(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path
) -> None:
    out = tmp_path / "runs"
    uwt_eval("run", "imagenet-recon", "--data", photo_folder, "-m", "jpeg", "--out", out)
    first = result_of(out)
    (root,) = out.iterdir()
    (root / "record.json").unlink()
    photo_folder.rename(tmp_path / "elsewhere")
    result = uwt_eval("score", root)
    assert result.code == 0, result.err
    assert "jpeg" in result.out
    assert result_of(out) == first


def test_killed_run_resumes_to_the_same_record(uwt_eval: CommandLine, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(WAITING_PLUGIN, encoding="utf-8")
    command = ("run", "imagenet-recon", "--plugin", plugin, "-m", "waiting-jpeg", "--quiet")
    cut = tmp_path / "cut"
    process = subprocess.Popen(
        [sys.executable, "-m", "uwt_eval", *map(str, command), "--out", cut],
        env={**os.environ, "RUNS": str(cut)},
        cwd=REPOSITORY,
        # On one core, so that blocks are worked on in turn.
        preexec_fn=lambda: os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1]),
    )
    while len(parts(cut)) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    finished = parts(cut)
    assert 2 <= len(finished) < 6
    assert not list(cut.glob("*/record.json"))
    for out in ("whole", "cut"):
        assert uwt_eval(*command, "--out", tmp_path / out).code == 0
    assert result_of(cut) == result_of(tmp_path / "whole")
    assert result_of(cut)["n"] == 48, "all of the sample set"
    after = parts(cut)
    assert {path: after[path] for path in finished} == finished


def test_two_processes_give_the_same_record(uwt_eval: CommandLine, tmp_path: Path) -> None:
    command = ["run", "imagenet-recon", "-m", "jpeg", "--limit", "16", "--quiet", "--out"]
    assert uwt_eval(*command, tmp_path / "one").code == 0
    torchrun = [sys.executable, "-P", "-m", "torch.distributed.run", "--standalone", "--no-python"]
    script = str(Path(sys.executable).parent / "uwt-eval")
    subprocess.run(
        [*torchrun, "--nproc-per-node", "2", script, *command, str(tmp_path / "two")],
        check=True,
        timeout=180,
        cwd=hostile(tmp_path / "here"),
    )
    assert result_of(tmp_path / "two") == result_of(tmp_path / "one")
    (record,) = (tmp_path / "two").glob("*/record.json")
    assert json.loads(record.read_text(encoding="utf-8"))["provenance"]["world_size"] == 2


def test_directory_in_use_is_refused(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path
) -> None:
    from harness.data.store import Store

    command = ("run", "imagenet-recon", "--data", photo_folder, "-m", "jpeg", "--out", tmp_path)
    assert uwt_eval(*command).code == 0
    (root,) = tmp_path.glob("imagenet-recon-jpeg-*")
    with Store(root).locked():
        result = uwt_eval(*command)
    assert result.code == 2
    assert "in use by another run" in result.err


def test_results_below_the_data_are_no_data(
    uwt_eval: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    monkeypatch.chdir(tmp_path)
    models = ("--model", "identity", "--model", "jpeg", "--metrics", "psnr", "--json")
    for _ in range(2):
        result = uwt_eval("run", "imagenet-recon", "--data", ".", *models)
        assert [record["n"] for record in json.loads(result.out)] == [3, 3]
    assert len(list(tmp_path.glob("runs/*/grid.png"))) == 2


def test_a_photo_whose_tail_is_missing_is_named(uwt_eval: CommandLine, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for name in ("whole", "cut", "zeros"):
        Image.fromarray(pixels).save(tmp_path / f"{name}.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[:-2])
    (tmp_path / "zeros.jpg").write_bytes(data[:-4] + bytes(4))
    words = ("--model", "identity", "--data", tmp_path, "--metrics", "psnr", "--out")
    result = uwt_eval("run", "imagenet-recon", *words, tmp_path / "runs")
    assert result.code == 3
    assert "failed: cut.jpg, zeros.jpg: decode_error: truncated or damaged image" in result.err
    assert result_of(tmp_path / "runs")["n_failed"] == 2


@pytest.mark.usefixtures("provide_weights")
def test_models_of_one_command_share_originals_and_give_the_records_of_their_own_commands(
    uwt_eval: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[int] = []
    see = Lpips._normalised_features
    monkeypatch.setattr(
        Lpips, "_normalised_features", lambda self, x: passed.append(len(x)) or see(self, x)
    )
    models = ["jpeg:1500", "jpeg:3000"]
    common = ("run", "imagenet-recon", "--limit", "2", "--metrics", "psnr,lpips_alex,rfid")

    def records(out: str, *given: str) -> list[dict[str, Any]]:
        result = uwt_eval(*common, *(f"--model={name}" for name in given), "--out", tmp_path / out)
        assert result.code == 0, result.err
        return [
            json.loads(path.read_bytes()) for path in sorted((tmp_path / out).glob("*/r*d.json"))
        ]

    together = records("together", *models)
    assert sum(passed) == 2 + 2 * 2
    alone = [record for name in models for record in records(name, name)]
    assert sum(passed) == 2 + 2 * 2 + 2 * 4
    for record, other in zip(together, sorted(alone, key=lambda one: one["run_id"]), strict=True):
        assert record["metrics"] == other["metrics"]
        assert record["metrics"]["lpips_alex"]["value"] > 0
        for path in (tmp_path / "together" / record["run_id"] / "observations").rglob("*.parquet"):
            theirs = tmp_path / other["model"] / path.relative_to(tmp_path / "together")
            assert pq.read_table(path).equals(pq.read_table(theirs))
