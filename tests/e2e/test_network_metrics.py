"""rFID and LPIPS through the command line, with random weights in place of the published files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from harness import assets
from harness.digests import sha256_file
from harness.metrics.inception import random_inception_state_dict
from harness.metrics.lpips import random_trunk_state_dict
from tests.conftest import CommandLine

NETWORKS = ("lpips_alex", "lpips_vgg", "rfid")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under the published file names."""
    folder = tmp_path_factory.mktemp("weights")
    states = {
        "inception": random_inception_state_dict(0),
        "alexnet": random_trunk_state_dict("alex", 0),
        "vgg16": random_trunk_state_dict("vgg", 0),
    }
    for name, state in states.items():
        torch.save(state, folder / assets.find(name).filename)
    return folder


@pytest.fixture
def provide_weights(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the random weights pass for the published ones."""
    for name, asset in assets.ASSETS.items():
        digest = sha256_file(weights / asset.filename)
        stand_in = dataclasses.replace(asset, sha256=digest)
        monkeypatch.setitem(assets.ASSETS, name, stand_in)
    monkeypatch.setenv("UWT_EVAL_ASSETS", str(weights))


@pytest.mark.parametrize("protocol", ["wetok", "exact"])
@pytest.mark.usefixtures("provide_weights")
def test_networks_see_the_difference(
    protocol: str, uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path
) -> None:
    result = uwt_eval(
        "run", "imagenet-recon", "--data", photo_folder, "-m", "identity", "-m", "jpeg:4096",
        "-m", "jpeg", "--protocol", protocol, "--small-sets", "--out", tmp_path / "runs", "--json",
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
        "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    (record,) = result.records
    assert record["metrics"]["rfid"]["value"] is None
    assert record["metrics"]["rfid"]["status"].startswith("withheld: 6 images are fewer than 2048")


def test_weights_that_come_later_complete_the_same_run(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path, request: pytest.FixtureRequest
) -> None:
    command = (
        "run", "imagenet-recon", "--data", photo_folder, "-m", "jpeg", "--small-sets",
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
        "run", "imagenet-recon-native", "--data", photo_folder, "-m", "jpeg", "--small-sets",
        "--out", tmp_path / "runs", "--json",
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
