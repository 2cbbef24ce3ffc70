"""rFID and LPIPS through the command line, with random weights in place of the published files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from harness.data.digests import sha256_file
from harness.metrics.inception import InceptionFeatures
from tests.conftest import CommandLine

NETWORKS = ("lpips_alex", "lpips_vgg", "rfid")


@pytest.mark.parametrize("protocol", ["wetok", "exact"])
@pytest.mark.usefixtures("provide_weights")
def test_networks_see_the_difference(
    protocol: str, uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path
) -> None:
    result = uwt_eval(
        "run", "imagenet-recon", "--data", photo_folder, "-m", "identity", "-m", "jpeg:4096",
        "-m", "jpeg", "--protocol", protocol, "--limit", 2, "--small-sets",
        "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    identity, fine, coarse = (record["metrics"] for record in result.records)
    for metric in NETWORKS:
        assert identity[metric]["value"] == pytest.approx(0, abs=1e-6)
        assert 0 < fine[metric]["value"] < coarse[metric]["value"]
    assert coarse["rfid"]["note"] == "fewer images than the protocol asks"


@pytest.mark.usefixtures("provide_weights")
def test_too_few_images_withhold_rfid(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path
) -> None:
    result = uwt_eval(
        "run", "imagenet-recon", "--data", photo_folder, "-m", "jpeg", "--metrics", "rfid",
        "--limit", 2, "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    (record,) = result.records
    assert record["metrics"]["rfid"]["value"] is None
    assert record["metrics"]["rfid"]["status"].startswith("withheld: 2 images are fewer than 2048")


@pytest.mark.usefixtures("provide_weights")
def test_where_rfid_is_withheld_stands_what_few_images_give(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path
) -> None:
    command = (
        "run", "imagenet-recon", "--data", photo_folder, "-m", "jpeg", "--limit", 4,
        "--out", tmp_path / "runs",
    )  # fmt: skip
    (withheld,) = uwt_eval(*command, "--metrics", "bpp,rfid,psnr", "--json").records
    cells = withheld["metrics"]
    assert list(cells) == ["bpp", "rfid", "kid_few", "psnr"]
    assert cells["kid_few"]["note"] == "of few images: FID needs 2048"
    assert cells["kid_few"]["ci_low"] < cells["kid_few"]["value"] < cells["kid_few"]["ci_high"]
    shown = uwt_eval(*command, "--metrics", "bpp,rfid,psnr").out
    assert "KID (few)↓" in shown
    assert "KID (few): of few images: FID needs 2048" in shown
    (run,) = (tmp_path / "runs").iterdir()
    assert '"kid_few"' not in (run / "run.json").read_text()
    (again,) = uwt_eval("score", run, "--json").records
    assert again["metrics"] == cells
    (given,) = uwt_eval(*command, "--small-sets", "--json").records
    assert "kid_few" not in given["metrics"]
    assert given["run_id"] == withheld["run_id"]


def test_weights_that_come_later_complete_the_same_run(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path, request: pytest.FixtureRequest
) -> None:
    command = (
        "run", "imagenet-recon", "--data", photo_folder, "-m", "jpeg", "--limit", 2, "--small-sets",
        "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    (before,) = uwt_eval(*command).records
    outputs = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/outputs/*")}
    request.getfixturevalue("provide_weights")
    (after,) = uwt_eval(*command).records
    assert before["run_id"] == after["run_id"]
    for metric in NETWORKS:
        assert before["metrics"][metric]["status"].startswith("not computed: weights")
        assert after["metrics"][metric]["value"] > 0
    assert outputs == {path: path.stat().st_mtime_ns for path in outputs}


@pytest.mark.usefixtures("provide_weights")
def test_native_protocol_of_the_authors_has_no_lpips(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path
) -> None:
    result = uwt_eval(
        "run", "imagenet-recon-native", "--data", photo_folder, "-m", "jpeg", "--limit", 2,
        "--small-sets", "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    metrics = result.records[0]["metrics"]
    assert metrics["rfid"]["value"] > 0
    assert metrics["lpips_alex"]["status"] == "not applicable: the protocol has no LPIPS"


def test_wrong_weights_file_is_named_and_the_rest_runs(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "wrong.pth"
    wrong.write_bytes(b"something else")
    monkeypatch.setenv("UWT_EVAL_ASSET_INCEPTION", str(wrong))
    result = uwt_eval(
        "run", "imagenet-recon", "--data", photo_folder, "-m", "jpeg", "--out", tmp_path / "runs",
        "--json",
    )  # fmt: skip
    assert result.code == 0
    status = result.records[0]["metrics"]["rfid"]["status"]
    assert "wrong.pth is not the published file" in status
    assert sha256_file(wrong)[:12] in status
    assert result.records[0]["metrics"]["psnr"]["value"] is not None


SETS = ("rfid", "sfid", "kid", "precision", "recall", "density", "coverage", "is")


@pytest.mark.usefixtures("provide_weights")
def test_metrics_of_sets_are_there_for_the_asking(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path
) -> None:
    command = (
        "run", "imagenet-recon", "--data", photo_folder, "-m", "jpeg", "--small-sets",
        "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    (default,) = uwt_eval(*command, "--metrics", "rfid").records
    parts = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/observations/*/*")}
    (record,) = uwt_eval(*command, "--metrics", ",".join(SETS)).records
    assert record["run_id"] == default["run_id"]
    assert record["metrics"]["rfid"] == default["metrics"]["rfid"]
    assert parts == {path: path.stat().st_mtime_ns for path in parts}
    for metric in SETS:
        cell = record["metrics"][metric]
        assert cell["status"] == "ok"
        assert cell["ci_low"] <= cell["value"] <= cell["ci_high"]
        assert cell["method"]


@pytest.mark.usefixtures("provide_weights")
def test_originals_are_seen_once_for_several_models(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    extract = InceptionFeatures.extract

    def counting(network: InceptionFeatures, prepared: Tensor) -> Any:
        seen.append(len(prepared))
        return extract(network, prepared)

    monkeypatch.setattr(InceptionFeatures, "extract", counting)
    uwt_eval(
        "run", "imagenet-recon", "--data", photo_folder, "-m", "jpeg", "-m", "jpeg:4096",
        "-m", "identity", "--metrics", "rfid", "--limit", 2, "--out", tmp_path / "runs",
    )  # fmt: skip
    assert sum(seen) == 2 + 3 * 2
