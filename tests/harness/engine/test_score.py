"""Reading results back: records from files and folders, and what is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.engine.score import read_records
from harness.interfaces.errors import UserError
from harness.interfaces.types import MetricValue, ResultRecord, RunStatus


def record(**changes: Any) -> ResultRecord:
    fields: dict[str, Any] = {
        "run_id": "r",
        "task": "imagenet-recon",
        "task_version": 1,
        "model": "webp",
        "model_digest": "",
        "protocol": "exact",
        "protocol_digest": "",
        "dataset": "",
        "dataset_digest": "",
        "seed": 0,
        "n": 2,
        "n_failed": 0,
        "status": RunStatus.COMPLETE,
        "metrics": {"psnr": MetricValue(value=20.0, n=2)},
    }
    return ResultRecord(**{**fields, **changes})


def test_record_of_a_run_directory_and_list_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "record.json").write_text(record().model_dump_json())
    several = [record(model=name).model_dump(mode="json") for name in ("jpeg", "avif")]
    (tmp_path / "all.json").write_text(json.dumps(several))
    found = read_records([tmp_path / "run", tmp_path / "all.json"])
    assert [item.model for item in found] == ["webp", "jpeg", "avif"]
    assert found[0] == record()


@pytest.mark.parametrize("text", ["", "{", "[]x", '{"task": "imagenet-recon"}', "3", '["a"]'])
def test_what_is_no_record_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(UserError, match=r"record\.json is not a readable result record"):
        read_records([tmp_path])


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.json is not a readable result record"):
        read_records([tmp_path / "gone.json"])
