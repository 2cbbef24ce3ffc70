"""A run that was written before settings had stages: four sample images by WebP under `wetok`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CommandLine

OLDER = Path(__file__).parent / "older_run"


@pytest.fixture
def older(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLDER, tmp_path / "runs" / "imagenet-recon-webp-wetok-2c12c879af"))


def record_of(root: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / "record.json").read_text(encoding="utf-8"))
    content.pop("provenance")
    return content


def test_it_is_scored_again_to_the_same_bits(uwt_eval: CommandLine, older: Path) -> None:
    before = record_of(older)
    result = uwt_eval("score", older)
    assert result.code == 0, result.err
    assert record_of(older) == before
    assert before["metrics"]["psnr"]["value"] is not None


def test_it_compares_with_a_run_of_today_and_passes_a_gate(
    uwt_eval: CommandLine, older: Path, tmp_path: Path
) -> None:
    result = uwt_eval(
        "run", "imagenet-recon", "--model", "webp", "--limit", "4", "--metrics", "bpp,psnr,ssim",
        "--out", tmp_path / "today",
    )  # fmt: skip
    assert result.code == 0, result.err
    (today,) = (tmp_path / "today").glob("*")
    found = json.loads(uwt_eval("compare", older, today, "--json").out)
    assert found["comparable"]
    assert found["common_samples"] == 4
    gate = uwt_eval("gate", today, "--baseline", older / "record.json", "--rule", "psnr>=-0.5")
    assert gate.code == 0, gate.out + gate.err


def test_another_protocol_is_named_setting_by_setting(
    uwt_eval: CommandLine, older: Path, tmp_path: Path
) -> None:
    given = ("--model", "webp", "--limit", "4", "--metrics", "psnr", "--out", tmp_path / "today")
    assert uwt_eval("run", "imagenet-recon", "--protocol", "exact", *given).code == 0
    (today,) = (tmp_path / "today").glob("*")
    result = uwt_eval("compare", older, today)
    assert result.code == 2
    assert "protocol wetok/exact, setting uint8: truncate and round" in result.err
