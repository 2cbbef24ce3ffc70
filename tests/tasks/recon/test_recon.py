"""The reconstruction tasks: where each finds its data, and what it says without any."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.interfaces.errors import UserError
from harness.interfaces.registry import METRICS, MODELS, TASKS
from tasks.recon.data import ReconData
from tasks.recon.task import COCO_RECON, IMAGENET_RECON, ReconTask


def data_of(folder: Path, task: ReconTask = IMAGENET_RECON) -> ReconData:
    return task.open(str(folder), task.protocol("exact"))


def test_specs_name_what_exists() -> None:
    for name in TASKS.names():
        spec = TASKS.get(name).spec
        assert spec.name == name
        assert set(spec.metrics) <= set(METRICS.names())
        assert set(spec.default_models) <= set(MODELS.names())


def test_without_data_the_sample_set_stands_in_and_says_so() -> None:
    data = IMAGENET_RECON.open(None, IMAGENET_RECON.protocol("wetok"))
    assert data.label == "sample-set"
    for text in ("sample set", "not the 50,000 ImageNet", "--data", "UWT_EVAL_IMAGENET"):
        assert text in data.notice
    assert len(data.samples(None)) >= 40
    assert data.load(data.samples(1)[0]).shape == (256, 256, 3)


def test_configured_data_is_found(photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UWT_EVAL_COCO", str(photo_folder))
    data = COCO_RECON.open(None, COCO_RECON.protocol("wetok"))
    assert data.label == "imagenet"
    assert data.notice == f"{photo_folder} holds 6 images, the benchmark has 5,000"
    assert len(data.samples(None)) == 6


def test_given_data_wins_over_configured_data(
    tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UWT_EVAL_IMAGENET", str(tmp_path / "elsewhere"))
    data = data_of(photo_folder)
    assert data.label == "imagenet"
    assert [sample.id.split("/")[0] for sample in data.samples(None)] == [
        "n00000000",
        "n00000000",
        "n00000000",
        "n00000001",
        "n00000001",
        "n00000001",
    ]


def test_missing_data_shows_the_tasks_own_layout(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"val2017/IMAGE\.jpg"):
        data_of(tmp_path / "nowhere", COCO_RECON)
